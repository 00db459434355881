"""What exports of models and of ONNX files share: checks of the target and metrics, and the files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scorewire_contract import bundle as bundles
from scorewire_contract.schema import InvalidNameError, Version, check_model_name
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.export.errors import ExportError
from scorewire_training.export.parity.gate import ParityReport
from scorewire_training.export.typed_schema import render_typed_schema


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ExportedBundle:
    """A bundle on disk: its folder, the report of the parity gate, its manifest and its explanation."""

    path: Path
    parity: ParityReport
    manifest: manifest_pb2.Manifest
    explanation: manifest_pb2.Explanation

    def __repr__(self) -> str:
        """One line: a notebook shows it, and the manifest has thousands."""
        schema, rows = self.manifest.schema, self.parity.rows_compared
        name = f"{self.manifest.model} {self.manifest.version}"
        return (
            f"ExportedBundle({name}, {len(schema.features):,} features, {len(schema.outputs)} outputs, "
            f"equal on {rows:,} rows, path={str(self.path)!r})"
        )


def write_files(
    output_dir: Path,
    manifest: manifest_pb2.Manifest,
    graph: bytes,
    golden: manifest_pb2.Golden,
    further: Mapping[str, bytes] | None = None,
    *,
    explanation: manifest_pb2.Explanation,
    explanation_graph: bytes = b"",
) -> Path:
    """Write the files of a bundle and further files; returns the bundle's folder.

    Raises:
        ExportError: the files do not form a valid bundle, a further file has the name
            of a bundle's own file, the version exists, or a file cannot be written.
    """
    own = {
        bundles.GRAPH: graph,
        bundles.GOLDEN: bundles.to_json(golden),
        bundles.TYPED_SCHEMA: render_typed_schema(manifest),
        bundles.EXPLANATION: explanation.SerializeToString(deterministic=True),
    }
    if explanation_graph:
        own[bundles.EXPLANATION_GRAPH] = explanation_graph
    if taken := sorted(own.keys() & (further or {}).keys()):
        raise ExportError(f"{taken[0]} is a bundle's own file: give yours another name")
    files = {**own, **(further or {})}
    try:
        return bundles.write_bundle(output_dir, manifest, files)
    except bundles.BundleError as error:
        raise ExportError(str(error)) from None
    except OSError as error:
        raise ExportError(f"no bundle can be written in {output_dir}: {error.strerror or error}") from error


def check_target(output_dir: Path, name: str, version: str) -> Path:
    """Check that a new bundle can be written; returns its folder.

    Raises:
        ExportError: the name or the version is invalid, the version exists, or the
            folder cannot be written to.
    """
    try:
        check_model_name(name)
        Version(version)
    except InvalidNameError as error:
        raise ExportError(str(error)) from None
    target = output_dir / name / version
    if target.exists():
        raise ExportError(f"{target} exists, and a version never changes: choose another version")
    nearest = next(folder for folder in target.absolute().parents if folder.exists())
    if not nearest.is_dir():
        raise ExportError(f"{nearest} is not a folder: name the folder that holds all models")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ExportError(f"{nearest} cannot be written to: name another folder that holds all models")
    return target


def check_metrics(metrics: Mapping[str, float]) -> None:
    """Check that metrics have names and finite numbers.

    Raises:
        ExportError: a name is empty, or a number is not finite.
    """
    for metric, value in metrics.items():
        if not metric or not np.isfinite(value):
            raise ExportError(f"metric {metric!r} is {value!r}: a metric has a name and a finite number")
