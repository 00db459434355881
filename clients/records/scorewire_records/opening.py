"""Where records go: the store for a folder of records, or for the URL of a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scorewire_records.parquet_store import ParquetStore
from scorewire_records.start_state import StartStates
from scorewire_records.store import Store

if TYPE_CHECKING:
    from scorewire_records.postgresql.connection import Database


def open_store(records: Path, states: StartStates, database: Database | None = None) -> Store:
    """The store of a database, or that of Parquet files in a folder of records."""
    if database is None:
        return ParquetStore(records, states)
    # A shipper of files does without the memory of psycopg.
    from scorewire_records.postgresql.store import PostgresStore  # noqa: PLC0415

    return PostgresStore(database)
