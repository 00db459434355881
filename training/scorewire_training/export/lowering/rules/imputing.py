"""Imputers and indicators of missing values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn.impute import MissingIndicator, SimpleImputer

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import clip, take_column
from scorewire_training.export.lowering.columnwise import Columnwise
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import as_double
from scorewire_training.export.lowering.registry import lower_model, lowers_step
from scorewire_training.export.lowering.symbolic_columns import (
    Column,
    EncodedText,
    RawText,
    SymbolicColumns,
    TensorColumn,
    is_null,
    join_columns,
    tensor_columns,
)


def _sources(step: Any, _width: int) -> list[int] | None:
    return kept_columns(step) if is_null(step.missing_values) else None


@lowers_step(SimpleImputer, columnwise=Columnwise(fitted=("statistics_",), sources=_sources))
def lower_simple_imputer(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Replace missing numbers and texts by the column's statistic; drop columns without one."""
    kept = kept_columns(step)
    filled: dict[int, Column] = {}
    numbers = [i for i in kept if not isinstance(inputs.columns[i], RawText)]
    if numbers:
        x = builder.tensor(inputs.take(numbers))
        fillers = builder.constant([float(step.statistics_[i]) for i in numbers])
        mask = is_missing(builder, step, inputs.take(numbers), x)
        tensor = builder.graph.node("Where", [mask, fillers, x])
        filled.update(zip(numbers, tensor_columns(tensor, len(numbers)), strict=True))
    for i in kept:
        column = inputs.columns[i]
        if isinstance(column, RawText):
            filled[i] = _fill_text(builder, step, column, step.statistics_[i])
    result = inputs.take(kept).changed(tuple(filled[i] for i in kept))
    if step.add_indicator:
        watched = SymbolicColumns(tuple(indicators(builder, step.indicator_, inputs)))
        result = join_columns([result, watched], sparse=inputs.sparse)
    return replace(result, by_column=inputs.sparse)


@lowers_step("sklearn.impute._iterative.IterativeImputer")
def lower_iterative_imputer(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """In each round, predict the missing values of one column after the other from the other columns.

    scikit-learn fills a row without any value with the initial values if the row is
    transformed alone, and with the models' values otherwise. The graph always uses
    the models' values.
    """
    if step.sample_posterior:
        raise UnsupportedModelError(
            "IterativeImputer with sample_posterior=True draws the filled-in values at random",
            "fit it with sample_posterior=False",
        )
    initial = step.initial_imputer_
    kept = kept_columns(initial)
    own = inputs.take(kept)
    x = builder.tensor(own)
    columns = list(lower_simple_imputer(builder, initial, inputs).columns)
    missing = is_missing(builder, step, own, x)
    for feature, neighbors, estimator in step.imputation_sequence_:
        given = SymbolicColumns(tuple(columns[i] for i in neighbors))
        member = lower_model(builder, estimator, given)
        value = clip(
            builder,
            as_double(builder, member, member.value, step),
            float(step._min_value[feature]),
            float(step._max_value[feature]),
        )
        lacks = take_column(builder, missing, int(feature))
        before = builder.tensor(SymbolicColumns((columns[feature],)))
        columns[feature] = TensorColumn(builder.graph.node("Where", [lacks, value, before]), 0, 1)
    if step.add_indicator:
        columns.extend(indicators(builder, step.indicator_, inputs))
    return SymbolicColumns(tuple(columns))


@lowers_step(MissingIndicator)
def lower_missing_indicator(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """1 where a value is missing, else 0."""
    return SymbolicColumns(tuple(indicators(builder, step, inputs)), sparse=step.sparse is True)


def indicators(builder: GraphBuilder, indicator: Any, inputs: SymbolicColumns) -> list[Column]:
    """An indicator column for each column that the indicator watches."""
    watched = [int(index) for index in indicator.features_]
    result: dict[int, Column] = {}
    numbers = [i for i in watched if not isinstance(inputs.columns[i], RawText)]
    if numbers:
        x = builder.tensor(inputs.take(numbers))
        mask = builder.cast(is_missing(builder, indicator, inputs.take(numbers), x), TensorProto.DOUBLE)
        result.update(zip(numbers, tensor_columns(mask, len(numbers)), strict=True))
    for i in watched:
        column = inputs.columns[i]
        if isinstance(column, RawText):
            spellings = _spell(builder, indicator, column)
            seen = {_means_missing(indicator, spelling) for spelling in spellings}
            if len(seen) > 1:
                raise UnsupportedModelError(
                    f"missing texts of {column.feature!r} are spelt in ways that a"
                    f" {type(indicator).__name__} tells apart: {spellings}",
                    "spell them all in one way before the model is fitted",
                )
            values = {"": float(seen.pop())}
            result[i] = EncodedText(column.feature, column.fold, values, 0.0, strict=False)
    return [result[i] for i in watched]


def _spell(builder: GraphBuilder, step: Any, column: RawText) -> tuple[object, ...]:
    """The values that stand for missing texts; the step's own missing value if the sample has none."""
    if column.spellings:
        return column.spellings
    builder.missing_texts.setdefault(column.feature, step.missing_values)
    return (builder.missing_texts[column.feature],)


def _fill_text(builder: GraphBuilder, step: Any, column: RawText, filler: object) -> RawText:
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
        filler if _means_missing(step, spelling) else spelling for spelling in _spell(builder, step, column)
    ]
    return replace(column, spellings=tuple(dict.fromkeys(filled)))


def _means_missing(step: Any, value: object) -> bool:
    """Whether a step treats a value of a text column as missing."""
    wanted = step.missing_values
    if wanted is None:
        return value is None
    if is_null(wanted):
        # NaN, and pd.NA, which scikit-learn converts to NaN; not None.
        return is_null(value) and value is not None
    return bool(value == wanted)


def is_missing(builder: GraphBuilder, step: Any, inputs: SymbolicColumns, x: str) -> str:
    """Whether each number of the tensor `x` is missing to the step; bool."""
    wanted = step.missing_values
    if is_null(wanted):
        return builder.graph.node("IsNaN", [x])
    if not isinstance(wanted, int | float | np.number):
        raise UnsupportedModelError(
            f"{type(step).__name__} takes {wanted!r} for a missing number",
            "use numpy.nan for missing numbers",
        )
    for column in inputs.columns:
        builder.add_thresholds(column, [float(wanted)])
    return builder.graph.node("Equal", [x, builder.constant([float(wanted)])])


def kept_columns(imputer: SimpleImputer) -> list[int]:
    """The columns that an imputer keeps; it drops empty ones."""
    return [
        i for i, value in enumerate(imputer.statistics_) if imputer.keep_empty_features or not is_null(value)
    ]
