"""`scorewire.scores`: the rows of all models with their scores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from scorewire_contract.records.identity import new_start
from scorewire_contract.records.source import Output, Source
from scorewire_records.postgresql.connection import Database
from scorewire_records.postgresql.store import PostgresStore
from scorewire_records.store import SourceRows
from tests.scorewire_records.spools import DAY_US, TIME_US, rows_of, source

_TIME = datetime.fromtimestamp(TIME_US / 1e6, UTC)


def _store(database: Database, *blocks: tuple[Source, int]) -> None:
    """Store three rows of each source, so many days after the first."""
    store, start = PostgresStore(database), new_start()
    store.position(start)
    rows = [
        SourceRows(number, kind, rows_of(kind, 3 * number, 3, time_us=TIME_US + days * DAY_US))
        for number, (kind, days) in enumerate(blocks)
    ]
    store.store(start, 0, rows)
    store.close()


def _scores(database: Database, since: datetime, until: datetime) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        return connection.execute(
            "SELECT model, version, route_kind, share, has_error, score FROM scorewire.scores(%s, %s)"
            " ORDER BY model, score, version",
            [since, until],
        ).fetchall()


def test_the_score_is_the_last_column_of_its_output(database: Database) -> None:
    value = (Output(name="value", width=1, kind="number"),)
    _store(database, (source(), 0), (source(model="offers-2", kind="shadow", outputs=value, share=0.5), 0))
    assert _scores(database, _TIME, _TIME + timedelta(days=1)) == [
        *[("churn", "1.0.0", "default", 1.0, False, number / (1 << 20)) for number in (0, 1, 2)],
        *[("offers-2", "1.0.0", "shadow", 0.5, False, number / (1 << 20)) for number in (3, 4, 5)],
    ]


def test_only_the_time_that_is_asked_for_is_read(database: Database) -> None:
    _store(database, (source(), 0), (source(version="2.0.0"), 2))
    day = timedelta(days=1)
    assert [row[1] for row in _scores(database, _TIME + day, _TIME + 3 * day)] == ["2.0.0"] * 3
    assert _scores(database, _TIME - day, _TIME) == []


def test_a_name_that_was_cut_is_found(database: Database) -> None:
    outputs = (Output(name="p" * 80, width=1, kind="number"),)
    _store(database, (source(outputs=outputs), 0))
    assert [row[5] for row in _scores(database, _TIME, _TIME + timedelta(days=1))] == [
        number / (1 << 20) for number in (0, 1, 2)
    ]


def test_a_text_is_no_score(database: Database) -> None:
    outputs = (Output(name="class", width=1, kind="text"),)
    _store(database, (source(outputs=outputs), 0))
    assert [row[5] for row in _scores(database, _TIME, _TIME + timedelta(days=1))] == [None] * 3


def test_a_database_without_rows_has_no_scores(database: Database) -> None:
    assert _scores(database, _TIME, _TIME + timedelta(days=1)) == []
