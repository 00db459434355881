"""How the values of a table are read: found once from all rows, then used for the table or parts of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from scorewire_training.tables.columns import note_columns
from scorewire_training.tables.dates import DateInspector, DateReading
from scorewire_training.tables.notes import TableNote
from scorewire_training.tables.numbers import NumberInspector, NumberReading
from scorewire_training.tables.settings import TableSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReading:
    """How a table is read.

    Attributes:
        columns: the names of the table's columns by their meaning.
        numbers: how numbers are read.
        dates: how times are read.
        notes: what was given and what was found out, for people.
    """

    columns: Mapping[str, str]
    numbers: NumberReading
    dates: DateReading
    notes: tuple[TableNote, ...]


class TableInspector:
    """Finds how a table is read, from all its rows, which may come in parts.

    Args:
        columns: the names of the table's columns by their meaning.
        settings: what was given.
        numbers: the meanings that are numbers.
        times: the meaning that is a time; None for a table without times.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        settings: TableSettings,
        *,
        numbers: Sequence[str],
        times: str | None = None,
    ) -> None:
        self._columns = columns
        self._number_columns = [columns[role] for role in numbers if role in columns]
        self._time_column = columns[times] if times else None
        self._numbers = NumberInspector(settings.decimal)
        self._dates = DateInspector(settings.date_format)
        self._notes = note_columns(columns, settings.columns)

    @property
    def inspected(self) -> list[str]:
        """The columns whose values decide."""
        return [*([self._time_column] if self._time_column else []), *self._number_columns]

    def add(self, rows: pd.DataFrame) -> None:
        """Look at the next rows, which have at least the columns of `inspected`."""
        if self._time_column:
            self._dates.add(rows[self._time_column])
        for column in self._number_columns:
            self._numbers.add(rows[column])

    def decide(self, notes: Sequence[TableNote] = (), *, strict: bool = False) -> TableReading:
        """Choose the reading.

        Args:
            notes: how the file is read.
            strict: whether each unreadable number is an error.

        Raises:
            TrainingError: the values leave two readings, or have none.
        """
        found = [*notes, *self._notes]
        dates = DateReading()
        if self._time_column:
            dates, told = self._dates.decide(self._time_column)
            found += told
        numbers, told = self._numbers.decide(strict=strict)
        return TableReading(columns=self._columns, numbers=numbers, dates=dates, notes=(*found, *told))
