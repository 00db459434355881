"""The comparison rows of the parity gate, scored by the fitted model and by the bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.scoring import Scorer
from scorewire_proto.v1 import errors_pb2, schema_pb2
from scorewire_training.export.frames import FrameCodec, WireRows
from scorewire_training.export.lowering import LoweredModel
from scorewire_training.export.parity.discontinuities import find_discontinuities
from scorewire_training.export.parity.fitted_model import FittedModel, FittedScores
from scorewire_training.export.parity.gate import BundleScores, score_rows
from scorewire_training.export.parity.hard_rows import SAMPLE, ComparisonRows, construct_rows, join_rows
from scorewire_training.export.tolerance import Tolerance


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison rows, and the scores of both sides for each row."""

    compared: ComparisonRows
    fitted: FittedScores
    bundle: BundleScores


def score_both_sides(
    fitted_model: FittedModel,
    codec: FrameCodec,
    scorer: Scorer,
    lowered: LoweredModel,
    *,
    sample: WireRows,
    sample_scores: FittedScores,
    ranges: Mapping[str, tuple[float, float]],
    tolerances: Mapping[str, Tolerance],
    report_stage: Callable[[str], None],
) -> Comparison:
    """Score the sample and the hard rows made from it with the fitted model and with the bundle.

    Args:
        fitted_model: the fitted model.
        codec: converts rows to the frames that the fitted model takes.
        scorer: the bundle.
        lowered: the lowered model, with what is known of its features.
        sample: the rows of the sample to compare.
        sample_scores: the fitted model's scores for these rows, computed on the sample
            exactly as it was passed.
        ranges: the smallest and the largest number that the model accepts, by number feature.
        tolerances: the user's tolerances, by output.
        report_stage: called with a sentence for each stage and its progress.

    Raises:
        ParityError: the bundle's scores depend on which rows are scored together.
    """
    constructed = construct_rows(
        sample,
        lowered.features,
        thresholds=lowered.thresholds,
        known_texts=lowered.known_texts,
        hard_texts=lowered.hard_texts,
        ranges=ranges,
    )
    report_stage("Looking for discontinuities of the fitted model's scores")
    compared = join_rows(constructed, _rows_at_discontinuities(fitted_model, codec, sample, lowered))
    bundle = score_rows(scorer, compared.rows, tolerances, report_stage)
    kept = _without_repeated_refusals(compared, bundle)
    compared, bundle = compared.take(kept), bundle.take(kept)
    report_stage(f"Asking the fitted model for its scores ({len(compared):,} rows)")
    fitted = _score_with_model(fitted_model, codec, compared, sample_scores, bundle)
    settled = _without_one_sided_limits(compared, fitted, bundle)
    return Comparison(compared.take(settled), fitted.take(settled), bundle.take(settled))


def _without_repeated_refusals(compared: ComparisonRows, scores: BundleScores) -> list[int]:
    """Positions of the rows to compare; of the rows that the bundle refuses for one change, the first.

    A refusal of the fitted model is found by scoring that row alone, which is slow.
    """
    seen: set[tuple[str, str]] = set()
    refused = set(scores.refused)
    kept = []
    for row, key in enumerate(zip(compared.origins, compared.changes, strict=True)):
        if row in refused and key[0] != SAMPLE:
            if key in seen:
                continue
            seen.add(key)
        kept.append(row)
    return kept


def _rows_at_discontinuities(
    fitted_model: FittedModel, codec: FrameCodec, sample: WireRows, lowered: LoweredModel
) -> ComparisonRows:
    """Rows at discontinuities along the number features whose thresholds are unknown.

    Classes are not used for the search: a class changes wherever two classes are
    even, and there the last bit of a sum decides. Nor are models of nearest
    neighbours searched, which are discontinuous where two training rows are equally near.
    """
    numbers = [name for name, kind in lowered.features if kind == schema_pb2.FEATURE_KIND_NUMBER]
    asked = [i for i, o in enumerate(lowered.outputs) if o.kind != schema_pb2.OUTPUT_KIND_CLASS]
    known = numbers if lowered.only_near or not asked else lowered.thresholds
    unknown = [column for column, name in enumerate(numbers) if name not in known]

    def ask(rows: WireRows) -> list[NDArray[np.float64]]:
        outputs = fitted_model.score_or_refuse(codec.to_frame(rows)).outputs
        return [outputs[i] for i in asked]

    found, along = find_discontinuities(ask, sample, unknown)
    changes = [
        f"{numbers[column]} = {value!r}"
        for column, value in zip(along, found.numbers[np.arange(len(found)), along].tolist(), strict=True)
    ]
    return ComparisonRows(found, ("jump",) * len(found), tuple(changes))


def _without_one_sided_limits(
    compared: ComparisonRows, fitted: FittedScores, scores: BundleScores
) -> list[int]:
    """Positions of the rows to compare, without rows out of range that the model accepts.

    A limit holds for all rows, and so also bars numbers that the model accepts in some rows only.
    """
    out_of_range = {
        error.row for error in scores.errors if error.reason == errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE
    }
    return [
        row
        for row in range(len(compared))
        if row not in out_of_range or fitted.refused[row] or compared.origins[row] == SAMPLE
    ]


def _score_with_model(
    fitted_model: FittedModel,
    codec: FrameCodec,
    compared: ComparisonRows,
    sample_scores: FittedScores,
    scores: BundleScores,
) -> FittedScores:
    """The fitted model's scores: those of the sample, then those of the rows made from it."""
    begin = len(sample_scores.refused)
    outputs = [np.full((len(compared), values.shape[1]), np.nan) for values in sample_scores.outputs]
    refused = np.zeros(len(compared), dtype=np.bool_)
    by_bundle = np.array([row for row in scores.refused if row >= begin], dtype=np.intp)
    others = np.setdiff1d(np.arange(begin, len(compared)), by_bundle)
    for group, likely_refused in ((others, False), (by_bundle, True)):
        if not len(group):
            continue
        frame = codec.to_frame(compared.rows.take(group))
        fitted = fitted_model.score_or_refuse(frame, likely_refused=likely_refused)
        refused[group] = fitted.refused
        for whole, part in zip(outputs, fitted.outputs, strict=True):
            whole[group] = part
    for whole, part in zip(outputs, sample_scores.outputs, strict=True):
        whole[:begin] = part
    return FittedScores(outputs, refused)
