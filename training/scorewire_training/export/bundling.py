"""The export of a fitted model as a bundle that is proven equal to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray

from scorewire_contract import bundle as bundles
from scorewire_contract.scoring import Scorer, score_golden
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.export.bundle_writing import ExportedBundle, check_metrics, check_target, write_files
from scorewire_training.export.errors import ExportError
from scorewire_training.export.explanation import FrameExplainer, explain_model, prove_explanation
from scorewire_training.export.frames import FrameCodec
from scorewire_training.export.kernel import open_in_kernel
from scorewire_training.export.lowering import LoweredModel, lower
from scorewire_training.export.parity.comparison import Comparison, score_both_sides
from scorewire_training.export.parity.exactness import compare_kernel, in_runs_of_any_size
from scorewire_training.export.parity.fitted_model import FittedModel, FittedScores
from scorewire_training.export.parity.gate import (
    BundleScores,
    ParityReport,
    checked_shapes,
    compare,
    score_once,
)
from scorewire_training.export.parity.golden import pick_golden
from scorewire_training.export.parity.hard_rows import MAX_CELLS
from scorewire_training.export.parity.input_limits import InputLimitSearch
from scorewire_training.export.provenance import build_provenance
from scorewire_training.export.runtime import open_graph
from scorewire_training.export.sample_frame import as_table, to_frame
from scorewire_training.export.schema import build_schema
from scorewire_training.export.tolerance import Tolerance, Tolerances, choose_tolerances
from scorewire_training.export.trees.xgboost_missing import with_missing
from scorewire_training.export.typed_schema import assign_compatible_fields

_MAX_SAMPLE_ROWS_COMPARED = 20_000
_SEED = 20_240_229
# From this size on, a warning tells the memory that a server needs.
_LARGE_GRAPH_BYTES = 64 << 20
# Bytes of memory that onnxruntime needs to load one byte of a graph, measured with forests.
_BYTES_TO_LOAD = 22


def export_bundle(
    model: object,
    *,
    sample: pd.DataFrame | pd.Series[Any] | NDArray[Any],
    name: str,
    version: str,
    output_dir: Path | str,
    description: str = "",
    metrics: Mapping[str, float] | None = None,
    feature_descriptions: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | Callable[[FrameExplainer], Mapping[str, bytes]] | None = None,
    tolerance: Tolerances = None,
    missing: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> ExportedBundle:
    """Export a fitted model as the bundle output_dir/name/version, and prove that both score alike.

    The graph and the fitted model score the sample and thousands of rows generated to
    expose a difference. One row that differs stops the export.

    Args:
        model: a fitted scikit-learn estimator or pipeline, or an estimator or Booster
            of XGBoost or LightGBM.
        sample: rows as the model takes them, ideally the training rows: ranges and
            missing shares of the features are computed from them. Features are named
            by the columns of a frame; for an array by the names that the model was
            fitted with, else x0, x1, ... For a model of one column of texts, pass a
            Series or a frame of that column; the feature has its name, or "text".
        name: the model's name, 1 to 63 characters of a-z, 0-9, '_' and '-'.
        version: the semantic version.
        output_dir: the folder of all models; it is created if it does not exist.
        description: what the model is for, for people.
        metrics: finite numbers measured on held-out data, by name.
        feature_descriptions: what each feature means, for people, by feature.
        files: further files of the bundle by name, such as a report; servers do not
            read them. A function makes them once all proofs are done, and may explain
            rows in them.
        tolerance: how much scores may differ from the fitted model's, instead of the
            default of the parity gate; one for all outputs, or one for each output by
            name. The bundle records it.
        missing: for an XGBoost Booster, the number that meant missing in addition to NaN in
            `DMatrix(data, missing=...)`; XGBoost's estimators store it themselves.
        progress: called with a sentence at the start of each stage; in long stages the
            progress stands in brackets.

    Raises:
        UnsupportedModelError: the model has no exact translation.
        ParityError: the graph and the fitted model score a row differently.
        ExportError: an argument is invalid, the version exists, or the bundle cannot
            be written.
    """
    report_stage = progress or (lambda _: None)
    target = check_target(Path(output_dir), name, version)
    model, given = as_table(model, sample)
    frame = to_frame(model, given)
    check_metrics(metrics or {})
    if missing is not None:
        model = with_missing(model, missing)

    report_stage("Turning the model into a graph")
    lowered = lower(model, frame)
    if surplus := set(feature_descriptions or {}) - set(frame.columns):
        raise ExportError(f"feature_descriptions describe {min(surplus)!r}, which is not a feature")
    tolerances = choose_tolerances(tolerance, [(output.name, output.kind) for output in lowered.outputs])
    codec = FrameCodec(frame, lowered.features, lowered.missing_texts, lowered.coded_features)
    rows = codec.to_rows(frame)
    compared = _choose_rows(
        len(frame), min(_MAX_SAMPLE_ROWS_COMPARED, max(1, MAX_CELLS // len(lowered.features)))
    )
    fitted_model = FittedModel(model, lowered.outputs)

    report_stage("Asking the fitted model what it refuses")
    sample_scores = _score_sample(
        fitted_model, given[compared] if isinstance(given, np.ndarray) else given.iloc[compared]
    )
    input_limits = InputLimitSearch(fitted_model, codec, lowered.features, rows).find(
        lowered.known_texts, lowered.domains, only_near=lowered.only_near
    )
    manifest = manifest_pb2.Manifest(model=name, version=version, description=description)
    manifest.schema.CopyFrom(
        build_schema(
            lowered.features,
            lowered.outputs,
            rows=rows,
            input_limits=input_limits,
            known_texts=lowered.known_texts,
            descriptions=feature_descriptions or {},
        )
    )
    assign_compatible_fields(manifest, Path(output_dir))
    manifest.coding.CopyFrom(lowered.coding)
    graph = lowered.graph.SerializeToString(deterministic=True)
    _warn_if_large(graph)
    report_stage("Finding how outputs follow from columns")
    explained = explain_model(lowered, manifest, graph, rows.take(compared))
    # Frees a second copy of a large graph.
    lowered = replace(lowered, graph=onnx.ModelProto())
    run = checked_shapes(open_graph(graph), lowered.outputs)

    report_stage("Making rows that are hard to score")
    ranges = {feature: (limits.low, limits.high) for feature, limits in input_limits.items()}
    scorer = Scorer(manifest.schema, manifest.coding, run)
    comparison = score_both_sides(
        fitted_model,
        codec,
        scorer,
        lowered,
        sample=rows.take(compared),
        sample_scores=sample_scores,
        ranges=ranges,
        tolerances=tolerances,
        report_stage=report_stage,
    )
    parity, scored = _compare(
        graph, manifest, lowered, comparison, tolerances=tolerances, report_stage=report_stage
    )
    report_stage("Comparing contributions of columns with the library's")
    prove_explanation(
        explained,
        manifest,
        comparison,
        lowered.outputs,
        model=model,
        codec=codec,
        tolerances=tolerances,
    )

    if callable(files):
        files = files(FrameExplainer(explained, manifest, codec))
    report_stage("Writing the bundle")
    manifest.metrics.update(metrics or {})
    manifest.provenance.CopyFrom(build_provenance(lowered.family, lowered.features, rows))
    manifest.parity.CopyFrom(parity.to_message())
    manifest.created_at.GetCurrentTime()
    golden = pick_golden(comparison.compared, comparison.fitted, scored, lowered.outputs, parity)
    golden.expected.model, golden.expected.version = name, version
    score_golden(bundles.Bundle(target, manifest, graph, golden), run)
    path = write_files(
        Path(output_dir),
        manifest,
        graph,
        golden,
        files,
        explanation=explained.message,
        explanation_graph=explained.graph,
    )
    return ExportedBundle(path=path, parity=parity, manifest=manifest, explanation=explained.message)


def _compare(
    graph: bytes,
    manifest: manifest_pb2.Manifest,
    lowered: LoweredModel,
    comparison: Comparison,
    *,
    tolerances: Mapping[str, Tolerance],
    report_stage: Callable[[str], None],
) -> tuple[ParityReport, list[BundleScores]]:
    """Compare the bundle with the fitted model; returns its scores by each way to run the graph, too."""
    compared, fitted, outputs = comparison.compared, comparison.fitted, lowered.outputs
    report_stage("Comparing the graph with the fitted model")
    parity = compare(compared, fitted, comparison.bundle, outputs, tolerances)
    in_kernel = open_in_kernel(graph)
    if in_kernel is None:
        return parity, [comparison.bundle]
    report_stage("Comparing the kernel with the fitted model")
    run = checked_shapes(in_runs_of_any_size(in_kernel), outputs)
    scores = score_once(Scorer(manifest.schema, manifest.coding, run), compared.rows)
    parity = compare_kernel(
        parity,
        compared,
        fitted,
        scores,
        outputs,
        tolerances=tolerances,
        compares_bits=lowered.is_exact,
    )
    return parity, [comparison.bundle, scores]


def _warn_if_large(graph: bytes) -> None:
    if len(graph) > _LARGE_GRAPH_BYTES:
        warnings.warn(
            f"the graph has {len(graph) / 1e6:,.0f} MB: a server needs about "
            f"{len(graph) * _BYTES_TO_LOAD / 1e9:.1f} GB of memory to load it; fewer or shallower trees need"
            " less",
            stacklevel=3,
        )


def _choose_rows(row_count: int, most: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Positions of the sample rows to compare, ascending: all rows, or a random choice of `most`."""
    if row_count <= most:
        return np.arange(row_count, dtype=np.intp)
    drawn = np.random.default_rng(_SEED).choice(row_count, most, replace=False)
    return np.sort(drawn).astype(np.intp)


def _score_sample(fitted_model: FittedModel, sample: pd.DataFrame | NDArray[Any]) -> FittedScores:
    """The fitted model's scores for the sample exactly as it was passed."""
    try:
        return FittedScores(fitted_model.score(sample), np.zeros(len(sample), dtype=np.bool_))
    except Exception as error:
        raise ExportError(
            f"the fitted model does not score the sample ({type(error).__name__}: {error}): "
            "pass rows with the columns and dtypes that it was fitted on"
        ) from error
