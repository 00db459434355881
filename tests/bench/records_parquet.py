"""Measures how fast the shipper makes Parquet files of records: `python -m tests.bench.records_parquet`.

The shipper is a process of its own, as in production, and ships a spool that is complete when it starts. The
table shows the rows per second, also of processor time; the most resident memory; and the bytes of a row
in the spool. Blocks have about 1 MiB, as under load, or 5 rows, as from 100 calls/s.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from scorewire_contract.records.segments import spool_bytes
from scorewire_contract.records.source import Source
from tests.bench.records_postgresql import BLOCK_ROWS, random_block, sources
from tests.scorewire_records.spools import SpoolWriter

FEW_ROWS = 5
_SEGMENT_BYTES = 62 << 20
# Runs a command and prints its most resident memory and its processor time. A process begins with the memory
# of the one that starts it, so that this one must be small.
_RUN = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss, used.ru_utime + used.ru_stime)
"""


@click.command(help=__doc__)
@click.option(
    "--segments", type=click.IntRange(min=1), default=4, show_default=True, help="Segments of 64 MiB."
)
@click.option("--quick", is_flag=True, help="A smoke test: one small segment, whose numbers are meaningless.")
def main(segments: int, quick: bool) -> None:
    click.echo("| rows of | rows/block | rows/s | rows/s of processor time | resident | spool, bytes/row |")
    click.echo("|---|---|---|---|---|---|")
    for label, kind in sources().items():
        for rows in (BLOCK_ROWS, FEW_ROWS):
            with tempfile.TemporaryDirectory() as folder:
                told = _measure(
                    Path(folder), kind, rows, 1 if quick else segments, 1 if quick else _SEGMENT_BYTES
                )
                click.echo(f"| {label} | {rows:,} | {told} |")


def _measure(records: Path, kind: Source, rows_per_block: int, segments: int, segment_bytes: int) -> str:
    rows = _write_spool(records, kind, rows_per_block, segments, segment_bytes)
    spooled = spool_bytes(records)
    ship = [sys.executable, "-P", "-m", "scorewire_records", "ship", "--once", "--records", str(records)]
    began = time.perf_counter()
    told = subprocess.run(
        [sys.executable, "-c", _RUN, *ship], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    seconds = time.perf_counter() - began
    resident_kib, processor_seconds = map(float, told.split())
    figures = [
        f"{rows / seconds:,.0f}",
        f"{rows / processor_seconds:,.0f}",
        f"{resident_kib / 1024:.0f} MiB",
        f"{spooled / rows:.0f}",
    ]
    return " | ".join(figures)


def _write_spool(records: Path, kind: Source, rows_per_block: int, segments: int, segment_bytes: int) -> int:
    block = random_block(kind, 0, rows_per_block)
    size = len(block.encode())
    with SpoolWriter(records) as writer:
        for _ in range(segments):
            for _ in range(max(1, segment_bytes // size)):
                writer.write_rows(kind, block)
                writer.write_ledger()
            writer.close_segment()
        return writer.rows_before


if __name__ == "__main__":
    main()
