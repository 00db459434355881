"""The metrics that docs/metrics.md names, and those that a server tells."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
_ROW = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \| ([\w, ]*)\|", re.MULTILINE)


def documented_metrics() -> dict[str, frozenset[str]]:
    """The labels of each metric in the tables of the page."""
    return {
        name.strip("`"): frozenset(filter(None, map(str.strip, labels.split(","))))
        for names, labels in _ROW.findall(PAGE.read_text(encoding="utf-8"))
        for name in names.split(", ")
    }


def told_metrics(text: str) -> dict[str, frozenset[str]]:
    """The labels of each metric in the text format that has a sample; `le` belongs to each histogram."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: frozenset(
            label for sample in family.samples for label in sample.labels if label != "le"
        )
        for family in text_string_to_metric_families(text)
        if family.samples
    }
