"""`scorewire train`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scorewire_training.cli.features import features
from scorewire_training.cli.program_options import explained, program_options
from scorewire_training.cli.progress import render_event, show_stages
from scorewire_training.cli.result import describe_training
from scorewire_training.cli.table_options import table_options
from scorewire_training.config import DEFAULT_STORE, TrainingConfig
from scorewire_training.config_file import load_config
from scorewire_training.errors import TrainingError
from scorewire_training.game_revenue import GameRevenueConfig
from scorewire_training.repurchase import RepurchaseConfig

if TYPE_CHECKING:
    from scorewire_training.output.publishing import TrainedModel

_F = TypeVar("_F", bound=Callable[..., Any])
_C = TypeVar("_C", bound=TrainingConfig)

_DEFAULTS = TrainingConfig()


@click.group()
def train() -> None:
    """Train a model on your data and export it as a bundle.

    Several kinds of models are tuned in the same way, one is chosen by a fixed rule,
    tested once on held-out rows, and exported as a bundle that is proven equal to
    it. The bundle also has report.html with charts, model_card.md to read, and
    training.toml, the settings that give the same bundle again.
    """


train.add_command(features)


def _common_options(command: _F) -> _F:
    for option in (
        program_options,
        click.option(
            "--mlflow-uri",
            metavar="URI",
            help="As --mlflow, with another store: sqlite:///FILE, a folder, or http://HOST:PORT.",
        ),
        click.option(
            "--mlflow",
            is_flag=True,
            help=f"Write the run to MLflow and register the bundle, in {DEFAULT_STORE}.",
        ),
        click.option(
            "--backend",
            default=_DEFAULTS.backend,
            show_default=True,
            metavar="local|dask[=ADDRESS]",
            help="Where XGBoost is fitted: in this process, on a Dask cluster of this machine, or on the "
            "scheduler at ADDRESS, like tcp://10.0.0.5:8786.",
        ),
        click.option(
            "--trials",
            type=int,
            default=_DEFAULTS.trials,
            show_default=True,
            help="Sets of parameters to try for each candidate.",
        ),
        click.option(
            "--seed", type=int, default=_DEFAULTS.seed, show_default=True, help="Seed of all random numbers."
        ),
        click.option(
            "--version",
            default=_DEFAULTS.version,
            show_default=True,
            help="The semantic version of the new bundle.",
        ),
        click.option(
            "--output",
            "output_dir",
            type=click.Path(file_okay=False, path_type=Path),
            default=_DEFAULTS.output_dir,
            show_default=True,
            help="The folder of all models; the bundle becomes OUTPUT/NAME/VERSION.",
        ),
        click.option(
            "--config",
            "config_file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="A TOML file with any of these settings, like the training.toml of a bundle: seed = 7. "
            "Paths in it are relative to it. Options on the command line override the file.",
        ),
    ):
        command = option(command)
    return command


def _data_option(text: str) -> Callable[[_F], _F]:
    return click.option("--data", type=click.Path(dir_okay=False, path_type=Path), help=text)


def _read_day(_: click.Context, __: click.Parameter, value: datetime | None) -> date | None:
    return value.date() if value else None


@train.command(short_help="Who buys again within the horizon.")
@_data_option(
    "Transactions, .csv or .parquet: customer, time and amount, or the columns of UCI's Online Retail. "
    "Without it: CDNOW, from the package lifetimes."
)
@click.option(
    "--cut",
    type=click.DateTime(["%Y-%m-%d"]),
    callback=_read_day,
    metavar="YYYY-MM-DD",
    help="The cutoff: features describe the time before this day, the label the time from it on. "
    "[default: the last day of the data minus the horizon]",
)
@click.option(
    "--horizon-days",
    type=int,
    default=90,
    show_default=True,
    help="Days after the cutoff that the label covers.",
)
@table_options(meanings="customer, time, amount, unit_price, quantity, product, country or invoice")
@_common_options
@click.pass_context
def repurchase(context: click.Context, /, **_: object) -> None:
    """Who buys again within the horizon.

    \b
    Examples:
      scorewire train repurchase --trials 5
      scorewire train repurchase --data shop.parquet --cut 2011-09-10 --version 1.1.0
      scorewire train repurchase --data ventas.csv --column customer=ID_CLIENTE --column time=FECHA \\
          --column amount=IMPORTE --date-format %d/%m/%Y
      scorewire train repurchase --config models/repurchase/1.1.0/training.toml --output again
      scorewire train repurchase --mlflow --backend dask
    """  # noqa: D301 - click wants the character \b itself
    _run(context, RepurchaseConfig)


@train.command("game-revenue", short_help="What a game's new user brings in the first week.")
@_data_option(
    "Users, .csv or .parquet: country, country_region, source, platform, device_family, os_version, "
    "event_1, event_2, event_3, revenue. Without it: 20,000 made-up users."
)
@table_options(
    meanings="user_id, country, country_region, source, platform, device_family, os_version, event_1, "
    "event_2, event_3 or revenue",
    has_times=False,
)
@_common_options
@click.pass_context
def game_revenue(context: click.Context, /, **_: object) -> None:
    """What a game's new user brings in the first week.

    \b
    Examples:
      scorewire train game-revenue --trials 5
      scorewire train game-revenue --data users.csv --version 1.1.0
      scorewire train game-revenue --config models/game-revenue/1.1.0/training.toml --output again
      scorewire train game-revenue --mlflow-uri http://127.0.0.1:5000
    """  # noqa: D301 - click wants the character \b itself
    _run(context, GameRevenueConfig)


def _run(context: click.Context, config_class: type[TrainingConfig]) -> None:
    """Train with the settings of the command line and the file, and print the result."""
    given = {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    as_json, check = given.pop("as_json", False), given.pop("check", False)
    if given.pop("mlflow", False):
        given.setdefault("mlflow_uri", DEFAULT_STORE)
    with explained():
        config = load_config(config_class, given.pop("config_file", None), given)
        if check:
            return
        trained = _train(config, as_json=as_json)
    if as_json:
        click.echo(render_event("result", describe_training(trained, config)))
    else:
        _print(Console(), trained, config)


def _train(config: TrainingConfig, *, as_json: bool) -> TrainedModel:
    # Imported here, so that --help and --check do not wait for every library of models.
    from scorewire_training.export import ExportError  # noqa: PLC0415
    from scorewire_training.game_revenue import train_game_revenue  # noqa: PLC0415
    from scorewire_training.repurchase import train_repurchase  # noqa: PLC0415

    try:
        with show_stages(as_json=as_json) as stages:
            if isinstance(config, RepurchaseConfig):
                return train_repurchase(config, progress=stages, on_read=stages.show_notes)
            assert isinstance(config, GameRevenueConfig)  # noqa: S101 - there is no third one
            return train_game_revenue(config, progress=stages, on_read=stages.show_notes)
    except ExportError as error:
        raise TrainingError(str(error)) from None


def _print(console: Console, trained: TrainedModel, config: TrainingConfig) -> None:
    from scorewire_training.export.explanation import describe_explanation  # noqa: PLC0415 - as above
    from scorewire_training.output.publishing import MODEL_CARD, REPORT  # noqa: PLC0415 - as above
    from scorewire_training.output.scoring_commands import scoring_commands  # noqa: PLC0415 - as above

    for table in (_tabulate_cleaning(trained), _tabulate_candidates(trained), _tabulate_metrics(trained)):
        console.print(table)
    bundle = trained.export.path
    lines = [
        f"bundle: {bundle} (equal to the fitted model on {trained.export.parity.rows_compared:,} rows)",
        f"look:   {bundle / REPORT}",
        f"read:   {bundle / MODEL_CARD}",
    ]
    lines += describe_explanation(trained.export.explanation, len(trained.export.manifest.schema.features))
    lines += [
        f"private: {path} has the ids of customers; it is not in the bundle, and no server needs it"
        for path in trained.private_files
    ]
    if trained.registered is not None:
        lines.append(f"mlflow: {trained.registered.uri} in {config.mlflow_uri}")
    lines += [
        f"next:   {shlex.join(['scorewire', 'serve', '--models', str(config.output_dir)])}",
        "Then score tomorrow's rows, from the table as it is then:",
        *(f"  {command}" for command in scoring_commands(trained.result, config)),
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _tabulate_cleaning(trained: TrainedModel) -> Table:
    table = Table("step", "why", title="Cleaning", title_justify="left")
    table.add_column("rows taken", justify="right")
    table.add_column("rows left", justify="right")
    for step in trained.result.steps:
        table.add_row(escape(step.name), escape(step.reason), f"{step.rows_taken:,}", f"{step.rows_left:,}")
    return table


def _tabulate_candidates(trained: TrainedModel) -> Table:
    result = trained.result
    table = Table("candidate", title="Candidates", title_justify="left", caption_justify="left")
    table.caption = escape(f"loss: {result.loss_name}\nrule: {result.rule}")
    table.add_column("loss", justify="right")
    table.add_column("seconds", justify="right")
    for candidate in result.candidates:
        name = f"{candidate.name}, chosen" if candidate.name == result.chosen else candidate.name
        table.add_row(escape(name), f"{candidate.loss:.5g}", f"{candidate.seconds:.0f}")
    return table


def _tabulate_metrics(trained: TrainedModel) -> Table:
    """Each metric with its interval and its baselines."""
    from scorewire_training.evaluation.metrics import read_metrics  # noqa: PLC0415 - as above

    table = Table("metric", title="On rows held out from training", title_justify="left")
    table.add_column("model", justify="right")
    table.add_column("95 % interval")
    table.add_column("without a model")
    for metric in read_metrics(trained.result.metrics, unit=trained.result.unit):
        baselines = (f"{baseline.rule} {metric.show(baseline.value)}" for baseline in metric.baselines)
        interval = " to ".join(metric.show(bound) for bound in metric.interval or ())
        table.add_row(
            escape(metric.name), escape(metric.show(metric.value)), interval, escape(", ".join(baselines))
        )
    return table
