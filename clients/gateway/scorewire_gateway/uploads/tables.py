"""Opens an upload as a table that was read to its end once: a bad file is an error, never half an answer.

A CSV file is checked in this process. A Parquet file is only read by a process of its
own, which may not take more memory than `MEMORY_BYTES`: what a small file unpacks to,
and what a damaged one does to the library, must not reach the gateway.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

import pyarrow as pa

from scorewire.tables import ArrowChunk, Chunk, FileError, TableReader, check_names, read_csv
from scorewire_gateway.uploads.formats import Format
from scorewire_gateway.uploads.parquet_process import REFUSED
from scorewire_gateway.uploads.receiving import Upload

# Of the process that reads a Parquet file, beyond what it takes for nothing.
MEMORY_BYTES = 512 << 20
SOURCE = "the upload"
_MAX_ERROR = 1000


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most rows and columns of a table, and the rows of one chunk.

    Attributes:
        rows: the most rows.
        columns: the most columns.
        chunk_rows: the most rows of one chunk of Parquet.
    """

    rows: int
    columns: int
    chunk_rows: int


class Opening:
    """Opens a table in a thread; another thread may stop it."""

    def __init__(self, upload: Upload, bounds: Bounds) -> None:
        self._upload = upload
        self._bounds = bounds
        self._stopped = threading.Event()
        self._process: _ParquetProcess | None = None
        self._lock = threading.Lock()

    def open(self) -> TableReader:
        """Check the table, and open it; takes the file of the upload.

        Raises:
            FileError: it is no table, is beyond the bounds, or the opening was stopped.
        """
        if self._upload.format is Format.CSV:
            try:
                return self._open_csv()
            except BaseException:
                self._upload.file.close()
                raise
        with self._lock:
            if self._stopped.is_set():
                self._upload.file.close()
                raise FileError("the opening was stopped")
            self._process = _ParquetProcess(self._upload.file, self._bounds)
        return check_names(_ParquetReader(self._process), SOURCE)

    def stop(self) -> None:
        """Let the opening, and the reading of the table, fail soon."""
        with self._lock:
            self._stopped.set()
            if self._process is not None:
                self._process.kill()

    def _open_csv(self) -> TableReader:
        file = self._upload.file
        # The reader closes its file, and the table is read twice.
        with open(file.fileno(), "rb", closefd=False) as first, read_csv(first, SOURCE) as table:
            check_columns(len(table.names), self._bounds.columns)
            rows = 0
            for chunk in table.chunks(1000):
                rows += chunk.row_count
                if rows > self._bounds.rows:
                    raise FileError(f"{SOURCE} has more than {self._bounds.rows:,} rows; send it in parts")
                if self._stopped.is_set():
                    raise FileError("the opening was stopped")
        file.seek(0)
        return read_csv(file, SOURCE)


def check_columns(found: int, most: int) -> None:
    """Check the number of columns.

    Raises:
        FileError: there are too many.
    """
    if found > most:
        raise FileError(
            f"{SOURCE} has {found:,} columns, more than {most:,}: leave out those that no one needs"
        )


class _ParquetProcess:
    """A process that reads a Parquet file, and writes its rows as a stream of Arrow."""

    def __init__(self, file: IO[bytes], bounds: Bounds) -> None:
        command = [sys.executable, "-I", "-m", "scorewire_gateway.uploads.parquet_process"]
        numbers = bounds.rows, bounds.columns, bounds.chunk_rows, MEMORY_BYTES
        with file:
            self._process = subprocess.Popen(
                [*command, *map(str, numbers)],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # One arena for all threads, since each takes address space.
                env={"MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
            )
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        self.output: IO[bytes] = self._process.stdout

    def failure(self) -> FileError:
        """Why the process ended before its stream did."""
        error = self._process.stderr
        assert error is not None  # noqa: S101 - a pipe
        text = error.read(_MAX_ERROR).decode("utf-8", "replace").strip()
        if self._process.wait() == REFUSED and text:
            return FileError(text)
        return FileError(
            f"{SOURCE} cannot be read as Parquet: it is damaged, or needs more than"
            f" {MEMORY_BYTES >> 20} MiB of memory to be read"
        )

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    def close(self) -> None:
        self.kill()
        self._process.wait()
        self.output.close()
        if self._process.stderr is not None:
            self._process.stderr.close()


class _ParquetReader(TableReader):
    def __init__(self, process: _ParquetProcess) -> None:
        self._process = process
        try:
            self._stream = pa.ipc.open_stream(process.output)
        except (pa.ArrowException, OSError):
            failure = process.failure()
            process.close()
            raise failure from None
        except BaseException:
            process.close()
            raise
        self.names = list(self._stream.schema.names)

    def chunks(self, rows: int) -> Iterator[Chunk]:  # noqa: ARG002 - the process was told
        while True:
            try:
                batch = self._stream.read_next_batch()
            except StopIteration:
                self.share = 1.0
                return
            except (pa.ArrowException, OSError):
                raise self._process.failure() from None
            yield ArrowChunk(batch)

    def arrow_type(self, name: str) -> pa.DataType:
        return self._stream.schema.field(name).type

    def close(self) -> None:
        self._process.close()
