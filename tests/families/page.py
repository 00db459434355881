"""The page of supported models, `docs/models.md`, written from the results of the families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.families.running import Family, Outcome

PAGE = Path(__file__).parents[2] / "docs" / "models.md"

_HEAD = """\
# Which models are exported

The test suite fits each kind of model on this page, exports it, and compares the bundle with the model row by
row, on every tested Python. Export takes pipelines, column transformers and models made of models apart, and
every part must be of a known kind. A refused kind shows its reason. Export refuses before it writes anything,
and never writes a bundle that scores differently from the model.

This page is written by `python -m tests.families --write`.
"""


def render(topics: Mapping[str, Sequence[Family]], outcomes: Mapping[str, Outcome]) -> str:
    """The text of the page.

    Args:
        topics: the families by topic.
        outcomes: the outcome of each family, by name.
    """
    sections = [_HEAD]
    for topic, families in topics.items():
        lines = [_line(family.name, outcomes[family.name]) for family in families]
        sections.append("\n".join([f"## {topic}\n", "| kind | result |", "|---|---|", *lines]) + "\n")
    return "\n".join(sections)


def read_results(page: str) -> dict[str, bool]:
    """Whether a page says that each kind is exported, by name."""
    rows = [line.strip("| ").split(" | ", 1) for line in page.splitlines() if line.startswith("| ")]
    return {name: result == "exported" for name, result in rows if name != "kind"}


def _line(name: str, outcome: Outcome) -> str:
    result = "exported" if outcome.exported else f"refused: {outcome.reason}"
    return f"| {name} | {' '.join(result.split()).replace('|', chr(92) + '|')} |"
