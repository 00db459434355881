"""The tables, partitions and sources that rows need: made when the first rows come that need them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

from psycopg import sql
from psycopg.types.json import Jsonb

from scorewire_contract.records.source import Output, Source
from scorewire_records.postgresql.connection import Connection, name
from scorewire_records.postgresql.identifiers import view_name
from scorewire_records.postgresql.layout import NUMBERS, Layout
from scorewire_records.postgresql.schema import LOCK
from scorewire_records.postgresql.views import make_view

_Route: TypeAlias = "tuple[str, str, str]"


class Catalog:
    """What is known to be in the database, so that most rows need no question."""

    def __init__(self) -> None:
        self._tables: set[str] = set()
        self._partitions: set[tuple[str, dt.date]] = set()
        self._sources: dict[_Route, int] = {}
        self._retention: dict[str, int | None] = {}

    def forget(self) -> None:
        """Ask the database again, as after an error."""
        self.__init__()  # type: ignore[misc]

    def ensure(self, connection: Connection, source: Source, layout: Layout, days: Iterable[dt.date]) -> None:
        """Make what rows of a source and of some days need; outside of a transaction.

        Raises:
            psycopg.Error: the database does not do it.
        """
        if layout.table not in self._tables:
            _make_table(connection, source, layout)
            self._tables.add(layout.table)
        for day in days:
            if (layout.table, day) not in self._partitions:
                _make_partition(connection, layout.table, day)
                self._partitions.add((layout.table, day))
        if self._retention.get(source.model, -1) != source.retention_days:
            connection.execute(
                "UPDATE scorewire.models SET retention_days = %s"
                " WHERE model = %s AND retention_days IS DISTINCT FROM %s",
                [source.retention_days, source.model, source.retention_days],
            )
            self._retention[source.model] = source.retention_days
        self.source_id(connection, source)

    def source_id(self, connection: Connection, source: Source) -> int:
        """The number of a source's version, route and kind in the database."""
        route = (source.version, source.route, source.kind)
        if route not in self._sources:
            connection.execute(
                "INSERT INTO scorewire.sources (version, route, route_kind) VALUES (%s, %s, %s)"
                " ON CONFLICT DO NOTHING",
                route,
            )
            row = connection.execute(
                "SELECT id FROM scorewire.sources WHERE (version, route, route_kind) = (%s, %s, %s)", route
            ).fetchone()
            assert row is not None  # noqa: S101 - rows of this table are never deleted
            self._sources[route] = row[0]
        return self._sources[route]


def partition_name(table: str, day: dt.date) -> str:
    """The name of the partition of a table for a day."""
    return f"{table}_{day:%Y%m%d}"


def _make_table(connection: Connection, source: Source, layout: Layout) -> None:
    with connection.transaction():
        connection.execute(LOCK)
        if connection.execute("SELECT FROM scorewire.tables WHERE name = %s", [layout.table]).rowcount:
            return
        connection.execute(
            "INSERT INTO scorewire.models (model, view_name) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            [source.model, view_name(source.model)],
        )
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(each.name), sql.SQL(each.type)) for each in layout.columns
        )
        table = name(layout.table)
        connection.execute(sql.SQL("CREATE TABLE {} ({}) PARTITION BY RANGE (time)").format(table, columns))
        # Rows come nearly in the order of their times and numbers, so that an index of ranges of pages, which
        # costs next to nothing, finds a time, and a prediction by its writer and sequence. VACUUM adds new
        # pages to it; `autosummarize` would fill the server's log while many rows come.
        connection.execute(
            sql.SQL(
                "CREATE INDEX ON {} USING brin (time, writer, sequence int8_minmax_multi_ops)"
                " WITH (pages_per_range = 64)"
            ).format(table)
        )
        if layout.is_wide and source.numbers:
            # Numbers hardly get smaller by compression, which takes most of the time.
            connection.execute(
                sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET STORAGE EXTERNAL").format(
                    table, sql.Identifier(NUMBERS)
                )
            )
        for each in layout.columns:
            if each.full_name != each.name:
                connection.execute(
                    sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(
                        table, sql.Identifier(each.name), sql.Literal(each.full_name)
                    )
                )
        connection.execute(
            "INSERT INTO scorewire.tables"
            " (name, model, fingerprint, features, numbers, texts, hashed, dropped, outputs, score_output)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                layout.table,
                source.model,
                source.fingerprint,
                *map(list, (source.features, source.numbers, source.texts, source.hashed, source.dropped)),
                Jsonb([[output.name, output.width, output.kind] for output in source.outputs]),
                source.score_output,
            ],
        )
        make_view(connection, source.model, _sources(connection, source.model))


def _make_partition(connection: Connection, table: str, day: dt.date) -> None:
    with connection.transaction():
        connection.execute(LOCK)
        row = connection.execute(
            "SELECT FROM scorewire.partitions WHERE (table_name, day) = (%s, %s)", [table, day]
        )
        if row.rowcount:
            return
        partition = partition_name(table, day)
        # CREATE TABLE ... PARTITION OF would wait for all readers of the table, and stop new ones.
        connection.execute(
            sql.SQL(
                "CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMMENTS)"
            ).format(name(partition), name(table))
        )
        connection.execute(
            sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                name(table),
                name(partition),
                sql.Literal(f"{day} 00:00:00+00"),
                sql.Literal(f"{day + dt.timedelta(days=1)} 00:00:00+00"),
            )
        )
        connection.execute(
            "INSERT INTO scorewire.partitions (name, table_name, day) VALUES (%s, %s, %s)",
            [partition, table, day],
        )


def _sources(connection: Connection, model: str) -> list[Source]:
    """A source for each table of a model, the earliest first."""
    rows = connection.execute(
        "SELECT name, fingerprint, features, numbers, texts, hashed, dropped, outputs, score_output"
        " FROM scorewire.tables WHERE model = %s ORDER BY number",
        [model],
    ).fetchall()
    found = []
    for table, fingerprint, features, numbers, texts, hashed, dropped, outputs, score_output in rows:
        source = Source(
            source=0,
            model=model,
            version="",
            route="",
            kind="",
            share=1.0,
            fingerprint=fingerprint,
            features=tuple(features),
            numbers=tuple(numbers),
            texts=tuple(texts),
            hashed=tuple(hashed),
            dropped=tuple(dropped),
            outputs=tuple(Output(name=name_, width=width, kind=kind) for name_, width, kind in outputs),
            score_output=score_output,
        )
        # The name of a table tells whether it has principals.
        has_principal = Layout(source).table == table
        found.append(source if has_principal else replace(source, principal="drop"))
    return found
