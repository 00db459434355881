"""`scorewire predict`: score a CSV or Parquet file through a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from scorewire._channels import TLS
from scorewire._cli.connection import connected
from scorewire._cli.explaining import MAX_SHOWN, explained_rows
from scorewire._cli.extras import require_extra
from scorewire._credentials import Token
from scorewire._errors import ScorewireError
from scorewire._explain import Explain
from scorewire.options import explain_options, server_options
from scorewire.tables import (
    SUFFIXES,
    Chunk,
    ExplainedColumns,
    FileError,
    TableReader,
    added_columns,
    open_table,
    score_table,
    written_table,
)

_EXAMPLES = """\b
Examples:
  scorewire predict --model churn --input users.csv --output scores.csv
  scorewire predict --model churn --version 1.2.0 --address scores:8500 \\
      --input users.parquet --output scores.parquet --force

\b
  The 5 columns of each row that move its score most, and how far:
    scorewire predict --model churn --explain 5 --input users.csv --output why.csv"""


@click.command(epilog=_EXAMPLES)
@click.option("--model", required=True, help="Name of the model.")
@click.option("--version", default="", help="Version or alias.  [default: the model's default version]")
@click.option(
    "--input",
    "input_path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table to score: .csv (UTF-8, with a header) or .parquet.",
)
@click.option(
    "--output",
    "output_path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write the table and its scores to: .csv or .parquet.",
)
@click.option("--force", is_flag=True, help="Replace the output file if it exists.")
@click.option(
    "--batch-rows", default=1000, show_default=True, type=click.IntRange(1), help="Rows in one request."
)
@click.option(
    "--ids",
    is_flag=True,
    help="Add the column record_id, by which a server with --records finds the record of each row.",
)
@explain_options(
    help="Add what each column contributes to each score; with K, only the K strongest columns of each row."
)
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds to wait for the response to one request.",
)
@server_options
def predict(
    *,
    model: str,
    version: str,
    address: str,
    input_path: Path,
    output_path: Path,
    force: bool,
    batch_rows: int,
    ids: bool,
    explain: Explain | None,
    timeout: float,
    tls: TLS | None,
    token: Token | None,
) -> None:
    """Score a CSV or Parquet file through a server.

    The output has the columns of the input and, after them, `score`, `label`
    (if the model has classes), the model's outputs, and `error`. A row that
    cannot be scored stays in the output, with its error. Columns that the model
    does not take are not sent. One version scores all rows.

    With --ids, the column `record_id` has the id of each row's record: the
    `prediction_id` of the call, a slash, and the row's index in the call. It is
    empty for a row that the server does not record.

    With --explain, `base` and the contributions of all columns add up to `margin`,
    of which the output is a function (sigmoid or softmax for classes). There is one
    column `contribution_<column>` for each column of the model; with --explain 5,
    instead, `explained_1` and `contribution_1` to `explained_5` and `contribution_5`,
    the strongest first. Of several classes, the predicted one is explained, which
    `margin_label` names. `scorewire models show` tells which outputs can be explained.

    In a CSV file an empty value is missing. For a number, NA, NaN, null and None
    are missing, too.
    """
    require_extra("pandas")
    for option, path in (("--input", input_path), ("--output", output_path)):
        if path.suffix.lower() not in SUFFIXES:
            raise click.UsageError(f"{option} ends in .csv or .parquet, and {path} does not")
    with (
        connected(address, tls=tls, token=token, timeout=timeout) as client,
        _explained(batch_rows),
        open_table(input_path) as source,
    ):
        served = client.model(model, version)
        added = added_columns(source, served, ids=ids)
        explained, shown = None, list[str]()
        if explain is not None:
            explained = ExplainedColumns(served, explain, [*source.names, *added])
        kinds = added | (explained.kinds if explained is not None else {})
        with written_table(output_path, source, kinds, overwrite=force) as writer:
            tally = Counter[str]()
            scored = score_table(client, served, source, batch_rows, list(added), explained=explained)
            for chunk, columns in _with_progress(scored, source):
                if explained is not None and not tally["rows"]:
                    shown = explained_rows(explained, columns)
                writer.write(chunk, source.names, columns)
                tally["rows"] += chunk.row_count
                tally["errors"] += sum(message is not None for message in columns["error"])
    if tally["rows"] <= MAX_SHOWN:
        for text in shown:
            click.echo(text)
    click.echo(
        f"{output_path}: {tally['rows'] - tally['errors']:,} of {tally['rows']:,} rows scored"
        f" by {served.name} {served.version}"
    )
    if tally["errors"]:
        click.echo(f"{tally['errors']:,} rows have no score; the column 'error' says why")


@contextmanager
def _explained(batch_rows: int) -> Iterator[None]:
    """Turn errors of files, and of requests that are too large, into messages for the user.

    Raises:
        ClickException: a file cannot be read or written, or a request was too large.
    """
    try:
        yield
    except FileError as error:
        raise click.ClickException(str(error)) from error
    except ScorewireError as error:
        if error.reason == "TOO_MANY_ROWS" or "larger than max" in str(error):
            hint = f"try a smaller --batch-rows than {batch_rows}"
            raise click.ClickException(f"{error.code.name}: {error}; {hint}") from error
        raise


def _with_progress(
    scored: Iterator[tuple[Chunk, dict[str, list[Any]]]], source: TableReader
) -> Iterator[tuple[Chunk, dict[str, list[Any]]]]:
    """Pass the chunks on, and show the progress on the standard error if it is a terminal."""
    from rich.console import Console  # noqa: PLC0415 - needs an extra of the SDK
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn  # noqa: PLC0415

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("scoring"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[rows]:,} rows"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    rows = 0
    with bar:
        task = bar.add_task("scoring", total=1.0, rows=0)
        for chunk, columns in scored:
            rows += chunk.row_count
            bar.update(task, completed=source.share, rows=rows)
            yield chunk, columns
