"""Reads and writes CSV and Parquet files in chunks of rows.

A CSV file is UTF-8 with a header. All its values are texts and are written as
they were read. The columns of a Parquet file keep their types.
"""

from __future__ import annotations

import csv
import io
import math
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".parquet")
# The rows of one row group of a Parquet file that is written.
_ROW_GROUP_ROWS = 65_536


class FileError(Exception):
    """A file cannot be read or written; the message tells why."""


class Chunk(ABC):
    """Some rows of a table."""

    row_count: int

    @abstractmethod
    def values(self, name: str) -> list[Any]:
        """A column as Python values; None for null."""

    @abstractmethod
    def array(self, name: str) -> pa.Array:
        """A column as an Arrow array."""


class _TextChunk(Chunk):
    def __init__(self, names: Sequence[str], rows: list[list[str]]) -> None:
        self.row_count = len(rows)
        self._columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))

    def values(self, name: str) -> list[Any]:
        return self._columns[name]

    def array(self, name: str) -> pa.Array:
        import pyarrow as pa  # noqa: PLC0415 - needs an extra of the SDK

        return pa.array(self._columns[name], pa.string())


class _ArrowChunk(Chunk):
    def __init__(self, batch: pa.RecordBatch) -> None:
        self.row_count = batch.num_rows
        self._batch = batch

    def values(self, name: str) -> list[Any]:
        values: list[Any] = self._batch.column(name).to_pylist()
        return values

    def array(self, name: str) -> pa.Array:
        return self._batch.column(name)


class TableReader(ABC):
    """Reads a table from a file.

    Attributes:
        names: the names of the columns.
        share: the approximate share of the file that was read so far, 0 to 1.
    """

    names: list[str]
    share: float = 0.0

    @abstractmethod
    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Read the table in chunks of at most `rows` rows.

        Raises:
            FileError: the rest of the file cannot be read.
        """

    @abstractmethod
    def arrow_type(self, name: str) -> pa.DataType:
        """The Arrow type of a column."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _CsvReader(TableReader):
    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = max(path.stat().st_size, 1)
        self._bytes = path.open("rb")
        self._file = io.TextIOWrapper(self._bytes, encoding="utf-8-sig", newline="")
        self._rows = csv.reader(self._file, strict=True)
        try:
            self.names = next(self._lines(), [])
        except FileError:
            self.close()
            raise

    def chunks(self, rows: int) -> Iterator[Chunk]:
        pending: list[list[str]] = []
        for row in self._lines():
            if len(row) != len(self.names):
                counts = f"{len(row)} values for {len(self.names)} columns"
                raise FileError(f"{self._path}, line {self._rows.line_num}: {counts}")
            pending.append(row)
            if len(pending) == rows:
                self.share = min(self._bytes.tell() / self._size, 1.0)
                yield _TextChunk(self.names, pending)
                pending = []
        self.share = 1.0
        if pending:
            yield _TextChunk(self.names, pending)

    def arrow_type(self, name: str) -> pa.DataType:  # noqa: ARG002 - every column is text
        import pyarrow as pa  # noqa: PLC0415 - needs an extra of the SDK

        return pa.string()

    def close(self) -> None:
        self._file.close()

    def _lines(self) -> Iterator[list[str]]:
        """The rows of the file, without blank lines."""
        try:
            yield from filter(None, self._rows)
        except (csv.Error, UnicodeDecodeError) as error:
            raise FileError(f"{self._path}, after line {self._rows.line_num}: {error}") from error


class _ParquetReader(TableReader):
    def __init__(self, path: Path) -> None:
        import pyarrow as pa  # noqa: PLC0415 - needs an extra of the SDK
        import pyarrow.parquet as pq  # noqa: PLC0415 - needs an extra of the SDK

        self._path = path
        self._error = pa.ArrowException
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise FileError(f"{path} is not a Parquet file that can be read: {error}") from error
        self.names = list(self._file.schema_arrow.names)

    def chunks(self, rows: int) -> Iterator[Chunk]:
        total, read = max(self._file.metadata.num_rows, 1), 0
        try:
            for batch in self._file.iter_batches(rows):
                read += batch.num_rows
                self.share = read / total
                yield _ArrowChunk(batch)
        except (self._error, OSError) as error:
            raise FileError(f"{self._path} cannot be read any further: {error}") from error

    def arrow_type(self, name: str) -> pa.DataType:
        return self._file.schema_arrow.field(name).type

    def close(self) -> None:
        self._file.close()


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


class _Lines:
    r"""Replaces the line end \r\n of a csv.writer by \n.

    Before Python 3.13 a csv.writer quotes a value that contains \r only if its own
    line end contains \r. Unquoted, the value would read as the end of the row.
    """

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text

    def write(self, line: str) -> int:
        return self._text.write(line.removesuffix("\r\n") + "\n")


class _CsvWriter(TableWriter):
    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        self._rows = csv.writer(_Lines(self._text), lineterminator="\r\n")
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
    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415 - needs an extra of the SDK

        self._schema = schema
        self._writer = pq.ParquetWriter(file, schema)
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0

    def write(self, chunk: Chunk, names: Sequence[str], added: dict[str, list[Any]]) -> None:
        import pyarrow as pa  # noqa: PLC0415 - needs an extra of the SDK

        arrays = [chunk.array(name) for name in names]
        arrays += [pa.array(values, self._schema.field(name).type) for name, values in added.items()]
        self._pending.append(pa.record_batch(arrays, schema=self._schema))
        self._pending_rows += chunk.row_count
        if self._pending_rows >= _ROW_GROUP_ROWS:
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
        self._pending, self._pending_rows = [], 0


def open_table(path: Path) -> TableReader:
    """Open a table for reading.

    Raises:
        FileError: the file cannot be read, has no header, or has two columns of the same name.
    """
    try:
        reader = _ParquetReader(path) if path.suffix.lower() == ".parquet" else _CsvReader(path)
    except OSError as error:
        raise FileError(f"{path} cannot be opened: {error.strerror}") from error
    twice = {name for name in reader.names if reader.names.count(name) > 1}
    if not reader.names or twice:
        reader.close()
        what = f"more than one column {min(twice)!r}" if twice else "no header with the names of its columns"
        raise FileError(f"{path} has {what}")
    return reader


@contextmanager
def written_table(
    path: Path, source: TableReader, added: dict[str, type[float] | type[str]], *, overwrite: bool
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
    path: Path, file: IO[bytes], source: TableReader, added: dict[str, type[float] | type[str]]
) -> TableWriter:
    if path.suffix.lower() != ".parquet":
        return _CsvWriter(file, [*source.names, *added])
    import pyarrow as pa  # noqa: PLC0415 - needs an extra of the SDK

    fields = [pa.field(name, source.arrow_type(name)) for name in source.names]
    fields += [pa.field(name, pa.float64() if kind is float else pa.string()) for name, kind in added.items()]
    return _ParquetWriter(file, pa.schema(fields))
