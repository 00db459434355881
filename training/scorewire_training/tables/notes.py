"""How a table was read, for people: what was given, and what was found out from its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class TableNote:
    """A note about one thing: what was found, and the values of the table that show it.

    The values are for the person who has the table, and never part of a bundle.
    """

    subject: str
    text: str
    values: str = ""


# Called once with the notes, as soon as a table is read and before the long work.
OnRead: TypeAlias = Callable[[Sequence[TableNote]], None]


@dataclass(frozen=True, slots=True)
class Cell:
    """A value of a table and its row; the first row below the header is row 1."""

    row: int
    value: str

    @property
    def shown(self) -> str:
        """The value in quotes, cut off where it is long."""
        return repr(self.value) if len(self.value) <= _MAX_SHOWN else f"{self.value[:_MAX_SHOWN]!r}..."

    def __str__(self) -> str:
        return f"{self.shown} (row {self.row:,})"


def list_cells(cells: list[Cell], count: int) -> str:
    """The first of `count` cells, for an error message."""
    listed = ", ".join(map(str, cells))
    return f"{listed}, and {count - len(cells):,} more" if count > len(cells) else listed
