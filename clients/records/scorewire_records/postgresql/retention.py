"""Retention: drops whole partitions, and counts what expires with them."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg import sql

from scorewire_contract.records.identity import split_writer
from scorewire_records.postgresql.connection import Connection, name
from scorewire_records.postgresql.schema import LOCK

_log = logging.getLogger(__name__)
# Readers of a table are not held up for longer than this by a drop that waits for one of them.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '2s'"
# And the shipper not for longer than so many of these waits: a backup reads all tables for hours.
_MOST_BUSY_TABLES = 5


@dataclass(frozen=True, slots=True)
class Expired:
    """A partition that was dropped.

    Attributes:
        model: the model.
        day: the day of the rows (UTC).
        rows: how many rows there were.
        starts: the starts that they were of.
    """

    model: str
    day: dt.date
    rows: int
    starts: frozenset[UUID]


def expire(
    connection: Connection, now: dt.datetime, *, model: str | None = None, days: int | None = None
) -> Iterator[Expired]:
    """Drop the partitions of which all rows are older than their model's retention.

    A table that a query reads keeps its partitions until the next time.

    Args:
        connection: the connection, outside of a transaction.
        now: the time, aware.
        model: the model; None for all.
        days: how many days to keep; None for what the last policy said.
    """
    due = connection.execute(
        """
        SELECT p.name, p.table_name, p.day, model
        FROM scorewire.partitions p
        JOIN scorewire.tables t ON t.name = p.table_name
        JOIN scorewire.models m USING (model)
        WHERE p.day < %(today)s - coalesce(%(days)s, m.retention_days)
            AND (%(model)s::text IS NULL OR model = %(model)s)
        ORDER BY p.day, p.name
        """,
        {"today": now.astimezone(dt.UTC).date(), "days": days, "model": model},
    ).fetchall()
    busy: set[str] = set()
    for partition, table, day, of_model in due:
        if table in busy:
            continue
        if len(busy) == _MOST_BUSY_TABLES:
            return
        try:
            rows = _drop(connection, partition, table, day)
        except psycopg.errors.LockNotAvailable:
            _log.warning("table %s is in use: its old partitions are dropped later", table)
            busy.add(table)
            continue
        starts = frozenset(split_writer(writer)[0] for writer, _ in rows)
        yield Expired(of_model, day, sum(count for _, count in rows), starts)


def _drop(connection: Connection, partition: str, table: str, day: dt.date) -> list[tuple[UUID, int]]:
    """Drop a partition; returns the rows of each writer."""
    with connection.transaction():
        connection.execute(LOCK)
        connection.execute(_LOCK_TIMEOUT)
        # The lock also keeps out transactions that still copy into the partition and count what they copy.
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name(partition)))
        connection.execute("DELETE FROM scorewire.partitions WHERE name = %s", [partition])
        counts = connection.execute(
            "SELECT writer, rows FROM scorewire.stored WHERE (table_name, day) = (%s, %s) FOR UPDATE",
            [table, day],
        ).fetchall()
        connection.execute(
            "UPDATE scorewire.stored SET expired_predictions = expired_predictions + predictions,"
            " expired_rows = expired_rows + rows, predictions = 0, rows = 0"
            " WHERE (table_name, day) = (%s, %s)",
            [table, day],
        )
    return [(writer, rows) for writer, rows in counts]
