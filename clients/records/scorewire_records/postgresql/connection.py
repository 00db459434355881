"""Connections to PostgreSQL: their parameters, time limits and errors."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from psycopg import conninfo, sql

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_SCHEMES = ("postgresql://", "postgres://")
_CONNECT_SECONDS = 10
# How long a statement may take in the database; and how much longer we wait for a database that is silent.
STATEMENT_SECONDS = 60
_SILENCE_SECONDS = 15
_LOCK_SECONDS = 20
_DEFAULTS = {
    "connect_timeout": str(_CONNECT_SECONDS),
    "application_name": "scorewire-records",
    # A peer that vanished is noticed also between statements.
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
# Classes of SQLSTATE: wrong data, a broken constraint, a limit of the program.
_REFUSED = ("22", "23", "54")
_MAX_PASSWORD_BYTES = 4096


class DatabaseError(Exception):
    """The database cannot be used; the text has one line, says why, and has no password."""


class RejectedError(DatabaseError):
    """The database refuses these very rows, and would do so again."""


@dataclass(frozen=True, slots=True)
class Database:
    """Where records go, and how to connect.

    Attributes:
        parameters: the parameters of libpq without the password.
        password: the password; None leaves it to `PGPASSWORD` and libpq's password file.
        statement_seconds: how long a statement may take.
    """

    parameters: dict[str, str]
    password: str | None = field(default=None, repr=False)
    statement_seconds: float = STATEMENT_SECONDS

    @classmethod
    def of_url(cls, url: str, password_file: Path | None = None) -> Database:
        """The database of a URL, like postgresql://scorewire@db.example:5432/records?sslmode=verify-full.

        Raises:
            DatabaseError: the URL is no URL of PostgreSQL or has a password, or the file cannot be read.
        """
        if not url.startswith(_SCHEMES):
            raise DatabaseError("the database is given as a URL: postgresql://USER@HOST:PORT/DATABASE")
        try:
            parameters = {key: str(value) for key, value in conninfo.conninfo_to_dict(url).items()}
        except psycopg.Error:
            # The error's text may have a part of the URL, and so of a password.
            raise DatabaseError(
                "the URL of the database is not valid: it has the form postgresql://USER@HOST:PORT/DATABASE?KEY=VALUE"
                " with libpq's parameters as keys, and special characters percent-encoded"
            ) from None
        if "password" in parameters or "sslpassword" in parameters:
            raise DatabaseError(
                "the URL of the database has a password, which other users of this machine may see: take it"
                " out, change it, and give it in a file (--password-file), in PGPASSWORD or in ~/.pgpass"
            )
        return cls(_DEFAULTS | parameters, None if password_file is None else _read_password(password_file))

    @property
    def shown(self) -> str:
        """The database for people: host, port and name."""
        known = self.parameters
        host = known.get("host") or known.get("hostaddr") or os.environ.get("PGHOST") or "localhost"
        port = known.get("port") or os.environ.get("PGPORT") or "5432"
        name = known.get("dbname") or os.environ.get("PGDATABASE") or known.get("user") or ""
        return f"postgresql://{host}:{port}/{name}"

    def connect(self) -> Connection:
        """A new connection in autocommit mode, with limits of time.

        Raises:
            DatabaseError: no connection could be made.
        """
        with self.errors("cannot connect to"):
            password = {} if self.password is None else {"password": self.password}
            connection = psycopg.connect(**self.parameters, **password, autocommit=True)  # type: ignore[arg-type]
            try:
                connection.prepare_threshold = None  # poolers of connections may not keep prepared statements
                with self.limit(connection):
                    connection.execute(
                        "SELECT set_config('statement_timeout', %s, false),"
                        " set_config('lock_timeout', %s, false),"
                        " set_config('idle_in_transaction_session_timeout', %s, false),"
                        " set_config('timezone', 'UTC', false), set_config('client_encoding', 'UTF8', false),"
                        " set_config('search_path', 'pg_catalog', false)",
                        [
                            f"{self.statement_seconds}s",
                            f"{min(_LOCK_SECONDS, self.statement_seconds)}s",
                            f"{2 * self.statement_seconds}s",
                        ],
                    )
            except BaseException:
                connection.close()
                raise
            return connection

    @contextmanager
    def limit(self, connection: Connection) -> Iterator[None]:
        """Shut the connection's socket down if the statements inside take too long.

        `statement_timeout` alone does not help with a database that is stopped: it would have to run to
        heed it.

        Raises:
            psycopg.OperationalError: it took longer; from the statement that runs.
        """
        handle = socket.socket(fileno=os.dup(connection.fileno()))
        timer = threading.Timer(self.statement_seconds + _SILENCE_SECONDS, _shut_down, [handle])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            handle.close()

    @contextmanager
    def errors(self, action: str) -> Iterator[None]:
        """Turn errors of psycopg into `DatabaseError` with a text like "cannot connect to ...: reason"."""
        try:
            yield
        except psycopg.Error as error:
            kind = RejectedError if (error.sqlstate or "")[:2] in _REFUSED else DatabaseError
            raise kind(f"{action} {self.shown}: {self._reason(error)}") from None

    def _reason(self, error: psycopg.Error) -> str:
        text = error.diag.message_primary or str(error)
        secrets = [self.password, os.environ.get("PGPASSWORD")]
        for secret in filter(None, secrets):
            text = text.replace(secret, "***")
        return " ".join(text.split()) or type(error).__name__


def name(identifier: str) -> sql.Identifier:
    """A name in the schema of records, quoted."""
    return sql.Identifier("scorewire", identifier)


def _shut_down(handle: socket.socket) -> None:
    with suppress(OSError):  # it was closed already
        handle.shutdown(socket.SHUT_RDWR)


def _read_password(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_PASSWORD_BYTES + 1)
    except OSError as error:
        raise DatabaseError(f"cannot read the file with the password, {path}: {error.strerror}") from None
    lines = text.splitlines()
    try:
        password = lines[0].decode() if len(lines) == 1 and len(text) <= _MAX_PASSWORD_BYTES else ""
    except UnicodeDecodeError:
        password = ""
    if not password or "\0" in password:
        raise DatabaseError(f"the file with the password, {path}, must have one line of text: the password")
    return password
