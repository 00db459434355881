"""Times that are written as text: the order of day, month and year that all values of a column allow.

A value such as 03/04/2011 has two readings. A column is read in the one order that
reads all its values; where two orders do, and differ, it is refused, because a wrong
guess would move purchases by months without an error. ISO 8601 has one reading only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from scorewire_training.errors import TrainingError
from scorewire_training.tables.notes import Cell, TableNote, list_cells
from scorewire_training.tables.texts import read_texts

# More unreadable values than this are an error of the reading, not of single values.
MAX_UNREADABLE_SHARE = 0.05
_MAX_CELLS = 5
_ISO = "ISO8601"
_CLOCKS = (
    "", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %I:%M%p", " %I:%M:%S%p",
    ", %H:%M", ", %H:%M:%S", ", %I:%M %p", ", %I:%M:%S %p",
)  # fmt: skip
_ZONE = re.compile(r":\d\d(?:\.\d+)?\s*(?:Z|[+-]\d\d:?\d\d)$", re.IGNORECASE)
_Times: TypeAlias = "pd.Series[Any]"


@dataclass(frozen=True, slots=True)
class _Order:
    """An order of day, month and year; `formats` by the shape of the values that they can read."""

    formats: dict[str, tuple[str, ...]]
    # Reads every shape, in place of `formats` and of ISO 8601.
    only: str | None = None

    def parse(self, texts: pd.Series[str], iso: _Times) -> tuple[_Times, pd.Series[Any]]:
        """The times in UTC and the format of each, NaT and None where the order does not read a text."""
        times = iso.copy() if self.only is None else _parse(texts, self.only)
        used = pd.Series([None] * len(texts), texts.index, dtype=object)
        used[times.notna()] = self.only or _ISO
        if self.only is not None:
            return times, used
        rest = texts[iso.isna()]
        for shape, alike in rest.groupby(_shapes(rest)):
            for form in self.formats.get(str(shape), ()):
                read = _parse(alike, form).dropna()
                times.loc[read.index] = read
                used.loc[read.index] = form
        return times, used


def _shapes(texts: pd.Series[str]) -> pd.Series[str]:
    """The texts without their numbers: 03/04/2011 8:30 PM has the shape 0/0/0 0:0 am."""
    lower = texts.str.lower().str.replace(r"\d+", "0", regex=True)
    return lower.str.replace("pm", "am")


def _make_order(*patterns: str) -> _Order:
    formats: dict[str, tuple[str, ...]] = {}
    for pattern in patterns:
        for separator in "/.-":
            for clock in _CLOCKS:
                form = pattern.replace("/", separator) + clock
                shape = re.sub("%[a-zA-Z]", "0", form.replace("%p", "am"))
                formats[shape] = (*formats.get(shape, ()), form)
    return _Order(formats)


# In the order of preference where all of them read a column alike.
_ORDERS = (
    _make_order("%Y/%m/%d", "%y/%m/%d"),
    _make_order("%d/%m/%Y", "%d/%m/%y"),
    _make_order("%m/%d/%Y", "%m/%d/%y"),
)


def _choose_orders(date_format: str | None) -> tuple[_Order, ...]:
    """All orders, or the one that a format has, with its year: a column may have several clocks."""
    if date_format is None:
        return _ORDERS
    for order in _ORDERS:
        if any(date_format in forms for forms in order.formats.values()):
            year = "%Y" if "%Y" in date_format else "%y"
            kept = {
                shape: tuple(form for form in forms if year in form) for shape, forms in order.formats.items()
            }
            return (_Order(kept),)
    return (_Order({}, only=date_format),)


def _parse(texts: pd.Series[str], form: str) -> _Times:
    # Without a digit it is no time; pandas would read "now" and "today" in every format.
    texts = texts.where(texts.str.contains("[0-9]", na=False))
    return pd.to_datetime(texts, format=form, errors="coerce", utc=True).dt.as_unit("us")


@dataclass(frozen=True, slots=True)
class DateReading:
    """How a column of times is read."""

    order: _Order = _ORDERS[0]

    def read(self, column: pd.Series[Any]) -> _Times:
        """Times without a zone, converted from UTC where they had one; NaT where missing or unreadable."""
        if pd.api.types.is_datetime64_any_dtype(column.dtype):
            times = pd.to_datetime(column, utc=True)
        else:
            codes, values = pd.factorize(read_texts(column))
            texts = pd.Series(values, dtype=object)
            read, _ = self.order.parse(texts, _parse(texts, _ISO))
            # The code of a missing value is -1, the last element.
            times = pd.Series(
                pd.concat([read, pd.Series([pd.NaT], dtype=read.dtype)]).array[codes], column.index
            )
        return times.dt.tz_localize(None).dt.as_unit("us")


class DateInspector:
    """Finds how a column of times is read, from all its values, which may come in parts."""

    def __init__(self, date_format: str | None = None) -> None:
        self._given = date_format
        self._orders = _choose_orders(date_format)
        self._rows = 0
        self._typed = False
        self._zone: Cell | None = None
        self._example: tuple[Cell, str] | None = None
        # Values that an order does not read and another one does: the first one.
        self._lost: dict[int, Cell] = {}
        # Values that two orders read differently: the first one, with what each order makes of it.
        self._differing: dict[tuple[int, int], tuple[Cell, dict[int, tuple[pd.Timestamp, str]]]] = {}
        self._unreadable: list[Cell] = []
        self._unreadable_count = 0

    def add(self, column: pd.Series[Any]) -> None:
        """Look at the next rows of the column."""
        first_row, self._rows = self._rows + 1, self._rows + len(column)
        if pd.api.types.is_datetime64_any_dtype(column.dtype):
            self._typed = True
            if getattr(column.dtype, "tz", None) is not None and self._zone is None:
                self._zone = Cell(first_row, str(column.iloc[0]))
            return
        found = read_texts(column)
        codes, values = pd.factorize(found)
        if not len(values):
            return
        texts = pd.Series(values, dtype=object)
        counts = np.bincount(codes[codes >= 0], minlength=len(values))
        # The codes rise in the order of the values' first rows.
        rows = first_row + np.flatnonzero(~found.duplicated() & found.notna())
        iso = _parse(texts, _ISO)
        parsed = [order.parse(texts, iso) for order in self._orders]
        read = [times.notna().to_numpy() for times, _ in parsed]
        some = np.logical_or.reduce(read)

        def cell(position: int) -> Cell:
            return Cell(int(rows[position]), str(texts[position]))

        for number, (_, used) in enumerate(parsed):
            lost = some & ~read[number]
            if lost.any():
                self._lost.setdefault(number, cell(int(lost.argmax())))
            if self._example is None and read[number].any():
                position = int(read[number].argmax())
                self._example = (cell(position), str(used[position]))
        for one, other in combinations(range(len(parsed)), 2):
            both = read[one] & read[other]
            differ = both & (parsed[one][0] != parsed[other][0]).to_numpy()
            if differ.any() and (one, other) not in self._differing:
                position = int(differ.argmax())
                shown = {
                    number: (parsed[number][0][position], str(parsed[number][1][position]))
                    for number in range(len(parsed))
                    if read[number][position]
                }
                self._differing[one, other] = (cell(position), shown)
        self._unreadable_count += int(counts[~some].sum())
        for position in np.flatnonzero(~some)[: _MAX_CELLS - len(self._unreadable)]:
            self._unreadable.append(cell(int(position)))
        if self._zone is None:
            zoned = texts.str.contains(_ZONE) & some
            if zoned.any():
                self._zone = cell(int(zoned.argmax()))

    def decide(self, column: str) -> tuple[DateReading, tuple[TableNote, ...]]:
        """Choose the reading of the column with this name, and tell it.

        Raises:
            TrainingError: two orders read all values, and differ; no order reads all
                values that some order reads; or no order reads more than 5 % of them.
        """
        if self._unreadable_count > MAX_UNREADABLE_SHARE * self._rows:
            given = f" as {self._given}" if self._given else ""
            raise TrainingError(
                f"{self._unreadable_count / self._rows:.0%} of column {column} cannot be read{given}, "
                f"{self._unreadable[0].shown} for one: write each as a time like 2011-09-10 08:30:00, or "
                "pass their --date-format, like '%d/%m/%Y %H:%M'; "
                f"{list_cells(self._unreadable, self._unreadable_count)}"
            )
        complete = [number for number in range(len(self._orders)) if number not in self._lost]
        if not complete:
            raise TrainingError(
                f"column {column} mixes orders of day and month: "
                f"{' and '.join(map(str, self._mixed()))} have no order in common; correct them, or pass the "
                "--date-format of most, like '%d/%m/%Y', to leave the others out"
            )
        for pair, (cell, shown) in self._differing.items():
            if set(pair) <= set(complete):
                readings = [(time, form) for number, (time, form) in shown.items() if number in complete]
                listed = " or ".join(f"{time.date()} ({form})" for time, form in readings)
                options = " or ".join(f"--date-format '{form}'" for _, form in readings)
                raise TrainingError(
                    f"the dates of column {column} have {len(readings)} readings: {cell} is {listed}, and no "
                    f"value of the column excludes one of them; pass {options}"
                )
        notes = [self._describe(complete)]
        if self._zone is not None:
            notes.append(TableNote("zones", "times with a zone are converted to UTC", f"like {self._zone}"))
        if self._unreadable:
            count = self._unreadable_count
            notes.append(
                TableNote("unreadable times", f"{count:,}, left out", list_cells(self._unreadable, count))
            )
        return DateReading(self._orders[complete[0]]), tuple(notes)

    def _describe(self, complete: list[int]) -> TableNote:
        if self._typed or self._example is None:
            unused = "; the given date format is not used" if self._given else ""
            return TableNote("times", f"typed in the file{unused}")
        if self._given:
            return TableNote("times", f"{self._given} (given)")
        cell, form = self._example
        if len(complete) > 1:
            if form == _ISO:
                return TableNote("times", "ISO 8601", f"like {cell}")
            return TableNote("times", f"{form}; day and month are the same in all values", f"like {cell}")
        # The value that excluded the order that lasted longest.
        settled = max(self._lost.values(), key=lambda lost: lost.row)
        texts = pd.Series([settled.value], dtype=object)
        used = self._orders[complete[0]].parse(texts, _parse(texts, _ISO))[1].iloc[0]
        return TableNote("times", str(used), f"settled by {settled}")

    def _mixed(self) -> list[Cell]:
        """The first values that exclude an order each, without repetition."""
        return list(dict.fromkeys(self._lost.values()))
