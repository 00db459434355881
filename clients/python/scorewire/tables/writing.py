"""Writes CSV and Parquet in chunks of rows."""

from __future__ import annotations

import csv
import io
import math
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from scorewire.tables.reading import Chunk, FileError, TableReader

if TYPE_CHECKING:
    import pyarrow as pa

# A row group of a Parquet file that is written has this many rows, or bytes in memory.
_ROW_GROUP_ROWS = 65_536
_ROW_GROUP_BYTES = 32 * 1024 * 1024


class TableWriter(ABC):
    """Writes a table to a file; every chunk has the same columns in the same order."""

    @abstractmethod
    def write(self, chunk: Chunk, names: Sequence[str], added: dict[str, list[Any]]) -> None:
        """Append rows: the columns `names` of a chunk, then the columns `added`."""

    @abstractmethod
    def finish(self) -> None:
        """Write rows that are still buffered, and the end of the file."""

    @abstractmethod
    def close(self) -> None:
        """Release the file, whether the table is complete or not."""


class _LineFeeds:
    r"""Replaces the line end \r\n of a csv.writer by \n.

    Before Python 3.13 a csv.writer quotes a value that contains \r only if its own
    line end contains \r. Unquoted, the value would read as the end of the row.
    """

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text

    def write(self, line: str) -> int:
        return self._text.write(line.removesuffix("\r\n") + "\n")


class _CsvWriter(TableWriter):
    def __init__(self, file: IO[bytes] | io.BufferedIOBase, names: Sequence[str]) -> None:
        self._text = io.TextIOWrapper(cast("IO[bytes]", file), encoding="utf-8", newline="")
        self._rows = csv.writer(_LineFeeds(self._text), lineterminator="\r\n")
        self._rows.writerow(names)

    def write(self, chunk: Chunk, names: Sequence[str], added: dict[str, list[Any]]) -> None:
        columns = [*(chunk.values(name) for name in names), *added.values()]
        self._rows.writerows(zip(*map(_without_nan, columns), strict=True))

    def finish(self) -> None:
        self._text.flush()

    def close(self) -> None:
        self._text.detach()


def _without_nan(values: Iterable[Any]) -> list[Any]:
    """The values with None, which a csv.writer leaves empty, for each NaN."""
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]


class _ParquetWriter(TableWriter):
    def __init__(self, file: IO[bytes] | io.BufferedIOBase, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415 - needs an extra of the SDK

        self._schema = schema
        self._writer = pq.ParquetWriter(file, schema)
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0

    def write(self, chunk: Chunk, names: Sequence[str], added: dict[str, list[Any]]) -> None:
        import pyarrow as pa  # noqa: PLC0415 - needs an extra of the SDK

        arrays = [chunk.array(name) for name in names]
        arrays += [pa.array(values, self._schema.field(name).type) for name, values in added.items()]
        batch = pa.record_batch(arrays, schema=self._schema)
        self._pending.append(batch)
        self._pending_rows += chunk.row_count
        self._pending_bytes += batch.nbytes
        if self._pending_rows >= _ROW_GROUP_ROWS or self._pending_bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def finish(self) -> None:
        self._flush()
        self._writer.close()

    def close(self) -> None:
        try:
            self._writer.close()
        finally:
            # Otherwise pyarrow closes the writer again when it is collected, and fails on the closed file.
            self._writer.is_open = False

    def _flush(self) -> None:
        import pyarrow as pa  # noqa: PLC0415 - needs an extra of the SDK

        if self._pending:
            self._writer.write_table(pa.Table.from_batches(self._pending), _ROW_GROUP_ROWS * 2)
        self._pending = []
        self._pending_rows = self._pending_bytes = 0


@contextmanager
def written_table(
    path: Path, source: TableReader, added: Mapping[str, type[float] | type[str]], *, overwrite: bool
) -> Iterator[TableWriter]:
    """Write a table to a temporary file, and move it to `path` if the block ends without an error.

    Args:
        path: the file to write; its suffix chooses the format.
        source: the table whose columns come first.
        added: the columns that come after them: float or str by name.
        overwrite: whether to replace a file that exists.

    Raises:
        FileError: the file exists and `overwrite` is false, or it cannot be written.
    """
    if path.exists() and not overwrite:
        raise FileError(f"{path} is there already: choose another --output, or replace it with --force")
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with scratch.open("xb") as file, closing(_writer(path, file, source, added)) as writer:
            yield writer
            writer.finish()
            file.flush()
            os.fsync(file.fileno())
        if path.exists() and not overwrite:
            raise FileError(f"{path} has appeared meanwhile: choose another --output")
        scratch.replace(path)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        scratch.unlink(missing_ok=True)


def _writer(
    path: Path, file: IO[bytes], source: TableReader, added: Mapping[str, type[float] | type[str]]
) -> TableWriter:
    write = write_parquet if path.suffix.lower() == ".parquet" else write_csv
    return write(file, source, added)


def write_csv(
    file: IO[bytes] | io.BufferedIOBase, source: TableReader, added: Mapping[str, type[float] | type[str]]
) -> TableWriter:
    """Write CSV to an open file, which stays open.

    Args:
        file: the file.
        source: the table whose columns come first.
        added: the columns that come after them: float or str by name.
    """
    return _CsvWriter(file, [*source.names, *added])


def write_parquet(
    file: IO[bytes] | io.BufferedIOBase, source: TableReader, added: Mapping[str, type[float] | type[str]]
) -> TableWriter:
    """Write Parquet to an open file, which need not be seekable and stays open; see `write_csv`."""
    import pyarrow as pa  # noqa: PLC0415 - needs an extra of the SDK

    fields = [pa.field(name, source.arrow_type(name)) for name in source.names]
    fields += [pa.field(name, pa.float64() if kind is float else pa.string()) for name, kind in added.items()]
    return _ParquetWriter(file, pa.schema(fields))
