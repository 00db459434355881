"""Rules for missing values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn.impute import MissingIndicator, SimpleImputer

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.columnwise import kept_columns
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.prediction_tensors import as_double, lower_model, take_column
from scorewire_training.export.lowering.registry import lowers
from scorewire_training.export.lowering.rules.scaling import clip
from scorewire_training.export.lowering.symbolic_columns import (
    Cell,
    Coded,
    Column,
    Matrix,
    Text,
    beside,
    cells,
    is_null,
)


@lowers(SimpleImputer)
def lower_simple_imputer(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """Missing numbers and texts become the column's statistic; columns without one go."""
    kept = kept_columns(step)
    filled: dict[int, Column] = {}
    numbers = [i for i in kept if not isinstance(matrix.columns[i], Text)]
    if numbers:
        x = draft.tensor(matrix.take(numbers))
        fillers = draft.constant([float(step.statistics_[i]) for i in numbers])
        mask = is_missing(draft, step, matrix.take(numbers), x)
        tensor = draft.graph.node("Where", [mask, fillers, x])
        filled.update(zip(numbers, cells(tensor, len(numbers)), strict=True))
    for i in kept:
        column = matrix.columns[i]
        if isinstance(column, Text):
            filled[i] = _fill_text(draft, step, column, step.statistics_[i])
    result = matrix.take(kept).changed(tuple(filled[i] for i in kept))
    if step.add_indicator:
        watched = Matrix(tuple(indicators(draft, step.indicator_, matrix)))
        result = beside([result, watched], sparse=matrix.sparse)
    return replace(result, by_column=matrix.sparse)


@lowers("sklearn.impute._iterative.IterativeImputer")
def lower_iterative_imputer(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """Each round, the missing values of one column after the other become what its model makes of others.

    A row without any value gets the first fillers where scikit-learn is given it
    alone, and the models' values where it is given others too; here always those.
    """
    if step.sample_posterior:
        raise UnsupportedModelError(
            "IterativeImputer with sample_posterior=True draws what it fills in by lot",
            "fit it with sample_posterior=False",
        )
    initial = step.initial_imputer_
    kept = kept_columns(initial)
    own = matrix.take(kept)
    x = draft.tensor(own)
    columns = list(lower_simple_imputer(draft, initial, matrix).columns)
    missing = is_missing(draft, step, own, x)
    for feature, neighbors, estimator in step.imputation_sequence_:
        given = Matrix(tuple(columns[i] for i in neighbors))
        member = lower_model(draft, estimator, given)
        value = clip(
            draft,
            as_double(draft, member, member.value, step),
            float(step._min_value[feature]),
            float(step._max_value[feature]),
        )
        lacks = take_column(draft, missing, int(feature))
        before = draft.tensor(Matrix((columns[feature],)))
        columns[feature] = Cell(draft.graph.node("Where", [lacks, value, before]), 0, 1)
    if step.add_indicator:
        columns.extend(indicators(draft, step.indicator_, matrix))
    return Matrix(tuple(columns))


@lowers(MissingIndicator)
def lower_missing_indicator(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """1 where a value is missing, else 0."""
    return Matrix(tuple(indicators(draft, step, matrix)), sparse=step.sparse is True)


def indicators(draft: Draft, indicator: Any, matrix: Matrix) -> list[Column]:
    """A column for each that the indicator watches."""
    watched = [int(index) for index in indicator.features_]
    result: dict[int, Column] = {}
    numbers = [i for i in watched if not isinstance(matrix.columns[i], Text)]
    if numbers:
        x = draft.tensor(matrix.take(numbers))
        mask = draft.cast(is_missing(draft, indicator, matrix.take(numbers), x), TensorProto.DOUBLE)
        result.update(zip(numbers, cells(mask, len(numbers)), strict=True))
    for i in watched:
        column = matrix.columns[i]
        if isinstance(column, Text):
            spellings = _spell(draft, indicator, column)
            answers = {_means_missing(indicator, spelling) for spelling in spellings}
            if len(answers) > 1:
                raise UnsupportedModelError(
                    f"missing texts of {column.feature!r} are spelt in ways that a"
                    f" {type(indicator).__name__} tells apart: {spellings}",
                    "spell them all in one way before the model is fitted",
                )
            values = {"": float(answers.pop())}
            result[i] = Coded(column.feature, column.fold, values, 0.0, strict=False)
    return [result[i] for i in watched]


def _spell(draft: Draft, step: Any, column: Text) -> tuple[object, ...]:
    """How missing texts are spelt; where the sample has none, as the step takes them for missing."""
    if column.spellings:
        return column.spellings
    draft.missing_texts.setdefault(column.feature, step.missing_values)
    return (draft.missing_texts[column.feature],)


def _fill_text(draft: Draft, step: Any, column: Text, filler: object) -> Text:
    if isinstance(step.missing_values, str) and step.missing_values:
        raise UnsupportedModelError(
            f"the SimpleImputer takes the text {step.missing_values!r} for missing",
            f"turn {step.missing_values!r} into missing values before the model is fitted",
        )
    if not isinstance(filler, str):
        raise UnsupportedModelError(
            f"the SimpleImputer fills the text column {column.feature!r} with {filler!r}",
            "fill it with a text",
        )
    filled = [
        filler if _means_missing(step, spelling) else spelling for spelling in _spell(draft, step, column)
    ]
    return replace(column, spellings=tuple(dict.fromkeys(filled)))


def _means_missing(step: Any, value: object) -> bool:
    """Whether a step takes a value of a text column for missing."""
    wanted = step.missing_values
    if wanted is None:
        return value is None
    if is_null(wanted):
        # NaN and pd.NA, which scikit-learn turns into NaN; None is neither.
        return is_null(value) and value is not None
    return bool(value == wanted)


def is_missing(draft: Draft, step: Any, matrix: Matrix, x: str) -> str:
    """Where the tensor `x` of the matrix's numbers is missing, as the step sees it; bool."""
    wanted = step.missing_values
    if is_null(wanted):
        return draft.graph.node("IsNaN", [x])
    if not isinstance(wanted, int | float | np.number):
        raise UnsupportedModelError(
            f"{type(step).__name__} takes {wanted!r} for a missing number",
            "use numpy.nan for missing numbers",
        )
    for column in matrix.columns:
        draft.add_thresholds(column, [float(wanted)])
    return draft.graph.node("Equal", [x, draft.constant([float(wanted)])])
