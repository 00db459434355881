"""What answers questions about records: a folder of them, or a database."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from scorewire_contract.records.identity import PredictionId
from scorewire_records.ledger_report import LedgerReport
from scorewire_records.selection import Selection
from scorewire_records.statistics import DayStatistics


class Reader(Protocol):
    """Answers questions about records."""

    def report(self, since: datetime | None) -> LedgerReport:
        """The ledger; of starts that began at a time or later."""

    def latest(self, count: int, selection: Selection) -> list[pa.Table]:
        """The latest selected records in the order of time; each table has one, with its model's columns."""

    def find(self, prediction: PredictionId, count: int) -> list[pa.Table]:
        """The records of one prediction in the order of its rows, at most `count`; each table has one."""

    def query(self, sql: str) -> AbstractContextManager[pa.RecordBatchReader]:
        """The result of one SELECT; anything else raises `QueryError`."""

    def statistics(self, selection: Selection) -> list[DayStatistics]:
        """The statistics of the selected records."""
