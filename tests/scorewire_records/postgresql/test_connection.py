from __future__ import annotations

import os
import socket
import stat
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from scorewire_records.postgresql.connection import Database, DatabaseError, RejectedError
from tests.scorewire_records.postgresql.server import PostgresServer

_SECRET = "s3cr%t p@ss:word/ä"  # noqa: S105 - of a server that the test starts


@pytest.fixture(scope="module")
def server(server: PostgresServer) -> PostgresServer:
    """A server where the role `clerk` needs a password over loopback."""
    with server.connect() as connection:
        connection.execute(psycopg.sql.SQL("CREATE ROLE clerk LOGIN PASSWORD {}").format(_SECRET))
        rules = server.data / "pg_hba.conf"
        rules.write_text(f"host all clerk 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        connection.execute("SELECT pg_reload_conf()")
    return server


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{_SECRET}\n")
    return path


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{_SECRET}@db/records",
        "postgresql://me:s3cr%25t@db/records",
        "postgresql://me@db/records?password=s3cr%25t",
        "postgresql://me:s3cr@t@db/records",
        "postgresql://db/records?sslpassword=s3cr",
        "postgresql://me:s3cr t@db/records",
        "postgresql://me:s3cr@db/records?wrong=1",
        "postgresql://me:s3cr%zz@db",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_told(url: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        Database.of_url(url)
    assert "s3cr" not in str(caught.value)
    assert "s3cr" not in repr(caught.value.__context__) or caught.value.__suppress_context__


@pytest.mark.parametrize("url", ["", "records", "mysql://db/x", "host=db password=s3cr", "http://db"])
def test_what_is_no_url_of_postgresql_is_refused(url: str) -> None:
    with pytest.raises(DatabaseError, match="postgresql://USER@HOST:PORT/DATABASE") as caught:
        Database.of_url(url)
    assert "s3cr" not in str(caught.value)


def test_parameters_of_tls_pass_through(tmp_path: Path) -> None:
    url = "postgresql://me@db.example:6000/records?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=3"
    database = Database.of_url(url)
    assert database.parameters["sslmode"] == "verify-full"
    assert database.parameters["sslrootcert"] == "/ca.pem"
    assert database.parameters["connect_timeout"] == "3"
    assert database.shown == "postgresql://db.example:6000/records"


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"x" * 5000, b"\xff\xfe\n", b"a\0b\n"])
def test_a_file_that_is_no_password_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match="must have one line of text") as caught:
        Database.of_url("postgresql://db", path)
    assert "two" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="password, .*/missing: No such file"):
        Database.of_url("postgresql://db", tmp_path / "missing")


def test_the_password_comes_from_a_file(server: PostgresServer, password_file: Path) -> None:
    database = Database.of_url(server.url(user="clerk"), password_file)
    assert _SECRET not in repr(database)
    with database.connect() as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("clerk",)


def test_the_password_comes_from_the_environment(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", _SECRET)
    with Database.of_url(server.url(user="clerk")).connect() as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("clerk",)


def test_the_password_comes_from_libpqs_file(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pgpass"
    path.write_text(f"127.0.0.1:{server.port}:*:clerk:{_SECRET.replace(':', chr(92) + ':')}\n")
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    monkeypatch.setenv("PGPASSFILE", str(path))
    with Database.of_url(server.url(user="clerk")).connect() as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("clerk",)


def test_a_wrong_password_is_not_told(server: PostgresServer, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("wr0ng")
    database = Database.of_url(server.url(user="clerk"), path)
    with pytest.raises(DatabaseError, match="password authentication failed") as caught:
        database.connect()
    assert "wr0ng" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_password_in_an_error_is_blotted_out(server: PostgresServer, password_file: Path) -> None:
    database = Database.of_url(server.url(user="clerk"), password_file)
    with (
        database.connect() as connection,
        pytest.raises(DatabaseError, match=r"\*\*\*") as caught,
        database.errors("cannot ask"),
    ):
        connection.execute("SELECT %s::text::integer", [_SECRET])
    assert _SECRET not in str(caught.value)


def test_a_database_that_is_down_is_told(server: PostgresServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://postgres@127.0.0.1:{taken.getsockname()[1]}/records"
        with pytest.raises(
            DatabaseError, match=r"cannot connect to postgresql://127.0.0.1:\d+/records: .*refused"
        ):
            Database.of_url(url).connect()


def test_rows_that_are_refused_have_an_error_of_their_own(server: PostgresServer) -> None:
    database = server.database()
    with database.connect() as connection:
        for query in ("SELECT 1 / 0", "SELECT 'x'::integer", "SELECT repeat('x', 2000000000)"):
            with pytest.raises(RejectedError), database.errors("cannot store in"):
                connection.execute(query)
        with pytest.raises(DatabaseError) as caught, database.errors("cannot store in"):
            connection.execute("SELECT missing")
    assert not isinstance(caught.value, RejectedError)


def test_a_statement_that_takes_too_long_ends(server: PostgresServer) -> None:
    database = Database(server.database().parameters, statement_seconds=0.2)
    with (
        database.connect() as connection,
        pytest.raises(DatabaseError, match="statement timeout"),
        database.errors("cannot ask"),
    ):
        connection.execute("SELECT pg_sleep(100)")


def test_a_database_that_is_silent_is_given_up(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scorewire_records.postgresql.connection._SILENCE_SECONDS", 0)
    patient = server.database()
    database = Database(patient.parameters, statement_seconds=0.2)
    with (
        patient.connect() as connection,
        server.paused(),
        pytest.raises(DatabaseError, match="cannot ask"),
        database.errors("cannot ask"),
        database.limit(connection),
    ):
        connection.execute("SELECT 1")


def test_a_database_without_free_connections_is_told(own_server: PostgresServer) -> None:
    database = own_server.database()
    with ExitStack() as stack:
        with suppress(DatabaseError):
            for _ in range(100):
                stack.enter_context(database.connect())
        with pytest.raises(DatabaseError, match="too many clients"):
            database.connect()


def test_the_environment_is_used_as_libpq_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PGHOST", "db.example")
    monkeypatch.setitem(os.environ, "PGPORT", "6000")
    assert Database.of_url("postgresql:///records").shown == "postgresql://db.example:6000/records"
