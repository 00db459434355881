"""The trial: the rows tried, what the fitted model says of them, and what the bundle says."""

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
from scorewire_training.export.parity.hard_rows import SAMPLE, ComparisonRows, construct_rows, join
from scorewire_training.export.tolerance import Tolerance


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows, and the two sides' answers to them, row by row."""

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
    """Let the fitted model and the bundle score the sample and the hard rows made from it.

    Args:
        fitted_model: the fitted model.
        codec: from rows to the frames that it takes.
        scorer: the bundle.
        lowered: what is known of the model's features.
        sample: rows of the sample.
        sample_scores: the fitted model's answers to them, of the very frame
            that they were read from.
        ranges: the smallest and the largest number that the model takes, by number feature.
        tolerances: what a user allows, by output.
        report_stage: called with what is done next, and how far it is.

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
    report_stage("Looking for jumps of the fitted model's scores")
    compared = join(constructed, _rows_at_discontinuities(fitted_model, codec, sample, lowered))
    bundle = score_rows(scorer, compared.rows, tolerances, report_stage)
    kept = _without_repeated_refusals(compared, bundle)
    compared, bundle = compared.take(kept), bundle.take(kept)
    report_stage(f"Asking the fitted model for its scores ({len(compared):,} rows)")
    fitted = _ask(fitted_model, codec, compared, sample_scores, bundle)
    settled = _without_one_sided_limits(compared, fitted, bundle)
    return Comparison(compared.take(settled), fitted.take(settled), bundle.take(settled))


def _without_repeated_refusals(compared: ComparisonRows, scores: BundleScores) -> list[int]:
    """The rows to compare: of those that are refused for one change, one is enough.

    A refusal is found by asking the fitted model about that row alone, which is slow.
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
    """Rows at the jumps along the number features whose thresholds nobody knows.

    The class alone is not asked for: it jumps wherever two classes are even, and
    there the last bit of a sum decides. Nor are models of what is near, which jump
    where two rows of training are equally near.
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
    """The rows to compare: a limit for all rows also bars what the model takes in some only."""
    out_of_range = {
        error.row for error in scores.errors if error.reason == errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE
    }
    return [
        row
        for row in range(len(compared))
        if row not in out_of_range or fitted.refused[row] or compared.origins[row] == SAMPLE
    ]


def _ask(
    fitted_model: FittedModel,
    codec: FrameCodec,
    compared: ComparisonRows,
    sample_scores: FittedScores,
    scores: BundleScores,
) -> FittedScores:
    """The fitted model's answers: those for the sample, then for the rows made from it."""
    begin = len(sample_scores.refused)
    outputs = [np.full((len(compared), values.shape[1]), np.nan) for values in sample_scores.outputs]
    refused = np.zeros(len(compared), dtype=np.bool_)
    by_bundle = np.array([row for row in scores.refused if row >= begin], dtype=np.intp)
    others = np.setdiff1d(np.arange(begin, len(compared)), by_bundle)
    for group, likely_refused in ((others, False), (by_bundle, True)):
        if not len(group):
            continue
        frame = codec.to_frame(compared.rows.take(group))
        answers = fitted_model.score_or_refuse(frame, likely_refused=likely_refused)
        refused[group] = answers.refused
        for whole, part in zip(outputs, answers.outputs, strict=True):
            whole[group] = part
    for whole, part in zip(outputs, sample_scores.outputs, strict=True):
        whole[:begin] = part
    return FittedScores(outputs, refused)
