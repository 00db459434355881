"""The schema `scorewire` of a database: made by `scorewire records init`, checked by a shipper."""

from __future__ import annotations

from importlib import resources

import psycopg

from scorewire_records.postgresql.connection import Connection, Database, DatabaseError

FORMAT = 1
# PostgreSQL 14 is the first with BRIN indexes on several ranges, which find a prediction.
_MIN_VERSION = 140_000
# Held while tables, partitions and views are made, so that two programs do not make them at once.
LOCK = "SELECT pg_advisory_xact_lock(5003921806541)"


def init(database: Database) -> list[str]:
    """Make the schema, or what is missing of it; returns what was made.

    Raises:
        DatabaseError: the database cannot be reached, is too old or has a newer format, or the role may not.
    """
    script = resources.files(__package__).joinpath("schema.sql").read_text("utf-8")
    with database.connect() as connection, database.limit(connection), database.errors("cannot prepare"):
        _check_version(connection)
        with connection.transaction():
            connection.execute(LOCK)
            before = _objects(connection)
            if "table format" in before:
                _check_format(connection)
            connection.execute("SET LOCAL client_min_messages = warning")
            connection.execute(script)
            return [name for name in _objects(connection) if name not in before]


def check(connection: Connection) -> None:
    """Check that the schema is there, in a format that this program knows.

    Raises:
        DatabaseError: it is not.
    """
    _check_version(connection)
    try:
        _check_format(connection)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        raise DatabaseError(
            "the database has no schema for records: run `scorewire records init --to URL`"
        ) from None


def _check_version(connection: Connection) -> None:
    version = connection.info.server_version
    if version < _MIN_VERSION:
        raise DatabaseError(
            f"the database is PostgreSQL {version // 10_000}: records need {_MIN_VERSION // 10_000} or newer"
        )


def _check_format(connection: Connection) -> None:
    row = connection.execute("SELECT number FROM scorewire.format").fetchone()
    if row is None or row[0] != FORMAT:
        raise DatabaseError(
            f"the schema of records has format {row and row[0]}, and this program knows format {FORMAT}:"
            " install the release of scorewire-records that made it"
        )


def _objects(connection: Connection) -> list[str]:
    """The schema, and the tables, views and functions in it that are not of rows, the earliest first."""
    rows = connection.execute(
        """
        SELECT kind || ' ' || name FROM (
            SELECT oid, 'schema' AS kind, nspname AS name FROM pg_namespace WHERE nspname = 'scorewire'
            UNION ALL
            SELECT oid, CASE relkind WHEN 'v' THEN 'view' ELSE 'table' END, relname FROM pg_class
            WHERE relnamespace = to_regnamespace('scorewire') AND relkind IN ('r', 'v') AND relname !~ '^_'
            UNION ALL
            SELECT oid, 'function', proname FROM pg_proc WHERE pronamespace = to_regnamespace('scorewire')
        ) objects ORDER BY oid
        """
    ).fetchall()
    return [row[0] for row in rows]
