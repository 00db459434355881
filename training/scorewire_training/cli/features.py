"""`scorewire train features`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from scorewire_training.errors import TrainingError


@click.command()
@click.option(
    "--data",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Transactions, .parquet: customer, time and amount, or the columns of UCI's Online Retail.",
)
@click.option(
    "--cut",
    type=click.DateTime(["%Y-%m-%d"]),
    required=True,
    help="Features describe the time before this day.",
)
@click.option(
    "--horizon-days",
    type=int,
    default=90,
    show_default=True,
    help="Days after the cutoff that the label covers.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("features.parquet"),
    show_default=True,
    help="The table, one row a customer. Its folder needs several times the data's size as free space.",
)
@click.option(
    "--memory-mb",
    type=int,
    default=2_048,
    show_default=True,
    help="Memory of DuckDB, which spills to disk beyond it.",
)
@click.option("--threads", type=int, default=2, show_default=True, help="Threads of DuckDB.")
def features(
    *, data: Path, cut: datetime, horizon_days: int, output: Path, memory_mb: int, threads: int
) -> None:
    """Build the features of every customer at a cutoff, from a table that need not fit in memory."""
    # Imported here, so that --help does not wait for scikit-learn and duckdb.
    import pandas as pd  # noqa: PLC0415

    from scorewire_training.repurchase.streaming import StreamSettings, stream_features  # noqa: PLC0415

    console = Console()
    try:
        with console.status("Starting") as status:
            streamed = stream_features(
                data,
                output,
                pd.Timestamp(cut),
                horizon_days=horizon_days,
                settings=StreamSettings(memory_mb=memory_mb, threads=threads),
                progress=lambda stage: status.update(escape(stage)),
            )
    except TrainingError as error:
        raise click.ClickException(str(error)) from None
    for step in streamed.steps:
        if step.rows_taken:
            console.print(f"  {step.rows_taken:,} left out: {step.reason}", highlight=False, markup=False)
    console.print(
        f"{output}: {streamed.customers:,} customers, of {streamed.lines:,} lines before and after the "
        "cutoff",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
