"""The page of supported models, `docs/models.md`, written from the results of the families."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.families.running import Family, Outcome

_COLUMNS = 3
# The beginning of the reason why a kind is not explained.
_NOT = "no: "
PAGE = Path(__file__).parents[2] / "docs" / "models.md"

_HEAD = """\
# Which models are exported

The test suite fits each kind of model on this page, exports it, and compares the bundle with the model row by
row, on every tested Python. Export takes pipelines, column transformers and models made of models apart, and
every part must be of a known kind. A refused kind shows its reason. Export refuses before it writes anything,
and never writes a bundle that scores differently from the model.

The last column has the link between margins and output where [predictions are explained](explanations.md), or
the reason why they are not.

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
        sections.append(
            "\n".join([f"## {topic}\n", "| kind | result | explained |", "|---|---|---|", *lines]) + "\n"
        )
    return "\n".join(sections)


def read_results(page: str) -> dict[str, bool]:
    """Whether a page says that each kind is exported, by name."""
    return {name: result == "exported" for name, result, _ in _rows(page)}


def read_explained(page: str) -> dict[str, bool]:
    """Whether a page says that an output of each kind is explained, by name."""
    return {name: bool(told) and not told.startswith(_NOT) for name, _, told in _rows(page)}


def _rows(page: str) -> Iterator[list[str]]:
    """The cells of the rows of a page's tables."""
    for line in page.splitlines():
        cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
        if len(cells) == _COLUMNS and cells[0] != "kind":
            yield cells


def _line(name: str, outcome: Outcome) -> str:
    result = "exported" if outcome.exported else f"refused: {outcome.reason}"
    told = [*outcome.links, *(f"{_NOT}{reason}" for reason in outcome.unexplained)]
    if outcome.exported and not told:
        told = [f"{_NOT}a class has no margin"]
    return f"| {name} | {_cell(result)} | {_cell(', '.join(told))} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
