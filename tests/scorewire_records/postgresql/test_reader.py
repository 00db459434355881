from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from scorewire_contract.records.identity import PredictionId, new_start
from scorewire_contract.records.source import Output
from scorewire_records.cli import records as command
from scorewire_records.database import QueryError, TimeLimit, TimeLimitError
from scorewire_records.folder_reader import FolderReader
from scorewire_records.postgresql.connection import Database
from scorewire_records.postgresql.reader import PostgresReader
from scorewire_records.postgresql.rows import latest
from scorewire_records.postgresql.store import PostgresStore
from scorewire_records.reader import Reader
from scorewire_records.selection import Selection
from scorewire_records.shipper import Shipper
from scorewire_records.start_state import StartStates
from tests.scorewire_records.spools import DAY_US, TIME_US, SpoolWriter, rows_of, source


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    with SpoolWriter(tmp_path) as writer:
        yield writer


def _ship(records: Path, database: Database) -> None:
    store = PostgresStore(database)
    Shipper(records, store, StartStates(records), Event()).ship()
    store.close()


def _query(database: Database, sql: str) -> pa.Table:
    with PostgresReader(database).query(sql) as rows:
        return rows.read_all()


def _run(database: Database, *arguments: str) -> tuple[int, str]:
    known = database.parameters
    url = f"postgresql://{known['user']}@{known['host']}:{known['port']}/{known['dbname']}"
    result = CliRunner().invoke(command, [arguments[0], "--from", url, *arguments[1:]])
    return result.exit_code, result.output


def test_statistics_are_those_of_files(writer: SpoolWriter, tmp_path: Path, database: Database) -> None:
    plain, shadow = source(), source(2, kind="shadow", version="1.1.0")
    words = source(3, model="words", outputs=(Output(name="word", width=1, kind="text"),))
    hashed = source(4, numbers=("age",), texts=("country", "income"), hashed=("income",))
    for kind, day in ((plain, 0), (plain, 1), (shadow, 1), (words, 1), (hashed, 1)):
        rows = rows_of(kind, writer.next_sequence, 50, per_call=2, time_us=TIME_US + day * DAY_US)
        errors = {
            "error_rows": np.array([3, 7], np.uint32),
            "error_reasons": np.array([2, 2], np.uint16),
            "error_features": np.array([0, 0], np.uint16),
        }
        writer.next_sequence += 50
        writer.write_rows(kind, replace(rows, **errors))
        writer.write_ledger()
    selections = [
        Selection(),
        Selection(model="churn", version="1.0.0"),
        Selection(begin=dt.datetime(2096, 12, 1, tzinfo=dt.UTC)),
        Selection(end=dt.datetime(2096, 12, 1, tzinfo=dt.UTC)),
        Selection(model="missing"),
    ]
    expected = [FolderReader(tmp_path).statistics(each) for each in selections]
    _ship(tmp_path, database)
    found = [PostgresReader(database).statistics(each) for each in selections]
    assert found == expected
    assert [len(each) for each in found] == [4, 2, 3, 1, 0]


def test_the_latest_records_are_those_of_files(
    writer: SpoolWriter, tmp_path: Path, database: Database
) -> None:
    words = source(3, model="words", outputs=(Output(name="word", width=1, kind="text"),))
    now = time.time_ns() // 1000
    for day in range(5):
        writer.write(source(), 3, per_call=2, time_us=TIME_US + day * DAY_US)
        writer.write(words, 1, time_us=TIME_US + day * DAY_US + 10)
    writer.write(source(2, kind="shadow", version="1.1.0"), 2, time_us=now)
    begin = dt.datetime.fromtimestamp((TIME_US + 2 * DAY_US) / 1e6, dt.UTC)
    asked = [
        (1, Selection()),
        (9, Selection()),
        (1000, Selection()),
        (4, Selection(model="words")),
        (100, Selection(model="churn", version="1.0.0", begin=begin)),
        (3, Selection(end=begin)),
        (5, Selection(model="missing")),
    ]
    expected = [_latest(FolderReader(tmp_path), *each) for each in asked]
    _ship(tmp_path, database)
    assert [_latest(PostgresReader(database), *each) for each in asked] == expected
    assert [len(each) for each in expected] == [1, 9, 37, 4, 18, 3, 0]


def _latest(reader: Reader, count: int, selection: Selection) -> list[dict[str, object]]:
    return [table.to_pylist()[0] for table in reader.latest(count, selection)]


def test_one_prediction_is_found_as_in_files(writer: SpoolWriter, tmp_path: Path, database: Database) -> None:
    writer.write(source(), 3, per_call=4)
    writer.write(source(2, model="ltv"), 2, per_call=2)
    ids = [PredictionId(writer.start, 0, number) for number in (1, 4, 5)]
    ids.append(PredictionId(new_start(), 0, 1))
    expected = [FolderReader(tmp_path).find(each, 3) for each in ids]
    _ship(tmp_path, database)
    found = [PostgresReader(database).find(each, 3) for each in ids]
    assert [[row.to_pylist() for row in each] for each in found] == [
        [row.to_pylist() for row in each] for each in expected
    ]
    assert [len(each) for each in found] == [3, 2, 0, 0]


def test_a_statement_that_takes_too_long_is_stopped(database: Database) -> None:
    with (
        pytest.raises(QueryError, match="timeout"),
        PostgresReader(database, seconds=0.5).query("SELECT pg_sleep(60)") as rows,
    ):
        rows.read_all()


def test_records_that_cannot_be_read_in_time_are_told(
    writer: SpoolWriter, tmp_path: Path, database: Database
) -> None:
    writer.write(source(), 3)
    _ship(tmp_path, database)
    reader = PostgresReader(database, seconds=0.5)
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE scorewire.partitions, scorewire.stored IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TimeLimitError, match=r"longer than 0\.5 seconds"):
            reader.latest(5, Selection())
        with pytest.raises(TimeLimitError):
            reader.find(PredictionId(writer.start, 0, 1), 5)
    with database.connect() as connection, pytest.raises(TimeLimitError):
        latest(connection, 5, Selection(), TimeLimit(0.0))


def test_a_query_has_the_types_of_its_columns(
    writer: SpoolWriter, tmp_path: Path, database: Database
) -> None:
    writer.write(source(), 2500)
    _ship(tmp_path, database)
    table = _query(database, "SELECT * FROM churn ORDER BY sequence;")
    assert table.num_rows == 2500
    types = {field.name: str(field.type) for field in table.schema}
    assert types["time"] == "timestamp[us, tz=UTC]"
    assert types["row"] == "int32"
    assert types["feature_age"] == "double"
    assert types["output_probability"] == "list<item: double>"
    assert table["writer"][0].as_py() == str(writer.start)
    values = _query(
        database,
        "SELECT 0.5::numeric, 'x'::name, ARRAY[1.5, NULL], date '2096-11-29', '%s {}', NULL, true,"
        """ '{"a": [1]}'::jsonb, interval '1 day', ARRAY['12345678-1234-1234-1234-123456789abc'::uuid]""",
    )
    assert [column[0].as_py() for column in values.columns] == [
        *(0.5, "x", [1.5, None], dt.date(2096, 11, 29), "%s {}", None, True),
        *('{"a": [1]}', "1 day, 0:00:00", '["12345678-1234-1234-1234-123456789abc"]'),
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "DROP SCHEMA scorewire CASCADE",
        "SELECT 1; COMMIT; DROP SCHEMA scorewire CASCADE",
        "SELECT 1; DELETE FROM scorewire.format",
        "WITH d AS (DELETE FROM scorewire.format RETURNING 1) SELECT * FROM d",
        "SELECT 1 INTO scorewire.made",
        "COPY scorewire.format TO STDOUT",
        "SELECT nextval('scorewire.tables_number_seq')",
        "",
        "SELECT",
        "SELECT missing",
        "SELECT 1 / 0",
    ],
)
def test_other_statements_than_a_select_are_refused(database: Database, sql: str) -> None:
    if sql == "SELECT":
        assert _query(database, sql).num_columns == 0
    else:
        with pytest.raises(QueryError):
            _query(database, sql)
    assert _query(database, "SELECT number FROM format").to_pylist() == [{"number": 1}]


def test_the_ledger_is_as_far_as_it_is_stored(
    writer: SpoolWriter, tmp_path: Path, database: Database
) -> None:
    writer.write(source(), 10, per_call=2)
    writer.write_ledger(dropped=3)
    _ship(tmp_path, database)
    report = PostgresReader(database).report(None)
    (ledger,) = report.ledgers
    assert (ledger.start, ledger.engine, ledger.state) == (writer.start, "native", "open")
    assert (ledger.offered, ledger.dropped["ring_full"], ledger.counts.stored) == (23, 3, 20)
    assert [(gap.given, gap.dropped, gap.unwritten) for gap in ledger.gaps] == [(13, 3, 0)]
    assert report.problems == [f"start {writer.start}: 3 rows were dropped (ring_full)"]
    assert PostgresReader(database).report(dt.datetime(2300, 1, 1, tzinfo=dt.UTC)).ledgers == []


def test_commands_read_a_database(writer: SpoolWriter, tmp_path: Path, database: Database) -> None:
    code, output = _run(database, "status")
    assert code == 0
    assert "spooled 0 = stored 0" in output
    writer.write(source(), 10)
    writer.stop()
    _ship(tmp_path, database)
    code, output = _run(database, "status")
    assert code == 0, output
    assert "stopped" in output
    assert "spooled 10 = stored 10 + pending 0 + set aside 0 + expired 0" in output
    assert f"as far as {database.shown} has it" in output
    code, output = _run(database, "stats", "--json")
    assert (code, json.loads(output)[0]["rows"]) == (0, 10)
    code, output = _run(
        database, "query", "--format", "json", "SELECT sequence FROM churn ORDER BY 1 LIMIT 1"
    )
    assert (code, output) == (0, '{"sequence": 0}\n')
    code, output = _run(database, "query", "SELEC")
    assert code == 1
    assert output.startswith("Error: a query is one SELECT in PostgreSQL's SQL: syntax error")
    code, output = _run(database, "status", "--records", str(tmp_path))
    assert (code, "give --records for a folder, or --from for a database" in output) == (2, True)


def test_a_database_that_is_down_is_told() -> None:
    result = CliRunner().invoke(command, ["stats", "--from", "postgresql://me@127.0.0.1:1/records"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: cannot connect to postgresql://127.0.0.1:1/records: ")


def test_a_database_without_the_schema_says_what_to_do(empty_database: Database) -> None:
    code, output = _run(empty_database, "status")
    assert code == 1
    assert "run `scorewire records init --to URL`" in output
