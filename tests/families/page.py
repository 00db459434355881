"""The page of supported models, `docs/models.md`, as the table of families has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.families.running import Family, Outcome

PAGE = Path(__file__).parents[2] / "docs" / "models.md"

_HEAD = """\
# Which models are exported

Each line is a kind of model that the test suite fits anew, exports, and compares with the bundle row by row,
on every Python that is tested. A kind that is not here is tried as what it is made of: pipelines, column
transformers and models made of models are taken apart, and each part must be known. What is refused is so
for the reason given, before anything is written; nothing is exported that answers otherwise than the model.

This page is written by `python -m tests.families --write`.
"""


def render(topics: Mapping[str, Sequence[Family]], outcomes: Mapping[str, Outcome]) -> str:
    """The page's text.

    Args:
        topics: the families by topic.
        outcomes: what became of each family, by its name.
    """
    sections = [_HEAD]
    for topic, families in topics.items():
        lines = [_line(family.name, outcomes[family.name]) for family in families]
        sections.append("\n".join([f"## {topic}\n", "| kind | result |", "|---|---|", *lines]) + "\n")
    return "\n".join(sections)


def read_verdicts(page: str) -> dict[str, bool]:
    """Whether each kind is exported, by its name, as a page says."""
    rows = [line.strip("| ").split(" | ", 1) for line in page.splitlines() if line.startswith("| ")]
    return {name: verdict == "exported" for name, verdict in rows if name != "kind"}


def _line(name: str, outcome: Outcome) -> str:
    verdict = "exported" if outcome.exported else f"refused: {outcome.reason}"
    return f"| {name} | {' '.join(verdict.split()).replace('|', chr(92) + '|')} |"
