"""The latest records, and those of one prediction, by what indexes there are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from psycopg import sql

from scorewire_contract.records.identity import PredictionId, writer_uuid
from scorewire_records.database import TimeLimit
from scorewire_records.postgresql.arrow import arrow_batch, arrow_schema
from scorewire_records.postgresql.connection import Connection, name
from scorewire_records.selection import Selection

_NEWEST = sql.SQL('time DESC, writer DESC, sequence DESC, "row" DESC')


def latest(connection: Connection, count: int, selection: Selection, limit: TimeLimit) -> list[pa.Table]:
    """The latest selected records in the order of time; each table has one, and the columns of its model.

    Raises:
        TimeLimitError: there is no time left for the next statement.
    """
    views = connection.execute(
        "SELECT model, view_name FROM scorewire.models"
        " WHERE %(model)s::text IS NULL OR model = %(model)s ORDER BY model",
        {"model": selection.model},
    ).fetchall()
    rows = [
        row
        for model, view in views
        for row in _latest_of(connection, model, view, count, selection, limit=limit)
    ]
    rows.sort(key=lambda row: row[0])
    return [table for _, table in rows[max(0, len(rows) - count) :]]


def find(connection: Connection, prediction: PredictionId, count: int) -> list[pa.Table]:
    """The records of one prediction in the order of its rows, at most `count`; each table has one."""
    # The writer and the number, which the index finds; the text of the id would take a scan of all rows.
    key = {"writer": writer_uuid(prediction.start, prediction.writer), "sequence": prediction.sequence}
    views = connection.execute(
        """
        SELECT DISTINCT m.view_name FROM scorewire.stored s
        JOIN scorewire.tables t ON t.name = s.table_name JOIN scorewire.models m USING (model)
        WHERE s.writer = %(writer)s AND %(sequence)s BETWEEN s.first_sequence AND s.last_sequence
        """,
        key,
    ).fetchall()
    for (view,) in views:
        query = 'SELECT * FROM {} WHERE writer = {} AND sequence = {} ORDER BY "row" LIMIT {}'
        table = _table(connection, sql.SQL(query).format(name(view), *key.values(), count))
        if len(table):
            return [table.slice(index, 1) for index in range(len(table))]
    return []


def _latest_of(
    connection: Connection, model: str, view: str, count: int, selection: Selection, *, limit: TimeLimit
) -> list[tuple[Any, pa.Table]]:
    """The latest records of a model, each with what orders it."""
    days = connection.execute(
        "SELECT DISTINCT p.day FROM scorewire.partitions p JOIN scorewire.tables t ON t.name = p.table_name"
        " WHERE t.model = %s ORDER BY p.day DESC",
        [model],
    ).fetchall()
    found: pa.Table | None = None
    for begin in _begins([day for (day,) in days]):
        limit.check()
        terms = {
            "time >= {}": max(each for each in (begin, selection.begin) if each is not None),
            "time < {}": selection.end,
            "version = {}": selection.version,
        }
        condition = sql.SQL(" AND ").join(
            sql.SQL(term).format(sql.Literal(value)) for term, value in terms.items() if value is not None
        )
        found = _table(
            connection,
            sql.SQL("SELECT * FROM {} WHERE {} ORDER BY {} LIMIT {}").format(
                name(view), condition, _NEWEST, sql.Literal(count)
            ),
        )
        if len(found) >= count:
            break
    if found is None:
        return []
    keys = zip(*(found[column].to_pylist() for column in ("time", "prediction_id", "row")), strict=True)
    return [(key, found.slice(index, 1)) for index, key in enumerate(keys)]


def _begins(days: list[dt.date]) -> Iterator[dt.datetime]:
    """The beginnings of longer and longer times up to now: an hour, the last day that has records, and so on.

    There is no index by time within a day but that of blocks, which a short time is found by.
    """
    if not days:
        return
    yield dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    number = 1
    while number < len(days):
        yield _midnight(days[number - 1])
        number *= 2
    yield _midnight(days[-1])


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def _table(connection: Connection, query: sql.Composed) -> pa.Table:
    """The result of a SELECT on the view of a model, without the columns that other stores do not have."""
    cursor = connection.execute(query, binary=True)
    schema = arrow_schema(connection, cursor)
    table = pa.Table.from_batches([arrow_batch(cursor.fetchall(), schema)])
    return table.drop_columns(["writer", "sequence"])
