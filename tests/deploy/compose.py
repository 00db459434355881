"""Reads deploy/compose/compose.yaml, as far as the tests need it: without the defaults that Compose adds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"
_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def read_compose(variables: dict[str, str] | None = None) -> dict[str, Any]:
    """The file, with its variables replaced by values or by their defaults, and `$$` by `$`."""
    given = variables or {}
    text = FILE.read_text(encoding="utf-8")
    text = _VARIABLE.sub(lambda found: given.get(found[1], found[2]), text).replace("$$", "$")
    # All values as texts; this loader leaves merging to its user.
    loaded: dict[str, Any] = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - it makes no objects
    loaded["services"] = {
        name: {**service.pop("<<", {}), **service} for name, service in loaded["services"].items()
    }
    return loaded


SERVICES: dict[str, dict[str, Any]] = read_compose()["services"]


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Where each file, folder and volume of a service comes from, by the path in the container."""
    found: dict[str, str] = {}
    for mount in service.get("volumes", ()):
        if isinstance(mount, dict):
            found[mount["target"]] = mount["source"]
        else:
            source, target = mount.split(":")[:2]
            found[target] = source
    return found
