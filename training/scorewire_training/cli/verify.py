"""`scorewire verify`: checks bundles and scores their golden rows."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from scorewire_contract.bundle import MANIFEST, BundleError, read_bundle
from scorewire_contract.scoring import GoldenMismatchError, score_golden
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.cli.progress import show_stages
from scorewire_training.export.errors import ExportError
from scorewire_training.export.runtime import open_graph


@click.command(short_help="Check a bundle and score its golden rows.")
@click.argument(
    "bundles",
    metavar="BUNDLE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
def verify(bundles: tuple[Path, ...]) -> None:
    """Check each BUNDLE, the folder of one version of one model.

    The files must have the checksums of the manifest, and the graph must score the
    golden rows as the fitted model scored them. The exit code is 1 if a bundle fails.

    \b
    Example:
      scorewire verify models/churn/1.0.0
      scorewire verify models/*/*
    """  # noqa: D301 - click wants the character \b itself
    console = Console()
    failures = 0
    for path in bundles:
        try:
            console.print(verify_bundle(path))
        except (BundleError, ExportError, GoldenMismatchError, ValueError) as error:
            failures += 1
            hint = ""
            if not (path / MANIFEST).exists():
                hint = "; a bundle is a folder MODELS/NAME/VERSION"
            console.print(f"FAILED {path}: {error}{hint}", markup=False, soft_wrap=True)
    if failures:
        raise click.exceptions.Exit(1)


def verify_bundle(path: Path) -> Table:
    """Check a bundle and describe it as a table; the progress goes to stderr.

    Raises:
        BundleError: the folder is not a valid bundle.
        ExportError: onnxruntime does not load the graph.
        GoldenMismatchError: the graph scores a golden row differently.
    """
    with show_stages() as report_stage:
        report_stage(f"Checking {path}")
        bundle = read_bundle(path)
        golden_rows = score_golden(bundle, open_graph(bundle.graph))
    manifest = bundle.manifest
    table = Table(show_header=False, title=f"{bundle.model} {bundle.version}", title_justify="left")
    table.add_row("bundle", str(path))
    table.add_row("family", manifest.provenance.family)
    table.add_row("exported", manifest.created_at.ToDatetime().strftime("%Y-%m-%d %H:%M:%S UTC"))
    table.add_row("files", f"{len(manifest.files) + 1}, checksums right")
    table.add_row("features", str(len(manifest.schema.features)))
    refused, parity = len(bundle.golden.expected.errors), manifest.parity
    # A bundle of an ONNX file has no fitted model.
    like = "the fitted model did" if parity.rows_compared else "at export"
    table.add_row("golden rows", f"{golden_rows} scored as {like}, {refused} of them refused")
    if parity.rows_compared:
        table.add_row(
            "compared at export",
            f"{parity.rows_compared:,} rows, worst at {parity.worst_share_of_tolerance:.2%} of the tolerance",
        )
        if parity.exact:
            table.add_row("in the kernel", "the same rows, with the fitted model's own bits")
    describe_tolerances(table, manifest)
    for name, value in sorted(manifest.metrics.items()):
        table.add_row(name, f"{value:.6g}")
    return table


def describe_tolerances(table: Table, manifest: manifest_pb2.Manifest) -> None:
    """Add the outputs whose tolerance a user gave in place of the parity gate's default."""
    for name, tolerance in sorted(manifest.parity.output_tolerances.items()):
        table.add_row(
            f"tolerance of {name}",
            f"{tolerance.relative:g} relative, {tolerance.absolute:.3g} absolute, as given at export",
        )
