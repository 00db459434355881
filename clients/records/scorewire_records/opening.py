"""Where records go: the store for a folder of records, or for the URL of a database."""

from __future__ import annotations

from pathlib import Path

from scorewire_records.parquet_store import ParquetStore
from scorewire_records.start_state import StartStates
from scorewire_records.store import Store


def open_store(records: Path, states: StartStates) -> Store:
    """The store of Parquet files in a folder of records."""
    return ParquetStore(records, states)
