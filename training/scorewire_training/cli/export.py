"""`scorewire export`: a saved model becomes a bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from scorewire_training.export import ExportedBundle, ExportError, export_bundle
from scorewire_training.export.files import read_model, read_sample


@click.command(
    short_help="Export a saved XGBoost or LightGBM model as a bundle.",
    epilog="From Python, scorewire_training.export_bundle also takes scikit-learn pipelines.",
)
@click.argument("model_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--sample",
    "sample_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV or Parquet file of rows as the model takes them, best the training rows.",
)
@click.option("--name", required=True, help="The model's name: a-z, 0-9, '_' and '-'.")
@click.option("--version", required=True, help="Its semantic version, like 1.0.0.")
@click.option(
    "--output",
    "output_dir",
    default=Path("models"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of all models; the bundle becomes OUTPUT/NAME/VERSION.",
)
@click.option("--target-column", help="A column of the sample to leave out: what the model predicts.")
@click.option("--description", default="", help="What the model is for, for people.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME=NUMBER",
    help="A number measured on held-out data, like auc=0.91; may be given several times.",
)
def export(
    *,
    model_file: Path,
    sample_file: Path,
    name: str,
    version: str,
    output_dir: Path,
    target_column: str | None,
    description: str,
    metrics: tuple[str, ...],
) -> None:
    """Export the model in MODEL_FILE as a bundle that is proven equal to it.

    MODEL_FILE is what XGBoost's save_model wrote as .json or .ubj, or what
    LightGBM's wrote as .txt. The bundle and the model score the sample and
    thousands of rows made to tell them apart; one that differs stops the export.

    \b
    Example:
      scorewire export churn.json --sample train.csv --name churn --version 1.0.0
      scorewire verify models/churn/1.0.0
      scorewire serve --models models
    """  # noqa: D301 - click wants the character \b itself
    console = Console()
    try:
        with _stages(Console(stderr=True)) as report_stage:
            report_stage("Reading the model and the sample")
            model = read_model(model_file)
            sample = read_sample(sample_file, model, target_column=target_column)
            exported = export_bundle(
                model,
                sample=sample.frame,
                name=name,
                version=version,
                output_dir=output_dir,
                description=description,
                metrics=_parse_metrics(metrics),
                progress=report_stage,
            )
    except ExportError as error:
        raise click.ClickException(str(error)) from None
    if sample.left_out:
        console.print(
            f"Left out, since the model does not know them: {', '.join(sample.left_out)}", markup=False
        )
    console.print(_describe(exported))
    console.print(f"Next: scorewire serve --models {output_dir}", markup=False, soft_wrap=True)


@contextmanager
def _stages(console: Console) -> Iterator[Callable[[str], None]]:
    """Shows the stage at work, on a terminal only."""
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("Starting") as status:
        yield lambda stage: status.update(f"{stage} ...")


def _parse_metrics(metrics: tuple[str, ...]) -> dict[str, float]:
    parsed = {}
    for metric in metrics:
        name, _, text = metric.partition("=")
        try:
            parsed[name] = float(text)
        except ValueError:
            raise click.BadParameter(f"{metric!r} is not like auc=0.91", param_hint="--metric") from None
    return parsed


def _describe(exported: ExportedBundle) -> Table:
    manifest, parity = exported.manifest, exported.parity
    table = Table(show_header=False, title=f"{manifest.model} {manifest.version}", title_justify="left")
    table.add_row("bundle", str(exported.path))
    table.add_row("family", manifest.provenance.family)
    table.add_row("features", str(len(manifest.schema.features)))
    table.add_row(
        "outputs", ", ".join(f"{output.name} [{output.width}]" for output in manifest.schema.outputs)
    )
    table.add_row(
        "rows compared", f"{parity.rows_compared:,}, {parity.rows_refused:,} of them refused by both"
    )
    table.add_row("rows that differ", "0")
    table.add_row(
        "largest difference",
        f"{parity.worst_absolute_difference:.3g}, {parity.worst_share_of_tolerance:.2%} of the tolerance",
    )
    return table
