"""Explains the row that the report shows: as servers will, or by SHAP values where they cannot."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from scorewire_training.evaluation.formats import format_value
from scorewire_training.export.explanation import FrameExplainer, UnexplainedError
from scorewire_training.report.explained_row import SCALES, ExplainedRow, MarginScale
from scorewire_training.report.importance import explain_row
from scorewire_training.report.typical_row import typical_row
from scorewire_training.training_result import PredictionKind, TrainingResult


def explain_typical_row(result: TrainingResult, explainer: FrameExplainer, *, seed: int) -> ExplainedRow:
    """The explanation of a row that is typical of high predictions.

    Args:
        result: the result of the training run.
        explainer: explains rows by the explanation that is going to be in the bundle.
        seed: the seed for the training rows of SHAP values.
    """
    row = typical_row(result)
    values = {str(name): _as_text(row[name].iloc[0]) for name in row.columns}
    try:
        found = explainer.explain(row)
    except UnexplainedError as error:
        return _sample(result, row, values, str(error), seed=seed)
    outputs = found.to_output(np.stack([found.base, found.margins[0]]))
    return ExplainedRow(
        values=values,
        contributions=dict(zip(found.features, found.values[0, 0].tolist(), strict=True)),
        base=float(found.base[0]),
        scale=SCALES.get(found.link, MarginScale.OTHER),
        # Of two classes, the second one's probability.
        base_output=float(outputs[0, -1]),
        output=float(outputs[1, -1]),
    )


def _sample(
    result: TrainingResult, row: pd.DataFrame, values: dict[str, str], reason: str, *, seed: int
) -> ExplainedRow:
    base, contributions = explain_row(result, row, seed=seed)
    if result.kind is PredictionKind.PROBABILITY:
        scale, unit = MarginScale.SHARE, 1.0
    else:
        scale, unit = MarginScale.LOGARITHM, math.log(10)
    end = base + sum(contributions.values())
    outputs = (base, end) if scale is MarginScale.SHARE else (10.0**base, 10.0**end)
    return ExplainedRow(
        values=values,
        contributions={name: unit * value for name, value in contributions.items()},
        base=unit * base,
        scale=scale,
        base_output=outputs[0],
        output=outputs[1],
        not_served=reason,
    )


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value or "missing"
    if pd.isna(value):  # type: ignore[call-overload]  # a scalar
        return "missing"
    return format_value(float(value))  # type: ignore[arg-type]  # a number
