from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner

from scorewire_contract.records.identity import new_start
from scorewire_contract.records.ledger import Count, WriterLedger
from scorewire_records.cli import records
from scorewire_records.postgresql import retention
from scorewire_records.postgresql.connection import Connection, Database
from scorewire_records.postgresql.store import PostgresStore
from scorewire_records.store import Ledgers, SourceRows, Totals
from tests.scorewire_records.spools import DAY_US, TIME_US, rows_of, source

_LAST_DAY = dt.datetime(2096, 11, 30, 23, 59, tzinfo=dt.UTC)


@pytest.fixture
def store(database: Database) -> Iterator[PostgresStore]:
    store = PostgresStore(database)
    yield store
    store.close()


def _count(database: Database, query: str) -> object:
    with database.connect() as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_whole_days_expire_and_are_counted(store: PostgresStore, database: Database) -> None:
    start, kind = new_start(), source(retention_days=3)
    kept = source(2, model="kept")
    blocks = [
        SourceRows(day, kind, rows_of(kind, 10 * day, 10, per_call=2, time_us=TIME_US - (4 - day) * DAY_US))
        for day in range(5)
    ]
    rows = rows_of(kept, 50, 1, time_us=TIME_US - 1000 * DAY_US)
    ledger = WriterLedger(51, Count(), Count(51, 101))
    store.position(start)
    store.store(start, 0, [*blocks, SourceRows(5, kept, rows), Ledgers(6, (ledger,))])
    assert store.totals(start) == Totals(stored=101)

    assert store.expire(_LAST_DAY) == {start}
    assert store.totals(start) == Totals(stored=101, expired=20)
    assert _count(database, "SELECT count(*) FROM scorewire.churn") == 80
    assert _count(database, "SELECT count(*) FROM scorewire.kept") == 1
    assert _count(database, "SELECT causes FROM scorewire.gaps") == ["expired"]
    assert _count(database, "SELECT expired FROM scorewire.ledger") == 10
    assert store.expire(_LAST_DAY) == set()

    # The time is that of UTC, wherever the program and the database are.
    assert store.expire(dt.datetime(2096, 12, 1, 4, tzinfo=dt.timezone(dt.timedelta(hours=5)))) == set()
    assert store.expire(dt.datetime(2096, 12, 1, 0, tzinfo=dt.UTC)) == {start}
    assert store.totals(start) == Totals(stored=101, expired=40)


def test_late_rows_of_a_day_that_expired(store: PostgresStore, database: Database) -> None:
    start, kind = new_start(), source(retention_days=1)
    store.position(start)
    for number in range(3):
        old = rows_of(kind, number, 1, time_us=TIME_US - 10 * DAY_US)
        store.store(start, 0, [SourceRows(number, kind, old)])
        assert _count(database, "SELECT count(*) FROM scorewire.churn") == 1
        assert store.expire(_LAST_DAY) == {start}
        assert store.totals(start) == Totals(stored=number + 1, expired=number + 1)


def test_the_last_policy_says_how_long_records_are_kept(store: PostgresStore) -> None:
    start = new_start()
    old = rows_of(source(), 0, 1, time_us=TIME_US - 10 * DAY_US)
    store.position(start)
    for number, (days, expires) in enumerate([(None, False), (11, False), (2, True)]):
        store.store(start, 0, [SourceRows(number, source(retention_days=days), old)])
        assert store.expire(_LAST_DAY) == ({start} if expires else set())


def test_a_partition_that_is_read_is_left_for_later(
    store: PostgresStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_LOCK_TIMEOUT", "SET LOCAL lock_timeout = '20ms'")
    start, kind = new_start(), source(retention_days=1)
    store.position(start)
    store.store(start, 0, [SourceRows(0, kind, rows_of(kind, 0, 1, time_us=TIME_US - 10 * DAY_US))])
    with database.connect() as reader, reader.transaction():
        reader.execute("SELECT * FROM scorewire.churn")
        assert store.expire(_LAST_DAY) == set()
    assert store.expire(_LAST_DAY) == {start}


def test_a_backup_of_the_database_does_not_hold_the_shipper_up(
    store: PostgresStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_LOCK_TIMEOUT", "SET LOCAL lock_timeout = '20ms'")
    start = new_start()
    store.position(start)
    models = [f"model{number}" for number in range(8)]
    for number, (model, day) in enumerate(itertools.product(models, (10, 11, 12))):
        kind = source(number, model=model, retention_days=1)
        rows = rows_of(kind, number, 1, time_us=TIME_US - day * DAY_US)
        store.store(start, 0, [SourceRows(number, kind, rows)])
    waits: list[str] = []
    drop = retention._drop

    def counted(connection: Connection, partition: str, *of: Any) -> list[tuple[UUID, int]]:
        waits.append(partition)
        return drop(connection, partition, *of)

    monkeypatch.setattr(retention, "_drop", counted)
    with database.connect() as backup, backup.transaction():
        for model in models:
            backup.execute(f"SELECT * FROM scorewire.{model}")
        assert store.expire(_LAST_DAY) == set()
    assert len(waits) == 5
    assert store.expire(_LAST_DAY) == {start}
    assert store.totals(start) == Totals(stored=24, expired=24)


def test_the_command_drops_what_it_is_told(store: PostgresStore, database: Database) -> None:
    known = database.parameters
    url = f"postgresql://{known['user']}@{known['host']}:{known['port']}/{known['dbname']}"

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(records, ["expire", "--to", url, *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    start = new_start()
    store.position(start)
    for number, kind in enumerate([source(retention_days=5), source(2, model="other")]):
        old = rows_of(kind, 10 * number, 10, time_us=0)
        store.store(start, 0, [SourceRows(number, kind, old)])
    assert run("--model", "other") == "0 rows expired\n"
    assert run() == "dropped churn, 1970-01-01: 10 rows\n10 rows expired\n"
    assert run("--days", "9", "--model", "churn") == "0 rows expired\n"
    assert run("--days", "9") == "dropped other, 1970-01-01: 10 rows\n10 rows expired\n"
    assert store.totals(start) == Totals(stored=20, expired=20)
