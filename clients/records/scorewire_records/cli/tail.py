"""`scorewire records tail`: the latest records."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from scorewire_records.cli.options import records_option
from scorewire_records.cli.output import plain, printable, write_json
from scorewire_records.cli.reading import errors_for_people, folder_reader
from scorewire_records.cli.selecting import selecting
from scorewire_records.follow import Follower
from scorewire_records.selection import Selection

_POLL_S = 0.2
_EPILOG = """
\b
Examples:
  The last ten rows, and then each one that comes:
    scorewire records tail --records records/ -f

\b
  The last 100 rows of a model, with all columns:
    scorewire records tail --records records/ -n 100 --model churn --json

A line has the time, the model and version, the prediction's id with the row, and its
outputs or its error. A server writes records to the disk every 50 ms.
"""


@click.command(epilog=_EPILOG)
@records_option
@selecting
@click.option(
    "-n", "--lines", type=click.IntRange(0, 1_000_000), default=10, show_default=True, help="How many rows."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with the rows that come, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Write an object with all columns for each row.")
def tail(*, records: Path, selection: Selection, lines: int, follow: bool, as_json: bool) -> None:
    """Show the latest records."""
    show = _show_json if as_json else _show
    with errors_for_people(), folder_reader(records) as reader:
        if not follow:
            for table in reader.latest(lines, selection):
                show(table)
            return
        # Made first, so that nothing that comes meanwhile is left out; what is shown then is not shown again.
        with Follower(records, selection) as follower:
            shown: set[tuple[str, int]] = set()
            for table in reader.latest(lines, selection):
                show(table)
                shown.update(_keys(table))
            with suppress(KeyboardInterrupt):
                while True:
                    for table in follower.new():
                        new = [key not in shown for key in _keys(table)]
                        show(_selected(table.filter(pa.array(new)), selection))
                    shown = set()
                    time.sleep(_POLL_S)


def _keys(table: pa.Table) -> Iterator[tuple[str, int]]:
    return zip(table["prediction_id"].to_pylist(), table["row"].to_pylist(), strict=True)


def _selected(table: pa.Table, selection: Selection) -> pa.Table:
    """The rows of a table that were made in the selected time."""
    if selection.begin is not None:
        table = table.filter(pc.field("time") >= selection.begin)
    if selection.end is not None:
        table = table.filter(pc.field("time") < selection.end)
    return table


def _show_json(table: pa.Table) -> None:
    write_json(table.schema.names, table.to_batches(), sys.stdout)
    sys.stdout.flush()


def _show(table: pa.Table) -> None:
    for row in table.to_pylist():
        outputs = {
            name.removeprefix("output_"): each for name, each in row.items() if name.startswith("output_")
        }
        if row["error_reason"]:
            result = f"{row['error_reason']} of {row['error_feature']}"
        else:
            result = " ".join(f"{name}={_value(each)}" for name, each in outputs.items() if each is not None)
        shadow = f" (shadow of {row['shadow_of'] or 'no record'})" if row["route_kind"] == "shadow" else ""
        who = f"{row['model']} {row['version']}{shadow} {row['prediction_id']}[{row['row']}]"
        click.echo(printable(f"{plain(row['time'])} {who} {result}"))


def _value(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
