"""Retention: drops whole partitions, and counts what expires with them."""

from __future__ import annotations

import datetime as dt
import logging
from uuid import UUID

import psycopg
from psycopg import sql

from scorewire_contract.records.identity import split_writer
from scorewire_records.postgresql.connection import Connection, name
from scorewire_records.postgresql.schema import LOCK

_log = logging.getLogger(__name__)
# Readers of a table are not held up for longer than this by a drop that waits for one of them.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '2s'"


def expire(connection: Connection, now: dt.datetime) -> set[UUID]:
    """Drop the partitions of which all rows are older than their model's retention.

    A partition that a query reads is left for the next time.

    Args:
        connection: the connection, outside of a transaction.
        now: the time, aware.

    Returns:
        The starts of which rows expired.
    """
    today = now.astimezone(dt.UTC).date()
    due = connection.execute(
        """
        SELECT p.name, p.table_name, p.day
        FROM scorewire.partitions p
        JOIN scorewire.tables t ON t.name = p.table_name
        JOIN scorewire.models m USING (model)
        WHERE p.day < %s - m.retention_days
        ORDER BY p.day
        """,
        [today],
    ).fetchall()
    starts: set[UUID] = set()
    for partition, table, day in due:
        try:
            starts |= _drop(connection, partition, table, day)
        except psycopg.errors.LockNotAvailable:
            _log.info("partition %s is in use, and is dropped later", partition)
    return starts


def _drop(connection: Connection, partition: str, table: str, day: dt.date) -> set[UUID]:
    with connection.transaction():
        connection.execute(LOCK)
        connection.execute(_LOCK_TIMEOUT)
        # The lock also keeps out transactions that still copy into the partition and count what they copy.
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name(partition)))
        connection.execute("DELETE FROM scorewire.partitions WHERE name = %s", [partition])
        rows = connection.execute(
            "UPDATE scorewire.stored SET expired_predictions = expired_predictions + predictions,"
            " expired_rows = expired_rows + rows, predictions = 0, rows = 0"
            " WHERE (table_name, day) = (%s, %s) RETURNING writer",
            [table, day],
        ).fetchall()
    return {split_writer(writer)[0] for (writer,) in rows}
