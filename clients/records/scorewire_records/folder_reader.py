"""Reads the records of a folder: the Parquet files, and what is still in the spool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from scorewire_contract.records.identity import PredictionId
from scorewire_records.database import ALL, TimeLimit, open_database, read_only
from scorewire_records.ledger_report import LedgerReport, report_of
from scorewire_records.parquet_files import RecordFile
from scorewire_records.selection import Selection
from scorewire_records.snapshot import snapshot
from scorewire_records.statistics import DayStatistics, score_sources, statistics


class FolderReader:
    """Reads a folder of records.

    Args:
        records: the folder.
        on_read: called with the bytes of the spool that were read, and how many there are.
        seconds: how long `latest` and `find` may take; None for no limit.
    """

    def __init__(
        self,
        records: Path,
        on_read: Callable[[int, int], None] = lambda _done, _of: None,
        seconds: float | None = None,
    ) -> None:
        self._records = records
        self._on_read = on_read
        self._seconds = seconds

    def report(self, since: datetime | None) -> LedgerReport:
        """The ledger; of starts that began at a time or later."""
        return report_of(self._records, since)

    @contextmanager
    def query(self, sql: str) -> Iterator[pa.RecordBatchReader]:
        """The result of a SELECT.

        Raises:
            QueryError: the text is not one SELECT, or fails.
        """
        with snapshot(self._records, Selection(), self._on_read) as files, open_database(files) as database:
            yield read_only(database, sql)

    @contextmanager
    def select(self, selection: Selection) -> Iterator[tuple[int, pa.RecordBatchReader]]:
        """The selected records, ordered by nothing, and how many there are.

        Raises:
            QueryError: a file cannot be read.
        """
        with snapshot(self._records, selection, self._on_read) as files, open_database(files) as database:
            condition, parameters = selection.condition()
            found = database.sql(f"FROM {ALL} WHERE {condition}", params=parameters)
            yield found.count("*").fetchall()[0][0], found.to_arrow_reader()

    def latest(self, count: int, selection: Selection) -> list[pa.Table]:
        """The latest selected records in the order of time; each table has one, and the columns of its model.

        Raises:
            QueryError: a file cannot be read, or it takes too long.
        """
        limit = TimeLimit(self._seconds)
        with snapshot(self._records, selection, self._within(limit)) as files:
            rows: list[tuple[Any, pa.Table]] = []
            for some in _latest_days(files):
                rows = [row for model in _by_model(some) for row in _latest(model, count, selection, limit)]
                if len(rows) >= count:
                    break
        rows.sort(key=lambda row: row[0])
        return [table for _, table in rows[max(0, len(rows) - count) :]]

    def find(self, prediction: PredictionId, count: int) -> list[pa.Table]:
        """The records of one prediction in the order of its rows; each table has one.

        Args:
            prediction: the prediction.
            count: the most rows.

        Raises:
            QueryError: a file cannot be read, or it takes too long.
        """
        limit = TimeLimit(self._seconds)
        with snapshot(self._records, Selection(), self._within(limit)) as files:
            # All rows of a start are in files of that start.
            for model in _by_model([file for file in files if file.start == prediction.start]):
                with open_database(model, limit) as database:
                    query = f"FROM {ALL} WHERE prediction_id = ? ORDER BY row LIMIT ?"
                    table = database.sql(query, params=[str(prediction), count]).to_arrow_table()
                if len(table):
                    return [table.slice(index, 1) for index in range(len(table))]
        return []

    def _within(self, limit: TimeLimit) -> Callable[[int, int], None]:
        def tell(done: int, of: int) -> None:
            limit.check()
            self._on_read(done, of)

        return tell

    def statistics(self, selection: Selection) -> list[DayStatistics]:
        """The statistics of the selected records.

        Raises:
            QueryError: a file cannot be read.
        """
        with snapshot(self._records, selection, self._on_read) as files, open_database(files) as database:
            return statistics(database, score_sources(files), selection)


def _latest_days(files: list[RecordFile]) -> Iterator[list[RecordFile]]:
    """The files of the last day that has any, those of twice as many days, and so on up to all."""
    days = sorted({file.day for file in files}, reverse=True)
    number = 1
    while number < len(days):
        yield [file for file in files if file.day >= days[number - 1]]
        number *= 2
    yield files


def _by_model(files: list[RecordFile]) -> list[list[RecordFile]]:
    models = sorted({file.model for file in files})
    return [[file for file in files if file.model == model] for model in models]


def _latest(
    files: list[RecordFile], count: int, selection: Selection, limit: TimeLimit
) -> Iterator[tuple[Any, pa.Table]]:
    """The latest records in files, each with what orders it."""
    condition, parameters = selection.condition()
    with open_database(files, limit) as database:
        found = database.sql(f"FROM {ALL} WHERE {condition}", params=parameters)
        table = found.order("time DESC, prediction_id DESC, row DESC").limit(count).to_arrow_table()
    keys = zip(*(table[name].to_pylist() for name in ("time", "prediction_id", "row")), strict=True)
    for index, key in enumerate(keys):
        yield key, table.slice(index, 1)
