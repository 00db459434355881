"""Numbers that are written as text: the decimal mark that all numbers of a table allow.

With a decimal point, 1,234.50 has a thousands separator; with a decimal comma,
1.234,50 has one. A text such as 1,234 has both readings. As for times, the mark that
reads all values is taken, and a table that both marks read differently is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorewire_training.errors import TrainingError
from scorewire_training.tables.dates import MAX_UNREADABLE_SHARE
from scorewire_training.tables.notes import Cell, TableNote, list_cells
from scorewire_training.tables.texts import read_texts

_MARKS = {".": "a point", ",": "a comma"}
_MAX_CELLS = 5
# Separators of thousands beside the mark that is not the decimal one: blanks and the Swiss apostrophe.
_BLANKS = "\u0020\u00a0\u202f'\u2019"
_Floats: TypeAlias = NDArray[np.float64]


def _grouped(decimal: str) -> re.Pattern[str]:
    """Numbers of this decimal mark with groups of thousands, all with the same separator."""
    separators = _BLANKS + {".": ",", ",": "."}[decimal]
    return re.compile(
        rf"[+-]?[1-9]\d{{0,2}}([{separators}])\d{{3}}(?:\1\d{{3}})*(?:{re.escape(decimal)}\d*)?"
    )


_GROUPED = {mark: _grouped(mark) for mark in _MARKS}
_NO_DIGITS = {mark: f"[{_BLANKS}{other}]" for mark, other in ((".", ","), (",", "."))}
_PLAIN_COMMA = re.compile(r"[+-]?(?:\d+(?:,\d*)?|,\d+)(?:[eE][+-]?\d+)?")


def _parse(texts: pd.Series[str], decimal: str) -> _Floats:
    """The numbers that texts are with a decimal mark; NaN for texts that are not finite numbers."""
    plain = texts
    if decimal == ",":
        plain = texts.where(texts.str.fullmatch(_PLAIN_COMMA), "").str.replace(",", ".", regex=False)
    numbers = pd.to_numeric(plain, errors="coerce").to_numpy(dtype=np.float64, copy=True)
    # pandas reads the text "inf" as a number.
    numbers[np.isinf(numbers)] = np.nan
    rest = np.flatnonzero(np.isnan(numbers))
    if len(rest):
        grouped = texts.iloc[rest]
        grouped = grouped[grouped.str.fullmatch(_GROUPED[decimal])]
        joined = grouped.str.replace(_NO_DIGITS[decimal], "", regex=True).str.replace(",", ".", regex=False)
        numbers[grouped.index] = joined.astype("float64")
    return numbers


def _read_typed(column: pd.Series[Any]) -> pd.Series[float] | None:
    """The numbers of a column whose values are numbers and not texts; None for other columns."""
    typed = pd.api.types.is_numeric_dtype(column.dtype)
    # Decimals of Parquet are objects.
    if not typed and column.dtype == object:
        typed = pd.api.types.infer_dtype(column, skipna=True) in ("decimal", "floating", "integer")
    return column.astype("float64") if typed else None


@dataclass(frozen=True, slots=True)
class NumberReading:
    """How the numbers of a table are read."""

    decimal: str

    def read(self, column: pd.Series[Any]) -> pd.Series[float]:
        """The numbers of a column as float64; NaN where missing or unreadable."""
        if (typed := _read_typed(column)) is not None:
            return typed
        codes, values = pd.factorize(read_texts(column))
        numbers = np.append(_parse(pd.Series(values, dtype=object), self.decimal), np.nan)
        # The code of a missing value is -1, the last element.
        return pd.Series(numbers[codes], index=column.index, name=column.name)


@dataclass(slots=True)
class _Column:
    """What was found in one column: the number of rows, the values that no mark reads, an infinite number."""

    rows: int = 0
    unreadable_count: int = 0
    unreadable: list[Cell] = field(default_factory=list)
    infinite: Cell | None = None


class NumberInspector:
    """Finds how the numbers of a table are read, from all values of its columns, which may come in parts."""

    def __init__(self, decimal: str | None = None) -> None:
        self._given = decimal
        self._marks = tuple(_MARKS) if decimal is None else (decimal,)
        self._columns: dict[str, _Column] = {}
        # The first value that only one mark reads, by that mark.
        self._only: dict[str, tuple[str, Cell]] = {}
        # The first value that both marks read differently, with both numbers.
        self._differing: tuple[str, Cell, dict[str, float]] | None = None
        # The first value with thousands, by the mark that reads it.
        self._grouped: dict[str, tuple[str, Cell]] = {}

    def add(self, column: pd.Series[Any]) -> None:
        """Look at the next rows of a column; its name tells which one."""
        name = str(column.name)
        state = self._columns.setdefault(name, _Column())
        first_row, state.rows = state.rows + 1, state.rows + len(column)
        if (typed := _read_typed(column)) is not None:
            infinite = np.isinf(typed.to_numpy())
            if infinite.any() and state.infinite is None:
                position = int(infinite.argmax())
                state.infinite = Cell(first_row + position, str(typed.iloc[position]))
            return
        found = read_texts(column)
        codes, values = pd.factorize(found)
        texts = pd.Series(values, dtype=object)
        if not len(texts):
            return
        counts = np.bincount(codes[codes >= 0], minlength=len(values))
        # The codes rise in the order of the values' first rows.
        rows = first_row + np.flatnonzero(~found.duplicated() & found.notna())
        numbers = {mark: _parse(texts, mark) for mark in self._marks}
        read = {mark: ~np.isnan(values) for mark, values in numbers.items()}
        some = np.logical_or.reduce(list(read.values()))

        def cell(mask: NDArray[np.bool_]) -> Cell:
            position = int(mask.argmax())
            return Cell(int(rows[position]), str(texts[position]))

        for mark in self._marks:
            others = [read[other] for other in self._marks if other != mark]
            if others and (alone := read[mark] & ~others[0]).any():
                self._only.setdefault(mark, (name, cell(alone)))
            grouped = read[mark] & texts.str.fullmatch(_GROUPED[mark]).to_numpy(dtype=bool)
            if grouped.any():
                self._grouped.setdefault(mark, (name, cell(grouped)))
        if len(self._marks) > 1 and self._differing is None:
            differ = read["."] & read[","] & (numbers["."] != numbers[","])
            if differ.any():
                position = int(differ.argmax())
                both = {mark: float(numbers[mark][position]) for mark in self._marks}
                self._differing = (name, cell(differ), both)
        state.unreadable_count += int(counts[~some].sum())
        for position in np.flatnonzero(~some)[: _MAX_CELLS - len(state.unreadable)]:
            state.unreadable.append(Cell(int(rows[position]), str(texts[position])))

    def decide(self, *, strict: bool = False) -> tuple[NumberReading, tuple[TableNote, ...]]:
        """Choose the reading of the numbers, and tell it.

        Args:
            strict: whether each unreadable value is an error.

        Raises:
            TrainingError: both marks read all values, and differ; no mark reads all
                values that some mark reads; or more than 5 % of a column cannot be
                read, with `strict` a single value.
        """
        for name, state in self._columns.items():
            cells = state.unreadable or ([state.infinite] if strict and state.infinite else [])
            if strict and cells:
                raise TrainingError(
                    f"column {name} has {cells[0].shown}, which is not a finite number: correct it or "
                    f"leave it empty; {list_cells(cells, state.unreadable_count)}"
                )
            if state.unreadable_count > MAX_UNREADABLE_SHARE * state.rows:
                raise TrainingError(
                    f"{state.unreadable_count / state.rows:.0%} of column {name} cannot be read, "
                    f"{cells[0].shown} for one: write each as a number like 12.50; "
                    f"{list_cells(cells, state.unreadable_count)}"
                )
        if len(self._only) > 1:
            (point_column, point), (comma_column, comma) = self._only["."], self._only[","]
            raise TrainingError(
                f"the numbers mix decimal points and commas: column {point_column} has {point}, column "
                f"{comma_column} has {comma}; correct them"
                + ("" if strict else ", or pass --decimal to leave the others out")
            )
        if not self._only and self._differing is not None:
            name, cell, both = self._differing
            listed = " or ".join(f"{number:.15g} (decimal {mark})" for mark, number in both.items())
            raise TrainingError(
                f"the numbers of column {name} have 2 readings: {cell} is {listed}, and no value of the "
                "table excludes one of them; pass --decimal . or --decimal ,"
            )
        mark = next(iter(self._only), self._marks[0])
        return NumberReading(mark), tuple(self._describe(mark))

    def _describe(self, mark: str) -> list[TableNote]:
        notes = []
        if self._given:
            notes.append(TableNote("decimal mark", f"{_MARKS[mark]} (given)"))
        elif mark in self._only:
            name, cell = self._only[mark]
            notes.append(TableNote("decimal mark", _MARKS[mark], f"settled by {cell} of {name}"))
        if mark in self._grouped:
            name, cell = self._grouped[mark]
            number = _parse(pd.Series([cell.value], dtype=object), mark)[0]
            notes.append(
                TableNote("thousands", "separators are removed", f"{cell} of {name} is {number:.15g}")
            )
        for name, state in self._columns.items():
            if count := state.unreadable_count:
                cells = list_cells(state.unreadable, count)
                notes.append(TableNote(f"unreadable {name}", f"{count:,}, taken as missing", cells))
        return notes
