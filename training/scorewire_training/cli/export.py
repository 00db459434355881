"""`scorewire export`: makes a bundle of a saved model, an ONNX file or a registered bundle."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table

from scorewire_training.cli.progress import show_stages
from scorewire_training.cli.verify import describe_tolerances, verify_bundle
from scorewire_training.config import DEFAULT_STORE
from scorewire_training.errors import TrainingError
from scorewire_training.export import ExportedBundle, ExportError, export_bundle
from scorewire_training.export.explanation import describe_explanation
from scorewire_training.export.onnx_file import export_onnx, read_arrays
from scorewire_training.export.saved_models.categories import read_categories
from scorewire_training.export.saved_models.model_file import read_model
from scorewire_training.export.saved_models.sample_file import read_sample
from scorewire_training.export.tolerance import Tolerance, Tolerances
from scorewire_training.output.tracking import install_registered


@click.command(
    short_help="Export a saved model, an ONNX file or a registered bundle as a bundle.",
    epilog="From Python, scorewire_training.export_bundle also takes scikit-learn pipelines.",
)
@click.argument("model_file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--onnx",
    "onnx_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An ONNX file in place of MODEL_FILE; its graph is served as it is.",
)
@click.option(
    "--sample",
    "sample_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV or Parquet file of rows as the model takes them, ideally the training rows. For an ONNX"
    " file CSV or .npz, and optional.",
)
@click.option("--name", help="The model's name: a-z, 0-9, '_' and '-'.")
@click.option("--version", help="The semantic version, like 1.0.0.")
@click.option(
    "--output",
    "output_dir",
    default=Path("models"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of all models; the bundle becomes OUTPUT/NAME/VERSION.",
)
@click.option("--target-column", help="The column of the sample that the model predicts; it is left out.")
@click.option(
    "--categories",
    "categories_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON file like {"colour": ["blue", "red"]}: the categories of columns, in the order of their dtype '
    "in training, where the model's file does not store them.",
)
@click.option(
    "--missing",
    type=float,
    metavar="NUMBER",
    help="For XGBoost's files: the number that meant missing in training in addition to NaN, such as -999; "
    "the file does not store it.",
)
@click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="[OUTPUT=]RELATIVE[,ABSOLUTE]",
    help="How much scores may differ from the model's, such as 2e-5, value=2e-5 or value=2e-5,0.01, instead "
    "of 5e-6; repeat it for several outputs. The bundle records it.",
)
@click.option("--description", default="", help="What the model is for, for people.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME=NUMBER",
    help="A metric measured on held-out data, like auc=0.91; repeat it for several metrics.",
)
@click.option(
    "--mlflow",
    "registered",
    metavar="models:/NAME/NUMBER",
    help="A bundle registered by scorewire train, instead of MODEL_FILE; also models:/NAME@ALIAS.",
)
@click.option(
    "--mlflow-uri",
    default=DEFAULT_STORE,
    show_default=True,
    metavar="URI",
    help="Where that registry is: sqlite:///FILE, a folder, or http://HOST:PORT.",
)
@click.pass_context
def export(
    context: click.Context,
    /,
    *,
    model_file: Path | None,
    onnx_file: Path | None,
    sample_file: Path | None,
    name: str | None,
    version: str | None,
    output_dir: Path,
    target_column: str | None,
    categories_file: Path | None,
    missing: float | None,
    tolerances: tuple[str, ...],
    description: str,
    metrics: tuple[str, ...],
    registered: str | None,
    mlflow_uri: str,
) -> None:
    """Export the model in MODEL_FILE as a bundle that is proven equal to it.

    MODEL_FILE is a file that save_model of XGBoost wrote as .json or .ubj, or that
    save_model of LightGBM wrote as .txt. The bundle and the model score the sample
    and thousands of rows made to tell them apart; one row that differs stops the
    export.

    An ONNX file is bundled as it is: its inputs and outputs are tensors of shape
    [rows, ...], and there is no fitted model to compare it with.

    A bundle that scorewire train --mlflow registered is downloaded unchanged, checked
    as by scorewire verify, and becomes OUTPUT/NAME/VERSION.

    \b
    Examples:
      scorewire export churn.json --sample train.csv --name churn --version 1.0.0
      scorewire verify models/churn/1.0.0
      scorewire serve --models models
      scorewire export --onnx simple.onnx --name simple --version 1.0.0
      scorewire export --mlflow models:/repurchase/3 --output models
    """  # noqa: D301 - click wants the character \b itself
    console = Console()
    if registered is not None:
        _refuse_beside_mlflow(context)
        try:
            installed = install_registered(registered, output_dir, uri=mlflow_uri)
        except (ExportError, TrainingError) as error:
            raise click.ClickException(str(error)) from None
        console.print(verify_bundle(installed))
        console.print(f"Next: scorewire serve --models {output_dir}", markup=False, soft_wrap=True)
        return
    if name is None or version is None:
        raise click.UsageError("give the bundle a --name and a --version")
    if (model_file is None) == (onnx_file is None):
        raise click.UsageError(
            "give a MODEL_FILE, an ONNX file by --onnx, or a registered bundle by --mlflow"
        )
    if onnx_file is None and (model_file is None or sample_file is None):
        raise click.UsageError("give rows of the model by --sample")
    if onnx_file is not None and any(
        given is not None for given in (target_column, categories_file, missing)
    ):
        raise click.UsageError("--target-column, --categories and --missing are not for --onnx")
    numbers, tolerance = _parse_metrics(metrics), _parse_tolerances(tolerances)
    notes: tuple[str, ...] = ()
    try:
        with show_stages() as report_stage:
            if onnx_file is not None:
                exported = export_onnx(
                    onnx_file,
                    name=name,
                    version=version,
                    output_dir=output_dir,
                    sample=None if sample_file is None else read_arrays(sample_file, onnx_file),
                    description=description,
                    metrics=numbers,
                    tolerance=tolerance,
                    progress=report_stage,
                )
            elif model_file is not None and sample_file is not None:
                report_stage("Reading the model and the sample")
                model = read_model(model_file, missing=missing)
                sample = read_sample(
                    sample_file,
                    model,
                    target_column=target_column,
                    categories=None if categories_file is None else read_categories(categories_file),
                )
                notes = sample.notes
                exported = export_bundle(
                    model,
                    sample=sample.frame,
                    name=name,
                    version=version,
                    output_dir=output_dir,
                    description=description,
                    metrics=numbers,
                    tolerance=tolerance,
                    progress=report_stage,
                )
    except ExportError as error:
        raise click.ClickException(str(error)) from None
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    console.print(_describe(exported))
    for line in describe_explanation(exported.explanation, len(exported.manifest.schema.features)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Next: scorewire serve --models {output_dir}", markup=False, soft_wrap=True)


def _refuse_beside_mlflow(context: click.Context) -> None:
    """Refuse all options that would change a registered bundle."""
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT
        if given and parameter.name not in {"registered", "mlflow_uri", "output_dir"}:
            raise click.UsageError(
                f"{parameter.opts[0]} is not for --mlflow: the bundle is exported as it is"
            )


def _parse_metrics(metrics: tuple[str, ...]) -> dict[str, float]:
    parsed = {}
    for metric in metrics:
        name, _, text = metric.partition("=")
        try:
            parsed[name] = float(text)
        except ValueError:
            raise click.BadParameter(f"{metric!r} is not like auc=0.91", param_hint="--metric") from None
    return parsed


def _parse_tolerances(given: tuple[str, ...]) -> Tolerances:
    """Parse one tolerance for all outputs, or one for each of some outputs.

    Raises:
        click.ClickException: a part is not a number, or both forms are given.
    """
    by_output: dict[str, Tolerance] = {}
    for text in given:
        name, _, numbers = text.rpartition("=")
        try:
            parts = [float(part) for part in numbers.split(",")]
            by_output[name] = Tolerance(*parts)
        except ExportError as error:
            raise click.BadParameter(str(error), param_hint="--tolerance") from None
        except (TypeError, ValueError):
            raise click.BadParameter(
                f"{text!r} is not like 2e-5, value=2e-5 or value=2e-5,0.01", param_hint="--tolerance"
            ) from None
    if len(by_output) < len(given) or ("" in by_output and len(given) > 1):
        raise click.BadParameter("give one for all outputs, or one by output", param_hint="--tolerance")
    return by_output.get("", by_output or None)


def _describe(exported: ExportedBundle) -> Table:
    manifest, parity = exported.manifest, exported.parity
    table = Table(show_header=False, title=f"{manifest.model} {manifest.version}", title_justify="left")
    table.add_row("bundle", str(exported.path))
    table.add_row("family", manifest.provenance.family)
    table.add_row("features", str(len(manifest.schema.features)))
    table.add_row(
        "outputs", ", ".join(f"{output.name} [{output.width}]" for output in manifest.schema.outputs)
    )
    describe_tolerances(table, manifest)
    if not parity.rows_compared:
        table.add_row("rows compared", "none: the graph is what is served")
        return table
    table.add_row(
        "rows compared", f"{parity.rows_compared:,}, {parity.rows_refused:,} of them refused by both"
    )
    table.add_row("rows that differ", "0")
    table.add_row(
        "largest difference",
        f"{parity.worst_absolute_difference:.3g}, {parity.worst_share_of_tolerance:.2%} of the tolerance",
    )
    if parity.exact:
        table.add_row("in the kernel", "the same rows, with the fitted model's own bits")
    elif parity.rows_with_other_bits:
        rows = f"{parity.rows_with_other_bits:,}"
        table.add_row("in the kernel", f"{rows} rows differ in their last bits, within the tolerance")
    return table
