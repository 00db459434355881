"""`scorewire train`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scorewire_training.errors import TrainingError
from scorewire_training.export import ExportError
from scorewire_training.trained_model import Progress, TrainedModel

_F = TypeVar("_F", bound=Callable[..., Any])

_BASELINE = "_baseline"


@click.group()
def train() -> None:
    """Train a model on your data and export it as a bundle."""


def _common_options(command: _F) -> _F:
    for option in (
        click.option("--seed", type=int, default=0, show_default=True, help="Of every draw."),
        click.option("--version", default="1.0.0", show_default=True, help="The bundle's semantic version."),
        click.option(
            "--output",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path("models"),
            show_default=True,
            help="The folder of all models.",
        ),
    ):
        command = option(command)
    return command


def _data_option(text: str) -> Callable[[_F], _F]:
    return click.option("--data", type=click.Path(dir_okay=False, path_type=Path), help=text)


@train.command()
@_data_option(
    "Transactions, .csv or .parquet: customer, time and amount, or the columns of UCI's Online Retail. "
    "Without it: CDNOW, from the package lifetimes."
)
@click.option(
    "--cut",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Features are from before this day, the label from after it. "
    "[default: the last day of the data less the horizon]",
)
@click.option("--horizon-days", type=int, default=90, show_default=True, help="The label looks so far ahead.")
@_common_options
def repurchase(
    *, data: Path | None, cut: datetime | None, horizon_days: int, seed: int, version: str, output: Path
) -> None:
    """Who buys again within the horizon."""
    # Imported here, so that --help does not wait for scikit-learn and xgboost.
    from scorewire_training.repurchase import RepurchaseConfig, train_repurchase  # noqa: PLC0415

    def run(progress: Progress) -> TrainedModel:
        config = RepurchaseConfig(
            data=data,
            cut=cut.date() if cut else None,
            horizon_days=horizon_days,
            seed=seed,
            version=version,
            output_dir=output,
        )
        return train_repurchase(config, progress=progress)

    _run(run, output)


@train.command("game-revenue")
@_data_option(
    "Users, .csv or .parquet: country, country_region, source, platform, device_family, os_version, "
    "event_1, event_2, event_3, revenue. Without it: 20,000 made-up users."
)
@_common_options
def game_revenue(*, data: Path | None, seed: int, version: str, output: Path) -> None:
    """What a game's new user brings in the first week."""
    from scorewire_training.game_revenue import (  # noqa: PLC0415 - as above
        GameRevenueConfig,
        train_game_revenue,
    )

    def run(progress: Progress) -> TrainedModel:
        config = GameRevenueConfig(data=data, seed=seed, version=version, output_dir=output)
        return train_game_revenue(config, progress=progress)

    _run(run, output)


def _run(run: Callable[[Progress], TrainedModel], output: Path) -> None:
    """Train with a status line; then say what came of it."""
    console = Console()
    try:
        with console.status("Starting") as status:
            trained = run(lambda stage: status.update(escape(stage)))
    except (TrainingError, ExportError) as error:
        raise click.ClickException(str(error)) from None
    for note in trained.notes:
        console.print(f"  {note}", highlight=False, markup=False)
    console.print(_tabulate(trained.metrics))
    parity = trained.export.parity
    console.print(
        f"bundle: {trained.export.path} (equal to the fitted model on {parity.rows_compared:,} rows)\n"
        f"next:   scorewire serve --models {output}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _tabulate(metrics: dict[str, float]) -> Table:
    """Each metric beside its baselines: those named <metric>_<rule>_baseline."""
    table = Table("metric", title="On rows held out from training", title_justify="left")
    table.add_column("model", justify="right")
    table.add_column("without a model")
    names = [name for name in metrics if not name.endswith(_BASELINE)]
    rivals: dict[str, list[str]] = {name: [] for name in names}
    for rival in metrics.keys() - rivals.keys():
        # The longest name that fits: mae_ordinary_constant belongs to mae_ordinary, not mae.
        owner = max((name for name in names if rival.startswith(f"{name}_")), key=len, default=None)
        if owner is not None:
            rivals[owner].append(rival)
    for name in names:
        beside = (
            f"{rival.removeprefix(f'{name}_').removesuffix(_BASELINE)} {_format(metrics[rival])}"
            for rival in sorted(rivals[name], key=list(metrics).index)
        )
        table.add_row(name, _format(metrics[name]), ", ".join(beside))
    return table


def _format(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() and abs(value) >= 10 else f"{value:,.4f}"
