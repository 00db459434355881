"""Writes rows to the terminal: as a table, as CSV, or as lines of JSON."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import IO, Any

import click
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

# A table shows at most so many rows; a terminal is no place for more.
_SHOWN = 200
_BATCH_ROWS = 1024

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to write rows; json has an object on each line.",
)


def write(rows: pa.RecordBatchReader | pa.Table, form: str) -> None:
    """Write rows to the standard output, in the given format."""
    batches = rows.to_batches(_BATCH_ROWS) if isinstance(rows, pa.Table) else rows
    if form == "table":
        _write_table(rows.schema.names, batches)
    elif form == "csv":
        write_csv(rows.schema.names, batches, sys.stdout)
    else:
        write_json(rows.schema.names, batches, sys.stdout)


def write_csv(
    names: list[str], batches: Iterable[pa.RecordBatch], file: IO[str], *, header: bool = True
) -> None:
    """Write rows as CSV; a null is an empty field, and a list is JSON."""
    writer = csv.writer(file, lineterminator="\n")
    if header:
        writer.writerow(names)
    for batch in batches:
        writer.writerows([_field(value) for value in row] for row in _rows(batch))


def write_json(names: list[str], batches: Iterable[pa.RecordBatch], file: IO[str]) -> None:
    """Write rows as lines of JSON. NaN and infinity are null, since JSON has neither."""
    for batch in batches:
        for row in _rows(batch):
            file.write(to_line(dict(zip(names, row, strict=True))))


def to_line(value: Mapping[str, Any]) -> str:
    """An object as a line of JSON."""
    return json.dumps({name: plain(each) for name, each in value.items()}, ensure_ascii=False) + "\n"


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _rows(batch: pa.RecordBatch) -> Iterable[tuple[Any, ...]]:
    columns = [column.to_pylist() for column in batch.columns]
    return zip(*columns, strict=True)


def _field(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return json.dumps(plain(value), ensure_ascii=False)
    if isinstance(value, datetime):
        return plain(value)
    return "" if value is None else value


def _write_table(names: list[str], batches: Iterable[pa.RecordBatch]) -> None:
    table = Table()
    for name in names:
        table.add_column(_cell(name))
    rows = (row for batch in batches for row in _rows(batch))
    more = False
    for number, row in enumerate(rows):
        if number == _SHOWN:
            more = True
            break
        table.add_row(*[_cell(value) for value in row])
    console = Console()
    console.print(table)
    if more:
        click.echo(f"The first {_SHOWN} rows; --format csv or json has all of them.", err=True)


def _cell(value: Any) -> Text:
    """A value as text, which has no style and does nothing to the terminal."""
    return Text(printable(f"{value:.6g}" if isinstance(value, float) else str(_field(value))))


def printable(text: str) -> str:
    """A text without control characters."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
