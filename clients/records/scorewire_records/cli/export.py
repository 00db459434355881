"""`scorewire records export`: write records to a file."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import click
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress

from scorewire_contract.service import durable
from scorewire_records.cli.options import records_option
from scorewire_records.cli.output import write_csv, write_json
from scorewire_records.cli.reading import errors_for_people, folder_reader
from scorewire_records.cli.selecting import selecting
from scorewire_records.selection import Selection

_EPILOG = """
\b
Examples:
  A model's records of November, to train on:
    scorewire records export --records records/ --model churn \\
        --since 2026-11-01 --until 2026-12-01 november.parquet

\b
  The last hour, as CSV:
    scorewire records export --records records/ --since 1h last-hour.csv

The suffix of FILE chooses the format: .parquet, .csv or .jsonl. A list, such as the
probabilities of each class, is JSON in a CSV file. The file has all columns of the
selected models; it appears when it is whole.
"""
_Batches: TypeAlias = "Iterator[pa.RecordBatch]"
_Writer: TypeAlias = "Callable[[Path, pa.Schema, _Batches], None]"


@click.command(epilog=_EPILOG)
@records_option
@selecting
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export(*, records: Path, selection: Selection, force: bool, file: Path) -> None:
    """Write records to FILE, as Parquet, CSV or lines of JSON."""
    writer = _WRITERS.get(file.suffix.lower())
    if writer is None:
        raise click.UsageError(f"FILE must end in {', '.join(_WRITERS)}; {file.name} does not")
    if file.exists() and not force:
        raise click.ClickException(
            f"{file} is there already: choose another name, or replace it with --force"
        )
    scratch = file.with_name(f".{file.name}.{secrets.token_hex(4)}.tmp")
    with errors_for_people(), folder_reader(records) as reader:
        try:
            with reader.select(selection) as (count, rows):
                writer(scratch, rows.schema, _with_bar(rows, count))
            durable.publish({scratch: file})
        finally:
            scratch.unlink(missing_ok=True)
    click.echo(f"{count:,} rows are in {file}.", err=True)


def _with_bar(rows: pa.RecordBatchReader, count: int) -> _Batches:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Writing", total=count)
        for batch in rows:
            yield batch
            progress.advance(task, len(batch))


def _write_parquet(path: Path, schema: pa.Schema, batches: _Batches) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_csv(path: Path, schema: pa.Schema, batches: _Batches) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        write_csv(schema.names, batches, file)


def _write_json(path: Path, schema: pa.Schema, batches: _Batches) -> None:
    with path.open("w", encoding="utf-8") as file:
        write_json(schema.names, batches, file)


_WRITERS: dict[str, _Writer] = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_json}
