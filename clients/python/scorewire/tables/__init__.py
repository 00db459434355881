"""Tables of rows in CSV and Parquet: reading, scoring through a server, and writing, in chunks.

`scorewire predict` and the gateway are made of these functions. Parquet needs
pyarrow, which the extra `pandas` installs.
"""

from __future__ import annotations

from scorewire.tables.explaining import ExplainedColumns
from scorewire.tables.reading import (
    SUFFIXES,
    ArrowChunk,
    Chunk,
    FileError,
    TableReader,
    TextChunk,
    check_names,
    open_table,
    read_csv,
    read_parquet,
)
from scorewire.tables.scoring import added_columns, in_thread, score_table, score_table_async
from scorewire.tables.writing import (
    TableWriter,
    write_csv,
    write_parquet,
    written_table,
)

__all__ = [
    "SUFFIXES",
    "ArrowChunk",
    "Chunk",
    "ExplainedColumns",
    "FileError",
    "TableReader",
    "TableWriter",
    "TextChunk",
    "added_columns",
    "check_names",
    "in_thread",
    "open_table",
    "read_csv",
    "read_parquet",
    "score_table",
    "score_table_async",
    "write_csv",
    "write_parquet",
    "written_table",
]
