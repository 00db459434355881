from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from scorewire_records.postgresql.connection import Database
from scorewire_records.postgresql.schema import init
from tests.scorewire_records.postgresql.server import PostgresServer, binaries, running_server


@pytest.fixture(scope="session")
def _installed() -> None:
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")


@pytest.fixture(scope="module")
def server(_installed: None) -> Iterator[PostgresServer]:
    """A PostgreSQL server for the tests of a module."""
    with running_server() as server:
        yield server


@pytest.fixture
def own_server(_installed: None) -> Iterator[PostgresServer]:
    """A PostgreSQL server for one test, which may do with it as it likes."""
    with running_server() as server:
        yield server


@pytest.fixture
def empty_database(server: PostgresServer) -> Database:
    """A new database without a schema for records."""
    name = f"test_{uuid4().hex}"
    with server.connect() as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.database(name)


@pytest.fixture
def database(empty_database: Database) -> Database:
    """A new database, ready for records."""
    init(empty_database)
    return empty_database
