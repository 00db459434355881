"""`scorewire records stats`: calls, scores, errors and latency by model, version and day."""

from __future__ import annotations

import json
import sys

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from scorewire_records.cli.reading import any_reader
from scorewire_records.cli.selecting import selecting
from scorewire_records.reader import Reader
from scorewire_records.selection import Selection
from scorewire_records.statistics import QUANTILES, DayStatistics

_EPILOG = """
\b
Examples:
  All versions of a model, in the last week:
    scorewire records stats --records records/ --model churn --since 7d

\b
  From a database:
    scorewire records stats --from postgresql://reader@db.example/records

\b
  For a program:
    scorewire records stats --records records/ --json

Counts are those of the records: what a policy leaves out is not in them. The score is
the last column of the output that the model calls its score; rows with an error have
none. Latency is the server's time per call, without the network. Predictions of a
version as a shadow have lines of their own.
"""
# The width of a table in a file or a pipe.
_WIDTH = 120


@click.command(epilog=_EPILOG)
@any_reader
@selecting
@click.option("--json", "as_json", is_flag=True, help="Write a JSON list.")
def stats(*, reader: Reader, selection: Selection, as_json: bool) -> None:
    """Show calls, scores, errors and latency by model, version and day."""
    found = reader.statistics(selection)
    if as_json:
        click.echo(json.dumps([each.to_json() for each in found], indent=1))
        return
    if not found:
        click.echo("There are no such records.", err=True)
        return
    names = "/".join(f"p{100 * each:.0f}" for each in QUANTILES)
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1))
    for name in ("model", "version", "day"):
        table.add_column(name, no_wrap=True)
    for name in ("calls", "rows", "errors", "score mean", f"score {names}", f"ms {names}"):
        table.add_column(name, justify="right", overflow="fold")
    for each in found:
        table.add_row(*_cells(each))
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table)


def _cells(found: DayStatistics) -> list[str]:
    return [
        found.model,
        f"{found.version} (shadow)" if found.shadow else found.version,
        found.day.isoformat(),
        *(f"{each:,}" for each in (found.calls, found.rows, found.errors)),
        "" if found.score_mean is None else f"{found.score_mean:.4g}",
        "/".join(f"{each:.3g}" for each in found.score_quantiles or []),
        "/".join(f"{each / 1000:.3g}" for each in found.latency_us_quantiles or []),
    ]
