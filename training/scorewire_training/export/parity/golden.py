"""The golden rows of a bundle: a few rows, hard ones among them, with the fitted model's scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.parity.fitted_model import FittedScores
from scorewire_training.export.parity.gate import BundleScores, ParityReport
from scorewire_training.export.parity.hard_rows import SAMPLE, ComparisonRows

_MAX_ROWS = 64
_SAMPLE_ROWS = 24


def pick_golden(
    compared: ComparisonRows,
    fitted: FittedScores,
    scored: Sequence[BundleScores],
    outputs: Sequence[ModelOutput],
    report: ParityReport,
) -> manifest_pb2.Golden:
    """Choose at most 64 rows of all origins, refused rows included; the same input gives the same rows.

    The expected outputs are the fitted model's. The reason of a refusal is the
    bundle's, because only the bundle knows it.

    Args:
        compared: the rows.
        fitted: the fitted model's scores.
        scored: the bundle's scores, of each way to run its graph.
        outputs: the outputs of all sides.
        report: the report of the comparison.
    """
    tied = np.logical_or.reduce([_has_tie(fitted, bundle, outputs) for bundle in scored])
    chosen = _choose(compared, tied)
    rows = compared.rows.take(chosen)
    golden = manifest_pb2.Golden(output_tolerances=report.output_tolerances)
    golden.rows.row_count = golden.expected.row_count = len(rows)
    golden.rows.numbers.extend(rows.numbers.ravel().tolist())
    golden.rows.texts.extend(rows.flat_texts())
    for output, scores in zip(outputs, fitted.outputs, strict=True):
        golden.expected.outputs.add(name=output.name).numbers.extend(scores[chosen].ravel().tolist())
    errors = {error.row: error for error in scored[0].errors}
    for position, row in enumerate(chosen):
        if error := errors.get(row):
            golden.expected.errors.add(
                row=position, reason=error.reason, feature=error.feature, message=error.message
            )
    golden.tolerance.relative = report.relative_tolerance
    golden.tolerance.absolute = report.absolute_tolerance
    return golden


def _has_tie(fitted: FittedScores, bundle: BundleScores, outputs: Sequence[ModelOutput]) -> NDArray[np.bool_]:
    """Rows whose class is a tie, which another release may break differently."""
    tied = np.zeros(len(fitted.refused), dtype=np.bool_)
    for output, wanted, found in zip(outputs, fitted.outputs, bundle.outputs, strict=True):
        if output.kind == schema_pb2.OUTPUT_KIND_CLASS:
            tied |= (wanted != found).ravel() & ~fitted.refused
    return tied


def _choose(compared: ComparisonRows, left_out: NDArray[np.bool_]) -> list[int]:
    """Rows of the sample, and hard rows of the other origins in turn; ascending."""
    by_origin: dict[str, list[int]] = {}
    for row, origin in enumerate(compared.origins):
        if not left_out[row]:
            by_origin.setdefault(origin, []).append(row)
    sample = by_origin.pop(SAMPLE, [])
    chosen = {sample[round(i)] for i in np.linspace(0, len(sample) - 1, min(_SAMPLE_ROWS, len(sample)))}
    queues = [_outside_in(rows) for _, rows in sorted(by_origin.items())]
    while len(chosen) < _MAX_ROWS and any(queues):
        for queue in queues:
            if queue and len(chosen) < _MAX_ROWS:
                chosen.add(queue.pop())
    return sorted(chosen)


def _outside_in(rows: list[int]) -> list[int]:
    """Order rows so that any number of them taken from the end is spread over all rows."""
    order = sorted(range(len(rows)), key=lambda i: f"{i:032b}"[::-1])
    return [rows[i] for i in reversed(order)]
