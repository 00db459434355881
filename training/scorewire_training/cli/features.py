"""`scorewire train features`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console

from scorewire_training.cli.program_options import explained, program_options
from scorewire_training.cli.progress import Stages, render_event, show_stages
from scorewire_training.cli.result import describe_steps
from scorewire_training.cli.table_options import table_options
from scorewire_training.repurchase.config import StreamSettings, check_horizon
from scorewire_training.tables.settings import TableSettings

if TYPE_CHECKING:
    from scorewire_training.training_result import CleaningStep

_REPURCHASE = "repurchase"
_GAME_REVENUE = "game-revenue"
_OF_REPURCHASE = ("cut", "horizon_days", "date_format", "memory_mb", "threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """What a command has written: its cleaning steps, and the sentences about it for people."""

    rows: int
    steps: Sequence[CleaningStep] = ()
    told: Sequence[str]


@click.command(short_help="New rows for a trained model, from a table as for training.")
@click.option(
    "--model",
    type=click.Choice([_REPURCHASE, _GAME_REVENUE]),
    default=_REPURCHASE,
    show_default=True,
    help="The model that takes the rows.",
)
@click.option(
    "--data",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The table, .csv or .parquet, with the columns as for training; game-revenue needs no revenue. "
    "Without it: the default data of the model.",
)
@click.option(
    "--cut",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="repurchase: features describe the time before this day.  [default: the day after the last line, "
    "to score customers as they are now]",
)
@click.option(
    "--horizon-days",
    type=int,
    default=90,
    show_default=True,
    help="repurchase: days after the cutoff that the label covers, as in training.",
)
@table_options(meanings="one that training with the model takes")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("features.parquet"),
    show_default=True,
    help="The rows, with the id of each customer or user. Its folder needs several times the data's size as "
    "free space.",
)
@click.option(
    "--memory-mb",
    type=int,
    default=2_048,
    show_default=True,
    help="repurchase: memory of DuckDB, which spills to disk beyond it.",
)
@click.option("--threads", type=int, default=2, show_default=True, help="repurchase: threads of DuckDB.")
@program_options
def features(
    *,
    model: str,
    data: Path | None,
    cut: datetime | None,
    output: Path,
    as_json: bool,
    check: bool,
    **options: Any,
) -> None:
    """Build new rows for a trained model, which `scorewire predict` scores.

    repurchase: the features of every customer at a cutoff, from a table that need
    not fit in memory. game-revenue: the rows of all users, in the order of the table.
    The table is read by the same rules as in training.

    \b
    Examples:
      scorewire train features --data shop.csv
      scorewire train features --data ventas.csv --cut 2011-12-10 \\
          --column customer=ID_CLIENTE --date-format %d/%m/%Y
      scorewire train features --model game-revenue --data users.csv
      scorewire predict --model repurchase --input features.parquet --output scores.csv
    """  # noqa: D301 - click wants the character \b itself
    context = click.get_current_context()
    for name in _OF_REPURCHASE if model != _REPURCHASE else ():
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name.replace('_', '-')} is not for {model}")
    table = {name: options.pop(name) for name in TableSettings.__dataclass_fields__}
    with explained():
        settings = TableSettings(**table)
        check_horizon(options["horizon_days"])
        options["resources"] = StreamSettings(
            memory_mb=options.pop("memory_mb"), threads=options.pop("threads")
        )
        if check:
            return
        with show_stages(as_json=as_json) as stages:
            if model == _REPURCHASE:
                written = _write_customers(data, output, cut, settings, stages, **options)
            else:
                written = _write_users(data, output, settings, stages)
    if as_json:
        told = {"model": model, "rows": written.rows, "file": str(output)}
        click.echo(render_event("result", {**told, "cleaning": describe_steps(written.steps)}))
        return
    for line in written.told:
        Console().print(line, highlight=False, markup=False, soft_wrap=True)


def _write_customers(
    data: Path | None,
    output: Path,
    cut: datetime | None,
    table: TableSettings,
    stages: Stages,
    *,
    horizon_days: int,
    resources: StreamSettings,
) -> _Written:
    # Imported here, so that --help does not wait for scikit-learn and duckdb.
    import pandas as pd  # noqa: PLC0415

    from scorewire_training.repurchase.streaming import stream_features  # noqa: PLC0415

    streamed = stream_features(
        data,
        output,
        pd.Timestamp(cut) if cut else None,
        horizon_days=horizon_days,
        table=table,
        settings=resources,
        progress=stages,
        on_read=stages.show_notes,
    )
    told = [
        *(f"  {step.rows_taken:,} left out: {step.reason}" for step in streamed.steps if step.rows_taken),
        f"  {streamed.period.subject}: {streamed.period.text}",
        f"{output}: {streamed.customers:,} customers as of {streamed.cutoff.date()}, of {streamed.lines:,} "
        "lines before and after that day; it has the ids of customers",
    ]
    return _Written(rows=streamed.customers, steps=streamed.steps, told=told)


def _write_users(data: Path | None, output: Path, table: TableSettings, stages: Stages) -> _Written:
    from scorewire_training.game_revenue.rows import write_rows  # noqa: PLC0415 - as above

    stages("Reading the users" if data else "Generating users")
    written = write_rows(data, output, table, on_read=stages.show_notes)
    ids = "; it has the ids of users" if written.has_ids else ""
    told = [
        f"  {step.rows_taken:,} that training would leave out: {step.reason}"
        for step in written.steps
        if step.rows_taken
    ]
    return _Written(
        rows=written.count, steps=written.steps, told=[*told, f"{output}: {written.count:,} users{ids}"]
    )
