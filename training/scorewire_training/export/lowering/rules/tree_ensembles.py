"""Tree ensembles: the inputs as the library reads them, then one TreeEnsemble node."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from typing import Any

import lightgbm
import numpy as np
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.graph import ELEMENT_TYPES, ModelOutput
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import PredictionTensors, multilabel_prediction
from scorewire_training.export.lowering.registry import lowers_other_models
from scorewire_training.export.lowering.rules.encoding import lower_categories
from scorewire_training.export.lowering.sparse_counts import CountColumn
from scorewire_training.export.lowering.symbolic_columns import (
    Column,
    RawNumber,
    RawText,
    SymbolicColumns,
    tensor_columns,
)
from scorewire_training.export.lowering.trees_on_counts import replace_by_counts
from scorewire_training.export.trees import read_trees
from scorewire_training.export.trees.ensemble import Ensemble
from scorewire_training.export.trees.model import TreeModel
from scorewire_training.export.trees.xgboost_categories import stored_categories


@lowers_other_models
def lower_trees(builder: GraphBuilder, model: object, inputs: SymbolicColumns) -> PredictionTensors | None:
    """A tree ensemble, subclasses of its library's classes included; None for any other model.

    The decision is the sum of the leaves, where the model has a decision_function.

    Raises:
        UnsupportedModelError: the model has no exact translation.
    """
    plain = model
    categories: dict[int, list[object]] = {}
    if isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        plain, categories = _with_text_categories_as_codes(model)
    trees = read_trees(plain, by_row=inputs.sparse and not inputs.by_column)
    if trees is None:
        return None
    inputs.check_width(model, trees.feature_count)
    if inputs.framed:
        categories |= _frame_categories(builder, model, inputs)
    columns = tuple(
        lower_categories(builder, column, categories[i]) if i in categories else column
        for i, column in enumerate(inputs.columns)
    )
    thresholds, missing = trees.thresholds, trees.ensemble.missing_value
    for i, column in enumerate(columns):
        builder.add_thresholds(column, thresholds.get(i, ()))
        if missing is not None:
            builder.add_thresholds(column, [missing])
    trees, given = without_unread_words(trees, replace(inputs, columns=columns))
    drops_zeros = inputs.sparse and isinstance(model, xgboost.Booster | xgboost.XGBModel)
    trees, lowered = replace_by_counts(builder, trees, given, zero_is_missing=drops_zeros)
    if drops_zeros:
        lowered = _without_left_out(builder, lowered, _pattern(given, lowered))
    x = builder.tensor(lowered, ELEMENT_TYPES[trees.input_type])
    outputs, margin = trees.emit_with_margin(builder.graph, x)
    by_target = groupby(outputs, key=lambda output: output.target)
    labels = [_one_label(trees, own) for _, own in by_target]
    if len(labels) > 1:
        return multilabel_prediction(builder, trees.family, labels)
    return replace(labels[0], decision=margin if hasattr(model, "decision_function") else None)


def _one_label(trees: TreeModel, outputs: Iterable[ModelOutput]) -> PredictionTensors:
    parts = {output.kind: output for output in outputs}
    value = parts.get(schema_pb2.OUTPUT_KIND_NUMBER)
    label = parts.get(schema_pb2.OUTPUT_KIND_CLASS)
    probabilities = parts.get(schema_pb2.OUTPUT_KIND_PROBABILITY)
    told = value or probabilities
    return PredictionTensors(
        family=trees.family,
        element_type=ELEMENT_TYPES[trees.ensemble.element_type],
        value=value.tensor if value else None,
        width=value.width if value else 1,
        class_labels=label.class_labels if label else (),
        label=label.tensor if label else None,
        probabilities=probabilities.tensor if probabilities else None,
        is_exact=trees.is_exact,
        margin=told.margin if told else None,
        without_margin=told.without_margin if told else "",
    )


def without_unread_words(trees: TreeModel, inputs: SymbolicColumns) -> tuple[TreeModel, SymbolicColumns]:
    """Trees and their inputs; if these have counts of terms, without the columns that no tree reads."""
    if not isinstance(trees.ensemble, Ensemble) or not any(
        isinstance(c, CountColumn) for c in inputs.columns
    ):
        return trees, inputs
    asked = trees.ensemble.features() or [0]
    trees = replace(trees, ensemble=trees.ensemble.over(asked), feature_count=len(asked))
    return trees, inputs.take(asked)


def _pattern(given: SymbolicColumns, lowered: SymbolicColumns) -> SymbolicColumns | None:
    """The pattern of the inputs, with the new columns where columns became counts of thresholds."""
    if given.pattern is None:
        return None
    pairs = zip(given.pattern.columns, given.columns, lowered.columns, strict=True)
    return SymbolicColumns(tuple(own if after is before else after for own, before, after in pairs))


def _without_left_out(
    builder: GraphBuilder, inputs: SymbolicColumns, pattern: SymbolicColumns | None
) -> SymbolicColumns:
    """Replace entries that a sparse matrix leaves out by NaN, as XGBoost reads them."""
    left_out = []
    for is_counted, run in groupby(
        (pattern or inputs).columns, key=lambda column: isinstance(column, CountColumn)
    ):
        part = SymbolicColumns(tuple(run))
        if is_counted:
            left_out.append(builder.graph.node("IsNaN", [builder.tensor(part, absent=np.nan)]))
        else:
            left_out.append(builder.graph.node("Equal", [builder.tensor(part), builder.constant([0.0])]))
    none = left_out[0] if len(left_out) == 1 else builder.graph.node("Concat", left_out, axis=1)
    x = builder.graph.node("Where", [none, builder.constant([np.nan]), builder.tensor(inputs)])
    return SymbolicColumns(tensor_columns(x, inputs.width))


def _frame_categories(
    builder: GraphBuilder, model: object, inputs: SymbolicColumns
) -> dict[int, list[object]]:
    """By position, the categories of pandas categoricals that a library reads by their codes."""
    categoricals = [
        i
        for i, column in enumerate(inputs.columns)
        if isinstance(column, RawNumber | RawText) and column.feature in builder.categories
    ]
    if isinstance(model, xgboost.Booster | xgboost.XGBModel):
        return _categories_of_xgboost(builder, model, inputs, categoricals)
    if not categoricals:
        return {}
    if isinstance(model, lightgbm.Booster | lightgbm.LGBMModel):
        booster = model if isinstance(model, lightgbm.Booster) else model.booster_
        listed = booster.pandas_categorical or []
        if len(listed) != len(categoricals):
            raise UnsupportedModelError(
                f"the model was fitted on {len(listed)} categorical columns, the sample has"
                f" {len(categoricals)}",
                "pass a sample with the dtypes that the model was fitted on",
            )
        return {i: list(values) for i, values in zip(categoricals, listed, strict=True)}
    # scikit-learn reads the values of a categorical, not its codes.
    return {}


def _categories_of_xgboost(
    builder: GraphBuilder,
    model: xgboost.Booster | xgboost.XGBModel,
    inputs: SymbolicColumns,
    categoricals: list[int],
) -> dict[int, list[object]]:
    """The categories that XGBoost stored, or else the sample's own.

    Raises:
        UnsupportedModelError: the sample and the training data have categories in
            different columns.
    """
    booster = model if isinstance(model, xgboost.Booster) else model.get_booster()
    stored = stored_categories(booster)
    numbers = {i for i, kind in enumerate(booster.feature_types or ()) if kind != "c"}
    wrong = (numbers & set(categoricals)) | (set(stored) - set(categoricals))
    if wrong:
        feature = _feature(inputs.columns[i := min(wrong)])
        fitted, given = ("numbers", "categories") if i in numbers else ("categories", "numbers or texts")
        raise UnsupportedModelError(
            f"the model was fitted on {fitted} in {feature!r}, and the sample has {given}",
            "pass a sample with the dtypes that the model was fitted on",
        )
    found = {}
    for i in categoricals:
        feature = _feature(inputs.columns[i])
        own = list(builder.categories[feature])
        found[i] = stored[i].complete(own, feature) if i in stored else own
    return found


def _feature(column: Column) -> str:
    return column.feature if isinstance(column, RawNumber | RawText) else ""


def _with_text_categories_as_codes(model: Any) -> tuple[Any, dict[int, list[object]]]:
    """A copy of a HistGradientBoosting that takes text categories as codes, and the categories by feature."""
    if getattr(model, "_preprocessor", None) is None or model.is_categorical_ is None:
        return model, {}
    encoder = model._preprocessor.named_transformers_["encoder"]
    features = np.flatnonzero(model.is_categorical_)
    texts = {
        place: [category for category in categories.tolist() if isinstance(category, str)]
        for place, categories in enumerate(encoder.categories_)
        if np.asarray(categories).dtype.kind not in "biuf"
    }
    if not texts:
        return model, {}
    coded = copy.copy(model)
    coded._preprocessor = copy.deepcopy(model._preprocessor)
    own = coded._preprocessor.named_transformers_["encoder"].categories_
    for place, known in texts.items():
        own[place] = np.concatenate(
            [np.arange(len(known), dtype=np.float64), np.full(len(own[place]) - len(known), np.nan)]
        )
    return coded, {int(features[place]): list(known) for place, known in texts.items()}
