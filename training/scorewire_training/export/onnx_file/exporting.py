"""The export of an ONNX file whose tensors are rows.

There is no fitted model to compare with. The graph is served as it is, and the golden
rows have the scores of onnxruntime on this machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorewire_contract import bundle as bundles
from scorewire_contract.coding import LARGEST_WHOLE
from scorewire_contract.scoring import (
    BEYOND_DOUBLES,
    GoldenMismatchError,
    RunGraph,
    Scorer,
    beyond_doubles,
    score_golden,
)
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.bundle_writing import ExportedBundle, check_metrics, check_target, write_files
from scorewire_training.export.errors import ExportError, UnsupportedModelError
from scorewire_training.export.frames import WireRows
from scorewire_training.export.onnx_file.runs import ABSOLUTE, RELATIVE, choose_run_mode, golden_tolerance
from scorewire_training.export.onnx_file.signature import (
    MAX_VALUES,
    ElementKind,
    InputTensor,
    Signature,
    read_file,
)
from scorewire_training.export.parity.gate import ParityReport
from scorewire_training.export.provenance import build_provenance
from scorewire_training.export.runtime import open_graph
from scorewire_training.export.schema import describe_sample
from scorewire_training.export.tolerance import Tolerances, choose_tolerances
from scorewire_training.export.typed_schema import assign_compatible_fields

_GENERATED_ROWS, _MOST_GOLDEN_ROWS = 16, 64
_SEED = 20_240_229
_FAMILY = "ONNX graph as it came; no fitted model was compared"


def export_onnx(
    path: Path | str,
    *,
    name: str,
    version: str,
    output_dir: Path | str,
    sample: Mapping[str, NDArray[Any]] | None = None,
    description: str = "",
    metrics: Mapping[str, float] | None = None,
    tolerance: Tolerances = None,
    progress: Callable[[str], None] | None = None,
) -> ExportedBundle:
    """Export an ONNX file as the bundle output_dir/name/version.

    Every input and output is a tensor of shape [rows, ...], with the number of rows
    free or 1. Every value of an input becomes a feature: INPUT[0], INPUT[1], ..., or
    INPUT for an input with one value for each row.

    Args:
        path: the file.
        name: the model's name, 1 to 63 characters of a-z, 0-9, '_' and '-'.
        version: the semantic version.
        output_dir: the folder of all models; it is created if it does not exist.
        sample: rows that the graph takes, an array for each input; without a sample,
            rows are generated from the types of the inputs.
        description: what the model is for, for people.
        metrics: finite numbers measured on held-out data, by name.
        tolerance: how much scores may differ between runs of one row and of many rows,
            between releases of onnxruntime, and between kinds of processors; for all
            outputs, or by output.
        progress: called with a sentence at the start of each stage.

    Raises:
        UnsupportedModelError: the graph cannot be served.
        ExportError: an argument is invalid, the version exists, or the bundle cannot
            be written.
    """
    target = check_target(Path(output_dir), name, version)
    check_metrics(metrics or {})
    report_stage = progress or (lambda _: None)
    report_stage("Reading the graph")
    try:
        model, signature = read_file(Path(path).read_bytes())
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}") from None
    rows = _generate(signature) if sample is None else _read_rows(signature, sample)
    kinds = [(name, _output_kind(kind)) for name, kind in signature.outputs]
    tolerances = choose_tolerances(tolerance, kinds)
    report_stage("Running the graph on one row and on many")
    feeds = _feeds(signature, rows)
    graph, row_by_row, answers = choose_run_mode(model, signature, feeds, tolerances)

    manifest = manifest_pb2.Manifest(model=name, version=version, description=description)
    _describe_inputs(manifest, signature)
    if sample is not None:
        describe_sample(manifest.schema, rows)
    _describe_outputs(manifest, signature, answers)
    manifest.coding.row_by_row = row_by_row
    assign_compatible_fields(manifest, Path(output_dir))
    manifest.metrics.update(metrics or {})
    features = [(feature.name, int(feature.kind)) for feature in manifest.schema.features]
    manifest.provenance.CopyFrom(build_provenance(_FAMILY, features, rows))
    manifest.created_at.GetCurrentTime()
    report_stage("Writing the bundle")
    run = open_graph(graph)
    limits = {name: golden_tolerance(given) for name, given in tolerances.items()}
    golden = _golden(manifest, rows, run, limits)
    try:
        score_golden(bundles.Bundle(target, manifest, graph, golden), run)
    except GoldenMismatchError as error:
        raise UnsupportedModelError(
            f"the graph's scores of the same rows differ from run to run: {error}",
            "export it without operators that draw at random",
        ) from None
    parity = ParityReport(
        rows_compared=0,
        rows_refused=0,
        worst_share_of_tolerance=0.0,
        worst_absolute_difference=0.0,
        relative_tolerance=RELATIVE,
        absolute_tolerance=ABSOLUTE,
        rows_by_origin={},
        output_tolerances=limits,
    )
    manifest.parity.CopyFrom(parity.to_message())
    explanation = _without_explanation(manifest)
    path = write_files(Path(output_dir), manifest, graph, golden, explanation=explanation)
    return ExportedBundle(path=path, parity=parity, manifest=manifest, explanation=explanation)


def read_arrays(path: Path, model_file: Path) -> dict[str, NDArray[Any]]:
    """Read a sample for an ONNX file: .npz with an array for each input, or .csv by feature.

    Raises:
        ExportError: the file cannot be read, or lacks an input.
    """
    try:
        _, signature = read_file(model_file.read_bytes())
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        if path.suffix.lower() != ".csv":
            raise ExportError(f"{path} is neither .npz nor .csv: give the sample as one of them")
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError, pd.errors.ParserError) as error:
        if isinstance(error, ExportError):
            raise
        raise ExportError(f"{path} cannot be read as a sample: {error}") from None
    arrays_by_name = {}
    for each in signature.inputs:
        names = _feature_names(each)
        if absent := [name for name in names if name not in table.columns]:
            raise ExportError(f"{path} lacks the column {absent[0]!r}")
        cells = table[names].to_numpy(dtype=object)
        arrays_by_name[each.name] = cells.reshape(len(table), *each.dims)
    return arrays_by_name


def _feature_names(each: InputTensor) -> list[str]:
    return [each.name] if each.width == 1 else [f"{each.name}[{i}]" for i in range(each.width)]


def _bounds(kind: ElementKind) -> tuple[float, float]:
    """The smallest and the largest number of an element type that a row can hold exactly."""
    if issubclass(kind.dtype, np.bool_):
        return 0.0, 1.0
    if issubclass(kind.dtype, np.integer):
        held = np.iinfo(kind.dtype)
        return max(float(held.min), -LARGEST_WHOLE), min(float(held.max), LARGEST_WHOLE)
    return -math.inf, math.inf


def _generate(signature: Signature) -> WireRows:
    """Generate rows from the types of the inputs: small numbers, and such numbers as texts."""
    generator = np.random.default_rng(_SEED)
    arrays: dict[str, NDArray[Any]] = {}
    for each in signature.inputs:
        shape = (_GENERATED_ROWS, each.width)
        low, high = _bounds(each.kind)
        if each.kind.dtype is np.object_:
            arrays[each.name] = generator.integers(0, 100, shape).astype(str).astype(object)
        elif math.isinf(high):
            arrays[each.name] = generator.normal(size=shape).astype(each.kind.dtype)
        else:
            arrays[each.name] = generator.integers(
                int(max(low, -100)), int(min(high, 100)), shape, endpoint=True
            )
    return _read_rows(signature, arrays)


def _read_rows(signature: Signature, sample: Mapping[str, NDArray[Any]]) -> WireRows:
    if absent := [each.name for each in signature.inputs if each.name not in sample]:
        raise ExportError(f"the sample lacks input {absent[0]!r}: give an array for each input")
    counts = {len(sample[each.name]) for each in signature.inputs}
    if len(counts) != 1 or not min(counts):
        raise ExportError("the sample's arrays differ in their rows, or have none")
    (count,) = counts
    numbers, texts = [np.empty((count, 0))], [np.empty((count, 0), dtype=object)]
    for each in signature.inputs:
        values = np.asarray(sample[each.name])
        if values.size != count * each.width:
            raise ExportError(
                f"the sample of {each.name!r} has shape {values.shape}, not [rows, {each.dims}]"
            )
        try:
            if each.kind.dtype is np.object_:
                texts.append(_as_texts(values).reshape(count, each.width))
            else:
                numbers.append(_as_numbers(each, values.reshape(count, each.width)))
        except ValueError:
            raise ExportError(
                f"the sample of {each.name!r} has values that are not {each.kind.datatype}"
            ) from None
    return WireRows(np.concatenate(numbers, axis=1), np.concatenate(texts, axis=1))


def _as_texts(values: NDArray[Any]) -> NDArray[np.object_]:
    """Convert values to texts one by one, because numpy's own text type drops a NUL at the end."""
    texts = [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in values.ravel().tolist()]
    return np.array(texts, dtype=object)


def _as_numbers(each: InputTensor, values: NDArray[Any]) -> NDArray[np.float64]:
    low, high = _bounds(each.kind)
    # Checked before whole numbers are rounded to doubles.
    exact = values if values.dtype.kind in "iu" else values.astype(np.float64)
    whole = math.isinf(high) or np.all(exact == np.floor(exact))
    if not whole or np.any(exact < low) or np.any(exact > high):
        raise ValueError(each.name)
    return exact.astype(np.float64)


def _feeds(signature: Signature, rows: WireRows) -> dict[str, NDArray[Any]]:
    feeds: dict[str, NDArray[Any]] = {}
    number = text = 0
    for each in signature.inputs:
        if each.kind.dtype is np.object_:
            values: NDArray[Any] = rows.texts[:, text : text + each.width]
            text += each.width
        else:
            values = rows.numbers[:, number : number + each.width].astype(each.kind.dtype)
            number += each.width
        feeds[each.name] = values.reshape(len(rows), *each.dims)
    return feeds


def _describe_inputs(manifest: manifest_pb2.Manifest, signature: Signature) -> None:
    schema, number, text = manifest.schema, 0, 0
    for each in signature.inputs:
        low, high = _bounds(each.kind)
        public = manifest.tensors.inputs.add(name=each.name, datatype=each.kind.datatype)
        public.dims.extend(each.dims)
        fed = manifest.coding.inputs.add(name=each.name, type=each.kind.element)
        fed.shape.dims.extend(each.dims)
        for name in _feature_names(each):
            feature = schema.features.add(name=name, missing_share=math.nan)
            if each.kind.dtype is np.object_:
                feature.kind = schema_pb2.FEATURE_KIND_TEXT
                feature.missing_allowed = feature.unknown_allowed = True
                raw = fed.columns.add().text
                raw.text, raw.fold = text, manifest_pb2.TEXT_FOLD_NONE
                text += 1
                continue
            feature.kind = schema_pb2.FEATURE_KIND_NUMBER
            feature.whole = math.isfinite(high)
            feature.missing_allowed = not feature.whole
            feature.minimum = feature.maximum = math.nan
            feature.magnitude_limit = max(high, -low)
            fed.columns.add(number=number)
            number += 1


def _describe_outputs(
    manifest: manifest_pb2.Manifest, signature: Signature, answers: list[NDArray[Any]]
) -> None:
    for (name, kind), values in zip(signature.outputs, answers, strict=True):
        if beyond_doubles(values):
            raise UnsupportedModelError(
                f"output {name!r} has {BEYOND_DOUBLES}", "cast it to STRING, and its numbers come as texts"
            )
        output = manifest.schema.outputs.add(
            name=name, kind=_output_kind(kind), width=math.prod(values.shape[1:])
        )
        labels = signature.class_labels.get(name, ())
        if len(set(labels)) > 1 and _are_shares(values):
            output.kind = schema_pb2.OUTPUT_KIND_PROBABILITY
            output.class_labels.extend(labels)
        manifest.tensors.outputs.add(name=name, datatype=kind.datatype, dims=values.shape[1:])
    width = sum(output.width for output in manifest.schema.outputs)
    if not all(output.width for output in manifest.schema.outputs) or width > MAX_VALUES:
        raise UnsupportedModelError(
            f"the graph's outputs have {width} values per row",
            f"1 to {MAX_VALUES} are served: leave outputs out",
        )


def _are_shares(values: NDArray[Any]) -> bool:
    """Whether the values of each row are probabilities; other scores of classes come in dictionaries, too."""
    within = np.all((values >= 0) & (values <= 1))
    return bool(within and np.allclose(values.sum(axis=1), 1, atol=1e-3))


def _output_kind(kind: ElementKind) -> schema_pb2.OutputKind.ValueType:
    return schema_pb2.OUTPUT_KIND_TEXT if kind.dtype is np.object_ else schema_pb2.OUTPUT_KIND_NUMBER


def _without_explanation(manifest: manifest_pb2.Manifest) -> manifest_pb2.Explanation:
    """The explanation of a graph as it came: none, with the reason for each output of numbers."""
    explanation = manifest_pb2.Explanation()
    for output in manifest.schema.outputs:
        if output.kind in (schema_pb2.OUTPUT_KIND_NUMBER, schema_pb2.OUTPUT_KIND_PROBABILITY):
            explanation.unexplained.add(output=output.name, reason="an ONNX file tells no training rows")
    return explanation


def _golden(
    manifest: manifest_pb2.Manifest,
    rows: WireRows,
    run: RunGraph,
    limits: Mapping[str, manifest_pb2.Tolerance],
) -> manifest_pb2.Golden:
    """Golden rows spread over the sample, with the scores of onnxruntime."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(_MOST_GOLDEN_ROWS, len(rows))).astype(np.intp))
    picked = rows.take(chosen)
    golden = manifest_pb2.Golden(tolerance=golden_tolerance(None), output_tolerances=limits)
    golden.rows.row_count = golden.expected.row_count = len(picked)
    golden.rows.numbers.extend(picked.numbers.ravel().tolist())
    golden.rows.texts.extend(picked.flat_texts())
    scorer = Scorer(manifest.schema, manifest.coding, run)
    scores = scorer.score(len(picked), picked.numbers.ravel(), picked.flat_texts())
    for output, values in zip(manifest.schema.outputs, scores.outputs, strict=True):
        added = golden.expected.outputs.add(name=output.name)
        (added.texts if values.dtype == object else added.numbers).extend(values.ravel().tolist())
    for error in scores.errors:
        golden.expected.errors.add(
            row=error.row, reason=error.reason, feature=error.feature, message=error.message
        )
    golden.expected.model, golden.expected.version = manifest.model, manifest.version
    return golden
