"""Reads CSV and Parquet in chunks of rows.

CSV is UTF-8 with a header. All its values are texts. The columns of Parquet keep
their types. A reader holds about one chunk in memory, whatever the size of the
file: a row and a chunk have a bound.
"""

from __future__ import annotations

import csv
import io
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".parquet")
# The longest row of a CSV file, and the longest header. As values, both take some 20 times as much memory.
_MAX_ROW_CHARACTERS = 4 * 1024 * 1024
_MAX_HEADER_CHARACTERS = 1024 * 1024
# A chunk of rows ends early when it has this many characters or, of Parquet, bytes.
_CHUNK_SIZE = 4 * 1024 * 1024
# How much of a column of Parquet is read at once; otherwise a row group's column is read whole.
_COLUMN_BUFFER_BYTES = 64 * 1024


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


class TextChunk(Chunk):
    """Rows of CSV, as lists of texts in the order of the names."""

    def __init__(self, names: Sequence[str], rows: list[list[str]]) -> None:
        self.row_count = len(rows)
        self._columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))

    def values(self, name: str) -> list[Any]:
        """As `Chunk.values`."""
        return self._columns[name]

    def array(self, name: str) -> pa.Array:
        """As `Chunk.array`."""
        import pyarrow as pa  # noqa: PLC0415 - needs an extra of the SDK

        return pa.array(self._columns[name], pa.string())


class ArrowChunk(Chunk):
    """The rows of an Arrow record batch."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.row_count = batch.num_rows
        self.batch = batch

    def values(self, name: str) -> list[Any]:
        """As `Chunk.values`."""
        values: list[Any] = self.batch.column(name).to_pylist()
        return values

    def array(self, name: str) -> pa.Array:
        """As `Chunk.array`."""
        return self.batch.column(name)


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
        """Read the table in chunks of at most `rows` rows, and fewer if the rows are large.

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


class _Lines:
    """The lines of a text, for a csv.reader; a row may have several lines, but has a bound.

    Attributes:
        characters: how many characters were read so far.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._row = "the header"
        self._begin, self._most = 0, _MAX_HEADER_CHARACTERS
        self.characters = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        end = self._begin + self._most
        line = self._text.readline(end - self.characters + 1)
        if not line:
            raise StopIteration
        self.characters += len(line)
        if self.characters > end:
            raise csv.Error(f"{self._row} has more than {self._most:,} characters")
        return line

    def header_ends(self) -> None:
        """Note that what follows are rows."""
        self._row, self._most = "a row", _MAX_ROW_CHARACTERS

    def row_ends(self) -> None:
        """Note that the next line begins a row, or the header if only blank lines came."""
        self._begin = self.characters


class _CsvReader(TableReader):
    def __init__(self, file: IO[bytes], source: str) -> None:
        self._source = source
        self._bytes = file
        self._size = max(os.fstat(file.fileno()).st_size, 1)
        self._text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        self._lines = _Lines(self._text)
        self._reader = csv.reader(self._lines, strict=True)
        try:
            self.names = next(self._rows(), [])
        except FileError:
            self.close()
            raise
        self._lines.header_ends()

    def chunks(self, rows: int) -> Iterator[Chunk]:
        pending: list[list[str]] = []
        full = self._lines.characters + _CHUNK_SIZE
        for row in self._rows():
            if len(row) != len(self.names):
                counts = f"{len(row)} values for {len(self.names)} columns"
                raise FileError(f"{self._source}, line {self._reader.line_num}: {counts}")
            pending.append(row)
            if len(pending) == rows or self._lines.characters >= full:
                self.share = min(self._bytes.tell() / self._size, 1.0)
                yield TextChunk(self.names, pending)
                pending = []
                full = self._lines.characters + _CHUNK_SIZE
        self.share = 1.0
        if pending:
            yield TextChunk(self.names, pending)

    def arrow_type(self, name: str) -> pa.DataType:  # noqa: ARG002 - every column is text
        import pyarrow as pa  # noqa: PLC0415 - needs an extra of the SDK

        return pa.string()

    def close(self) -> None:
        self._text.close()

    def _rows(self) -> Iterator[list[str]]:
        """The rows of the file, without blank lines."""
        try:
            for row in self._reader:
                self._lines.row_ends()
                if row:
                    yield row
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise FileError(
                f"{self._source}, after line {self._reader.line_num}: it is not UTF-8, as its byte"
                f" 0x{byte:02x} shows: save it as UTF-8"
            ) from error
        except csv.Error as error:
            raise FileError(f"{self._source}, after line {self._reader.line_num}: {error}") from error


class _ParquetReader(TableReader):
    def __init__(self, file: Path | IO[bytes], source: str) -> None:
        import pyarrow as pa  # noqa: PLC0415 - needs an extra of the SDK
        import pyarrow.parquet as pq  # noqa: PLC0415 - needs an extra of the SDK

        self._source = source
        self._error = pa.ArrowException
        try:
            self._file = pq.ParquetFile(file, buffer_size=_COLUMN_BUFFER_BYTES, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise FileError(f"{source} is not a Parquet file that can be read: {error}") from error
        self.names = list(self._file.schema_arrow.names)
        self.row_count: int = self._file.metadata.num_rows

    def chunks(self, rows: int) -> Iterator[Chunk]:
        total, read = max(self.row_count, 1), 0
        try:
            for batch in self._file.iter_batches(rows):
                read += batch.num_rows
                self.share = read / total
                step = max(1, min(batch.num_rows, batch.num_rows * _CHUNK_SIZE // max(batch.nbytes, 1)))
                for start in range(0, batch.num_rows, step):
                    yield ArrowChunk(batch.slice(start, step))
        except (self._error, OSError) as error:
            raise FileError(f"{self._source} cannot be read any further: {error}") from error

    def arrow_type(self, name: str) -> pa.DataType:
        return self._file.schema_arrow.field(name).type

    def close(self) -> None:
        self._file.close()


def read_csv(file: IO[bytes], source: str) -> TableReader:
    """Read CSV from an open file, which the reader closes.

    Args:
        file: a file with a descriptor, at its begin.
        source: names the file in error messages.

    Raises:
        FileError: it has no header, or has two columns of the same name.
    """
    return check_names(_CsvReader(file, source), source)


def read_parquet(file: Path | IO[bytes], source: str) -> TableReader:
    """Read Parquet from a path or an open file.

    Args:
        file: the file; it must be seekable.
        source: names the file in error messages.

    Raises:
        FileError: it is not Parquet, has no columns, or has two columns of the same name.
    """
    return check_names(_ParquetReader(file, source), source)


def check_names(reader: TableReader, source: str) -> TableReader:
    """Check the names of a table's columns, and close its reader if they are wrong; returns the reader.

    Raises:
        FileError: there are no names, or a name occurs twice.
    """
    counts = Counter(reader.names)
    twice = [name for name, count in counts.items() if count > 1]
    if not counts or twice:
        reader.close()
        what = f"more than one column {min(twice)!r}" if twice else "no header with the names of its columns"
        raise FileError(f"{source} has {what}")
    return reader


def open_table(path: Path) -> TableReader:
    """Open a file for reading; its suffix tells the format.

    Raises:
        FileError: the file cannot be read, has no header, or has two columns of the same name.
    """
    try:
        if path.suffix.lower() == ".parquet":
            return read_parquet(path, str(path))
        return read_csv(path.open("rb"), str(path))
    except OSError as error:
        raise FileError(f"{path} cannot be opened: {error.strerror}") from error
