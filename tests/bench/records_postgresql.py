"""Compares shipping records into PostgreSQL with a bare binary COPY of the same bytes.

Shipping reads segments from the spool, checks them, makes binary COPY of them, keeps the books and moves the
position, as in production, after a first block for which the connection, tables and views were made. The bare
COPY sends the same bytes, which are ready in memory, into the same table in as many transactions. Both run in
turn against one PostgreSQL that this program starts, with fsync off, so that the disk does not hide what
shipping costs. The exit code is 1 if a median of the ratios is below 0.8. Run it as
`python -m tests.bench.records_postgresql`.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from uuid import UUID

import click
import numpy as np
from psycopg import sql

from scorewire_contract.records.rows import RowsBlock
from scorewire_contract.records.source import Output, Source
from scorewire_contract.records.texts import Texts
from scorewire_records.postgresql import store as postgres_store
from scorewire_records.postgresql.catalog import partition_name
from scorewire_records.postgresql.connection import Connection, name
from scorewire_records.postgresql.copying import HEADER, TRAILER, encode_rows
from scorewire_records.postgresql.layout import Layout
from scorewire_records.postgresql.schema import init
from scorewire_records.postgresql.store import PostgresStore
from scorewire_records.shipper import BATCH_BYTES, Shipper
from scorewire_records.start_state import StartStates
from tests.scorewire_records.postgresql.server import PostgresServer, running_server
from tests.scorewire_records.spools import TIME_US, SpoolWriter, source

LEAST = 0.8
# About 1 MiB, as an engine's blocks.
BLOCK_ROWS = 5000
_BLOCKS_OF_SEGMENT = 64


@click.command(help=__doc__)
@click.option(
    "--rows", type=click.IntRange(min=1), default=400_000, show_default=True, help="Rows per round."
)
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--quick", is_flag=True, help="A smoke test: one short round, whose numbers are meaningless.")
def main(rows: int, rounds: int, quick: bool) -> None:
    if quick:
        rows, rounds = 2 * BLOCK_ROWS, 1
    click.echo("| rows of | shipped, rows/s | bare COPY, rows/s | ratio |\n|---|---|---|---|")
    enough = True
    with running_server() as server, tempfile.TemporaryDirectory() as folder:
        for label, kind in sources().items():
            blocks = [random_block(kind, first) for first in range(0, rows, BLOCK_ROWS)]
            # The first round makes files that PostgreSQL uses again in the others.
            figures = [_round(server, Path(folder), kind, blocks) for _ in range(rounds + 1)][1:]
            shipped, copied = (statistics.median(column) for column in zip(*figures, strict=True))
            ratio = statistics.median(one / other for one, other in figures)
            click.echo(f"| {label} | {shipped:,.0f} | {copied:,.0f} | {ratio:.2f} |")
            enough &= ratio >= LEAST
    sys.exit(0 if enough or quick else 1)


def sources() -> dict[str, Source]:
    """Sources of different widths, by what their rows have."""
    probability = (Output(name="probability", width=2, kind="probability", labels=("no", "yes")),)
    few = tuple(f"f{index}" for index in range(20))
    many = tuple(f"f{index}" for index in range(100))
    words = tuple(f"w{index}" for index in range(10))
    return {
        "20 numbers": source(numbers=few, texts=(), features=few, outputs=probability),
        "20 numbers, 10 texts": source(
            numbers=few, texts=words, features=(*few, *words), outputs=probability
        ),
        "100 numbers": source(numbers=many, texts=(), features=many, outputs=probability),
    }


def random_block(kind: Source, first: int, count: int = BLOCK_ROWS) -> RowsBlock:
    """Predictions of one row each, from a sequence number on."""
    random = np.random.default_rng(first)
    sequences = np.arange(first, first + count, dtype=np.uint64)
    return RowsBlock(
        sequences=sequences,
        times_us=np.sort(random.integers(TIME_US, TIME_US + 50_000, count)),
        server_us=random.integers(20, 90, count, np.uint32),
        model_us=random.integers(10, 50, count, np.uint32),
        first_rows=np.zeros(count, np.uint32),
        row_counts=np.ones(count, np.uint32),
        writers=np.zeros(count, np.uint16),
        flags=np.zeros(count, np.uint16),
        original_sequences=sequences[:0],
        original_writers=np.zeros(0, np.uint16),
        callers=Texts.of(["10.0.12.7"] * count),
        principals=Texts.of(["shop"] * count),
        routing_keys=Texts.of(f"customer-{each}" for each in random.integers(0, 1 << 30, count)),
        numbers=random.normal(size=(count, len(kind.numbers))),
        texts=Texts.of(f"value-{each}" for each in random.integers(0, 1000, count * len(kind.texts))),
        error_rows=np.array([], np.uint32),
        error_reasons=np.array([], np.uint16),
        error_features=np.array([], np.uint16),
        outputs=(random.random((count, 2)),),
    )


def _round(
    server: PostgresServer, folder: Path, kind: Source, blocks: list[RowsBlock]
) -> tuple[float, float]:
    """The rows per second of shipping, and of the bare COPY."""
    rows = sum(len(block) for block in blocks)
    with _new_database(server) as database:
        init(server.database(database))
        records = folder / database
        store = PostgresStore(server.database(database))
        shipper = Shipper(records, store, StartStates(records), Event())
        _write_spool(records, kind, [random_block(kind, rows)])
        shipper.ship()
        start = _write_spool(records, kind, blocks)
        began = time.perf_counter()
        while shipper.ship():
            assert not shipper.problems, shipper.problems
        shipped = rows / (time.perf_counter() - began)
        assert store.totals(start).stored == rows
        store.close()
        shutil.rmtree(records)
        with server.connect(database) as connection:
            copied = rows / _copy(connection, start, kind, blocks)
    return shipped, copied


def _write_spool(records: Path, kind: Source, blocks: list[RowsBlock]) -> UUID:
    with SpoolWriter(records) as writer:
        for index, block in enumerate(blocks):
            writer.write_rows(kind, block)
            writer.next_sequence += len(block)
            writer.write_ledger()
            if index % _BLOCKS_OF_SEGMENT == _BLOCKS_OF_SEGMENT - 1:
                writer.close_segment()
        writer.stop()
        return writer.start


def _copy(connection: Connection, start: UUID, kind: Source, blocks: list[RowsBlock]) -> float:
    """The seconds of a bare COPY into the emptied partition."""
    layout = Layout(kind)
    day = postgres_store.days_of(blocks[0].times_us)[0][0]
    partition = name(partition_name(layout.table, day))
    connection.execute(sql.SQL("TRUNCATE {}").format(partition))
    query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        partition, sql.SQL(", ").join(map(sql.Identifier, layout.copied(blocks[0])))
    )
    data = [encode_rows(list(layout.fields(start, kind, 1, block)), len(block)) for block in blocks]
    per_transaction = max(1, BATCH_BYTES // len(blocks[0].encode()))
    began = time.perf_counter()
    for first in range(0, len(data), per_transaction):
        with connection.transaction(), connection.cursor() as cursor, cursor.copy(query) as copy:
            copy.write(HEADER)
            for each in data[first : first + per_transaction]:
                copy.write(each)
            copy.write(TRAILER)
    return time.perf_counter() - began


@contextmanager
def _new_database(server: PostgresServer) -> Iterator[str]:
    database = f"bench_{time.time_ns()}"
    with server.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        yield database
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(database)))


if __name__ == "__main__":
    main()
