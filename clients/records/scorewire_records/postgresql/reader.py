"""Reads the records and the ledger of a database."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pyarrow as pa
from psycopg import sql

from scorewire_contract.records.identity import PredictionId
from scorewire_contract.records.ledger import CAUSES
from scorewire_records.database import QueryError, TimeLimit, TimeLimitError
from scorewire_records.ledger_report import Gap, LedgerReport, StartLedger, ledger_problems
from scorewire_records.postgresql import schema
from scorewire_records.postgresql.arrow import arrow_batches, arrow_schema
from scorewire_records.postgresql.connection import Connection, Database, DatabaseError, name
from scorewire_records.postgresql.identifiers import identifier
from scorewire_records.postgresql.rows import find, latest
from scorewire_records.selection import Selection
from scorewire_records.shipper_status import RowCounts
from scorewire_records.statistics import QUANTILES, DayStatistics

_FETCH = "FETCH 1000 FROM rows"
_QUERY_SECONDS = 3600


class PostgresReader:
    """Reads a database; see `scorewire_records.reader.Reader`.

    Args:
        database: the database.
        seconds: how long a statement may take; all of those of `latest` together may begin within this time.
    """

    def __init__(self, database: Database, seconds: float = _QUERY_SECONDS) -> None:
        self._database = replace(database, statement_seconds=seconds)

    def report(self, since: dt.datetime | None) -> LedgerReport:
        """The ledger as far as it is stored; of starts that began at a time or later."""
        pairs = ", ".join(f"sum({name_})::bigint AS {name_}" for name_ in _SUMS)
        query = f"""
            SELECT s.start, s.engine, s.ended, {pairs},
                array_agg(w.writer ORDER BY w.writer), array_agg(w.next_sequence ORDER BY w.writer),
                array_agg(w.spooled_predictions ORDER BY w.writer),
                array_agg({" + ".join(f"w.{cause}_predictions" for cause in CAUSES)} ORDER BY w.writer),
                (SELECT coalesce(sum(expired_rows), 0)::bigint FROM scorewire.stored d
                 JOIN scorewire.writers x USING (writer) WHERE x.start = s.start)
            FROM scorewire.starts s JOIN scorewire.writers w USING (start)
            GROUP BY s.start ORDER BY s.start
        """  # noqa: S608 - of constants
        with self._reading() as connection:
            rows = connection.execute(query).fetchall()
        ledgers = [_ledger(row) for row in rows]
        if since is not None:
            ledgers = [each for each in ledgers if _begun(each.start) >= since]
        problems = list(ledger_problems(ledgers))
        return LedgerReport(ledgers=ledgers, problems=problems, database=self._database.shown)

    def latest(self, count: int, selection: Selection) -> list[pa.Table]:
        """The latest selected records in the order of time; each table has one, and the columns of its model.

        Raises:
            QueryError: the database cannot be read, or it takes too long.
        """
        limit = TimeLimit(self._database.statement_seconds)
        with self._reading() as connection, self._in_time():
            return latest(connection, count, selection, limit)

    def find(self, prediction: PredictionId, count: int) -> list[pa.Table]:
        """The records of one prediction in the order of its rows, at most `count`; each table has one.

        Raises:
            QueryError: the database cannot be read, or it takes too long.
        """
        with self._reading() as connection, self._in_time():
            return find(connection, prediction, count)

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable):
            raise TimeLimitError(self._database.statement_seconds) from None

    @contextmanager
    def query(self, sql: str) -> Iterator[pa.RecordBatchReader]:
        """The result of a SELECT.

        Raises:
            QueryError: the text is not one SELECT, or fails.
        """
        with self._reading() as connection:
            # A cursor is for one SELECT. In binary form, the protocol has no room for a second statement.
            declare = f"DECLARE rows NO SCROLL CURSOR FOR {sql.strip().rstrip(';')}"
            try:
                connection.execute(declare, binary=True)
            except psycopg.errors.SyntaxError as error:
                position = re.sub(r"\s+", " ", str(error)).strip()
                raise QueryError(f"a query is one SELECT in PostgreSQL's SQL: {position}") from None
            first = connection.execute(_FETCH, binary=True)
            arrow = arrow_schema(connection, first)
            yield pa.RecordBatchReader.from_batches(
                arrow, arrow_batches(first, arrow, lambda: connection.execute(_FETCH, binary=True))
            )

    def statistics(self, selection: Selection) -> list[DayStatistics]:
        """The statistics of the selected records.

        Raises:
            QueryError: the database cannot be read.
        """
        with self._reading() as connection:
            tables = connection.execute(
                "SELECT name, model, outputs, score_output FROM scorewire.tables ORDER BY number"
            ).fetchall()
            chosen = [each for each in tables if selection.model in (None, each[1])]
            if not chosen:
                return []
            rows = sql.SQL(" UNION ALL ").join(_scores(*each) for each in chosen)
            quantiles = sql.Literal(list(QUANTILES))
            found = connection.execute(
                sql.SQL(
                    """
                    SELECT model, version, (time AT TIME ZONE 'UTC')::date AS day, shadow,
                        count(*) FILTER (WHERE "row" = 0), count(*), count(*) FILTER (WHERE failed),
                        avg(score),
                        percentile_cont({0}::float8[]) WITHIN GROUP (ORDER BY score),
                        percentile_cont({0}::float8[]) WITHIN GROUP (ORDER BY server_time_us::float8)
                            FILTER (WHERE "row" = 0)
                    FROM ({1}) r
                    WHERE (%(version)s::text IS NULL OR version = %(version)s)
                        AND time >= coalesce(%(begin)s, '-infinity'::timestamptz)
                        AND time < coalesce(%(end)s, 'infinity'::timestamptz)
                    GROUP BY model, version, day, shadow ORDER BY model, version, day, shadow
                    """
                ).format(quantiles, rows),
                {"version": selection.version, "begin": selection.begin, "end": selection.end},
            ).fetchall()
        return [DayStatistics(**dict(zip(DayStatistics.__slots__, row, strict=True))) for row in found]

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A connection in a transaction that only reads, of one moment; models' views need no schema.

        Raises:
            QueryError: the database cannot be used, or a statement inside fails.
        """
        try:
            with self._database.connect() as connection, self._database.errors("cannot read"):
                schema.check(connection)
                connection.execute("SELECT set_config('search_path', 'scorewire', false)")
                with connection.transaction():
                    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                    yield connection
        except DatabaseError as error:
            raise QueryError(str(error)) from None


_SUMS = (
    "sampled_out_rows",
    "spooled_rows",
    *(f"{cause}_rows" for cause in CAUSES),
    "stored_rows",
    "set_aside_rows",
)


def _ledger(row: Sequence[Any]) -> StartLedger:
    start, engine, ended, sampled_out, spooled, *rest = row
    dropped, rest = rest[: len(CAUSES)], rest[len(CAUSES) :]
    stored, set_aside, writers, given, spooled_of, dropped_of, expired = rest
    # Rows may be stored before the ledger that counts them.
    seen = max(spooled, stored + set_aside)
    return StartLedger(
        start=start,
        created=_begun(start).isoformat(),
        engine=engine,
        state="stopped" if ended else "open",
        sampled_out=sampled_out,
        dropped=dict(zip(CAUSES, dropped, strict=True)),
        counts=RowCounts(
            seen=seen,
            stored=stored - expired,
            pending=seen - stored - set_aside,
            set_aside=set_aside,
            expired=expired,
        ),
        gaps=tuple(
            Gap(writer=writer, given=taken, dropped=lost, unwritten=taken - kept - lost)
            for writer, taken, kept, lost in zip(writers, given, spooled_of, dropped_of, strict=True)
            if taken != kept
        ),
    )


def _begun(start: UUID) -> dt.datetime:
    """When a start began, by its UUID of version 7."""
    return dt.datetime.fromtimestamp((start.int >> 80) / 1000, dt.UTC)


def _scores(table: str, model: str, outputs: list[Any], score_output: int | None) -> sql.Composable:
    """The rows of a table with their score: the last column of the output that has it."""
    score: sql.Composable = sql.SQL("NULL::double precision")
    if score_output is not None:
        output, width, kind = outputs[score_output]
        if kind != "text":
            column = sql.Identifier("r", identifier(f"output_{output}"))
            at = sql.SQL("" if width == 1 else f"[{width}]")
            score = sql.SQL("CASE WHEN r.error_reason = 0 THEN {}{} END").format(column, at)
    return sql.SQL(
        "SELECT {}::text AS model, s.version, r.time, s.route_kind = 'shadow' AS shadow, r.\"row\","
        " r.error_reason <> 0 AS failed, {} AS score, r.server_time_us"
        " FROM {} r JOIN scorewire.sources s ON s.id = r.source"
    ).format(sql.Literal(model), score, name(table))
