"""Reads the rules for Prometheus in deploy/prometheus/rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus" / "rules"
FILES = sorted(FOLDER.glob("*.yml"))


def _rules() -> list[dict[str, Any]]:
    return [
        rule
        for path in FILES
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]


ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in _rules() if "alert" in rule}
RECORDED: dict[str, str] = {rule["record"]: rule["expr"] for rule in _rules() if "record" in rule}
