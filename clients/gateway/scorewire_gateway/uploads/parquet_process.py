"""Reads the Parquet file on its standard input, and writes its rows to its standard output, as Arrow.

`python -m scorewire_gateway.uploads.parquet_process ROWS COLUMNS CHUNK_ROWS MEMORY_BYTES`

The first four bounds are those of `tables.Bounds` and the memory that reading may take.
The file is read twice: nothing is written before all of it was read. A file that is
refused ends the process with the exit code `REFUSED` and a line on the standard error.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

from scorewire.tables import ArrowChunk, FileError, read_parquet

REFUSED = 3
_MAX_ROW_BYTES = 16 << 20
_PART_BYTES = 4 << 20
_MAX_ERROR = 1000
_SOURCE = "the upload"


def main(rows: int, columns: int, chunk_rows: int, memory_bytes: int) -> int:
    """Read and write; returns the exit code."""
    # The gateway reads errors after the rows: what the pipe does not hold is lost, and is not waited for.
    os.set_blocking(sys.stderr.fileno(), False)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    _limit_memory(memory_bytes)
    try:
        schema = _check(rows, columns, chunk_rows)
        with pa.ipc.new_stream(sys.stdout.buffer, schema) as stream:
            for batch in _batches(chunk_rows):
                stream.write_batch(batch)
    except (FileError, MemoryError) as error:
        lacks_memory = isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError)
        needs = f"{_SOURCE} needs more than {memory_bytes >> 20} MiB of memory to be read"
        print(needs if lacks_memory else str(error)[:_MAX_ERROR], file=sys.stderr)
        return REFUSED
    except BrokenPipeError:
        # The gateway needs no more of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _limit_memory(memory_bytes: int) -> None:
    taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory_bytes, taken + memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _check(rows: int, columns: int, chunk_rows: int) -> pa.Schema:
    """Read all of the file; returns the schema of the stream.

    Raises:
        FileError: it cannot be read, or is beyond the bounds.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 - within the bound on memory

    try:
        metadata = pq.read_metadata(_file())
    except (pa.ArrowException, OSError) as error:
        raise FileError(f"{_SOURCE} is not a Parquet file that can be read: {error}") from error
    # Those of nested columns count, too.
    if metadata.num_columns > columns:
        raise FileError(
            f"{_SOURCE} has {metadata.num_columns:,} columns, more than {columns:,}: leave out those that no"
            " one needs"
        )
    if metadata.num_rows > rows:
        raise FileError(f"{_SOURCE} has {metadata.num_rows:,} rows, more than {rows:,}; send it in parts")
    found = 0
    for batch in _batches(chunk_rows):
        found += batch.num_rows
        if found > rows:
            raise FileError(f"{_SOURCE} has more than {rows:,} rows; send it in parts")
    with read_parquet(_file(), _SOURCE) as table:
        return pa.schema([pa.field(name, _dense(table.arrow_type(name))) for name in table.names])


def _batches(chunk_rows: int) -> Iterator[pa.RecordBatch]:
    """The rows, without dictionaries: a few bytes with one may stand for many values.

    Raises:
        FileError: the file cannot be read any further, or a row is too large.
    """
    with read_parquet(_file(), _SOURCE) as table:
        for chunk in table.chunks(chunk_rows):
            assert isinstance(chunk, ArrowChunk)  # noqa: S101 - as Parquet is read
            batch = chunk.batch
            dense = [_decoded(each) for each in batch.columns]
            yield from _parts(pa.record_batch(dense, names=batch.schema.names))


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    step = max(1, min(batch.num_rows, batch.num_rows * _PART_BYTES // max(batch.nbytes, 1)))
    for start in range(0, batch.num_rows, step):
        part = batch.slice(start, step)
        if part.nbytes > _MAX_ROW_BYTES:
            raise FileError(f"{_SOURCE} has a row of more than {_MAX_ROW_BYTES >> 20} MiB")
        yield part


def _decoded(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _dense(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _file() -> IO[bytes]:
    """The standard input from its begin; closing it leaves the descriptor open."""
    os.lseek(0, 0, os.SEEK_SET)
    return open(0, "rb", closefd=False)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
