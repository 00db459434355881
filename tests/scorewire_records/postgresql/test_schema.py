from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from scorewire_contract.records.identity import new_start
from scorewire_records.cli import records
from scorewire_records.postgresql import schema
from scorewire_records.postgresql.connection import Database, DatabaseError
from scorewire_records.postgresql.schema import init
from scorewire_records.postgresql.store import PostgresStore
from scorewire_records.store import SourceRows
from tests.scorewire_records.postgresql.server import PostgresServer
from tests.scorewire_records.spools import SpoolWriter, rows_of, source


def _url(database: Database) -> str:
    known = database.parameters
    return f"postgresql://{known['user']}@{known['host']}:{known['port']}/{known['dbname']}"


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(records, arguments)
    return result.exit_code, result.output


def test_init_says_what_it_made_and_may_run_again(empty_database: Database) -> None:
    code, output = _run("init", "--to", _url(empty_database))
    assert code == 0
    assert output.startswith("made schema scorewire\nmade table format\n")
    assert "made view gaps" in output
    code, output = _run("init", "--to", _url(empty_database))
    assert (code, output) == (0, f"{empty_database.shown} is ready for records: nothing was missing\n")


def test_init_makes_what_is_missing(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("DROP VIEW scorewire.gaps")
    assert init(database) == ["view gaps"]


def test_init_keeps_records(database: Database) -> None:
    store, start, kind = PostgresStore(database), new_start(), source()
    store.position(start)
    store.store(start, 0, [SourceRows(0, kind, rows_of(kind, 0, 3))])
    assert init(database) == []
    assert store.totals(start).stored == 3
    store.close()


def test_a_newer_format_is_left_alone(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("UPDATE scorewire.format SET number = 2")
    with pytest.raises(DatabaseError, match="format 2, and this program knows format 1"):
        init(database)
    store = PostgresStore(database)
    with pytest.raises(Exception, match="format 2"):
        store.position(new_start())


def test_an_old_release_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_MIN_VERSION", 990_000)
    with pytest.raises(DatabaseError, match="records need 99 or newer"):
        init(database)


def test_a_database_that_is_down_is_told() -> None:
    code, output = _run("init", "--to", "postgresql://me@127.0.0.1:1/records")
    assert code == 1
    assert "Error: cannot connect to postgresql://127.0.0.1:1/records" in output


def test_least_rights_of_the_shipper(server: PostgresServer, database: Database, tmp_path: Path) -> None:
    name = database.parameters["dbname"]
    with server.connect(name) as connection:
        for role in ("shipper", "reader"):
            connection.execute(psycopg.sql.SQL("CREATE ROLE {} LOGIN").format(psycopg.sql.Identifier(role)))
        help_text = _run("init", "--help")[1]
        granted = [
            line.strip() for line in help_text.splitlines() if line.strip().startswith(("GRANT", "ALTER"))
        ]
        assert len(granted) == 5
        for line in granted:
            connection.execute(line)
    with SpoolWriter(tmp_path) as writer:
        writer.write(source(retention_days=1), 5, time_us=0)
        writer.write(source(2, retention_days=1), 5)
        writer.stop()
    url = server.url(name, user="shipper")
    code, output = _run("ship", "--once", "--records", str(tmp_path), "--to", url)
    assert (code, output) == (0, "")
    with server.database(name, user="reader").connect() as connection:
        assert connection.execute("SELECT count(*) FROM scorewire.churn").fetchone() == (5,)
        assert connection.execute("SELECT expired, stored FROM scorewire.ledger").fetchone() == (5, 5)
        connection.execute("SELECT * FROM scorewire.gaps")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM scorewire.starts")


def test_a_role_without_rights_is_told(server: PostgresServer, empty_database: Database) -> None:
    name = empty_database.parameters["dbname"]
    with server.connect() as connection:
        connection.execute("CREATE ROLE nobody_special LOGIN")
    with pytest.raises(DatabaseError, match="permission denied for database"):
        init(server.database(name, user="nobody_special"))
