"""docs/logs.md names every event of the server's log."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import scorewire_contract.service
import scorewire_server

PACKAGES = [Path(str(each.__file__)).parent for each in (scorewire_server, scorewire_contract.service)]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "logs.md"
_ROW = re.compile(r"^\| (`.+`) \| (\w+) \| ([\w, ]*)\|$", re.MULTILINE)
_LEVELS = ("debug", "info", "warning", "error")
# Events whose text stands in a variable.
_OTHERS = {"the certificate has expired", "the certificate is not valid yet"}


def _logged() -> Iterator[tuple[str, str, set[str]]]:
    """The text, the level and the fields of each call of a logger."""
    for path in (path for package in PACKAGES for path in package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        attr=level, value=ast.Name(id="log") | ast.Call(func=ast.Name(id="logger"))
                    ),
                    args=[ast.Constant(value=str() as text)],
                    keywords=keywords,
                ) if level in _LEVELS:
                    fields = {str(keyword.arg) for keyword in keywords} - {"None"}
                    yield text, level, {"exception" if name == "exc_info" else name for name in fields}
                case ast.Call(
                    func=ast.Name(id="ProblemLog"),
                    args=[ast.Constant(value=str() as wrong), ast.Constant(value=str() as over)],
                ):
                    yield wrong, "error", {"problem"}
                    yield over, "info", set()


def test_the_page_of_logs_names_each_event_with_its_level_and_fields() -> None:
    documented = {
        event: (level, {field.strip() for field in fields.split(",")})
        for events, level, fields in _ROW.findall(PAGE.read_text(encoding="utf-8"))
        for event in re.findall(r"`([^`]+)`", events)
    }
    found = list(_logged())
    assert {text for text, _, _ in found} | _OTHERS == documented.keys()
    for text, level, fields in found:
        assert level == documented[text][0], text
        assert fields <= documented[text][1], text
