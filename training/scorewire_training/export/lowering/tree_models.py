"""Tree ensembles: their input as their library reads it, then trees written by ourselves."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import lightgbm
import numpy as np
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.graph import ELEMENT_TYPES, ModelOutput
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.rules.encoding import lower_categories
from scorewire_training.export.lowering.sparse_counts import Term
from scorewire_training.export.lowering.symbolic_columns import Column, Matrix, Number, Text, cells
from scorewire_training.export.lowering.trees_on_counts import fold_functions
from scorewire_training.export.trees import read_trees
from scorewire_training.export.trees.ensemble import Ensemble
from scorewire_training.export.trees.model import TreeModel
from scorewire_training.export.trees.xgboost_categories import stored_categories


@dataclass(frozen=True, slots=True)
class LoweredTrees:
    """A tree ensemble in the graph; `margin` is the sum of its leaves, [rows, targets]."""

    family: str
    element_type: int
    outputs: list[ModelOutput]
    margin: str


def lower_trees(draft: Draft, model: object, matrix: Matrix) -> LoweredTrees | None:
    """A tree ensemble; None where the model is none.

    Raises:
        UnsupportedModelError: it cannot be exported faithfully.
    """
    plain = model
    categories: dict[int, list[object]] = {}
    if isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        plain, categories = _with_text_categories_as_codes(model)
    trees = read_trees(plain, by_row=matrix.sparse and not matrix.by_column)
    if trees is None:
        return None
    matrix.check_width(model, trees.feature_count)
    if matrix.framed:
        categories |= _frame_categories(draft, model, matrix)
    columns = tuple(
        lower_categories(draft, column, categories[i]) if i in categories else column
        for i, column in enumerate(matrix.columns)
    )
    thresholds, missing = trees.thresholds, trees.ensemble.missing_value
    for i, column in enumerate(columns):
        draft.add_thresholds(column, thresholds.get(i, ()))
        if missing is not None:
            draft.add_thresholds(column, [missing])
    trees, given = over_asked_words(trees, replace(matrix, columns=columns))
    drops_zeros = matrix.sparse and isinstance(model, xgboost.Booster | xgboost.XGBModel)
    trees, lowered = fold_functions(draft, trees, given, zero_is_missing=drops_zeros)
    if drops_zeros:
        lowered = _without_left_out(draft, lowered, _pattern(given, lowered))
    x = draft.tensor(lowered, ELEMENT_TYPES[trees.input_type])
    outputs, margin = trees.emit_with_margin(draft.graph, x)
    return LoweredTrees(trees.family, ELEMENT_TYPES[trees.ensemble.element_type], outputs, margin)


def over_asked_words(trees: TreeModel, matrix: Matrix) -> tuple[TreeModel, Matrix]:
    """Trees and their input; where it has words, without the columns that no tree asks about."""
    if not isinstance(trees.ensemble, Ensemble) or not any(isinstance(c, Term) for c in matrix.columns):
        return trees, matrix
    asked = trees.ensemble.features() or [0]
    trees = replace(trees, ensemble=trees.ensemble.over(asked), feature_count=len(asked))
    return trees, matrix.take(asked)


def _pattern(given: Matrix, lowered: Matrix) -> Matrix | None:
    """The pattern, but for columns that have been folded: their zeros are no counts."""
    if given.pattern is None:
        return None
    pairs = zip(given.pattern.columns, given.columns, lowered.columns, strict=True)
    return Matrix(tuple(own if after is before else after for own, before, after in pairs))


def _without_left_out(draft: Draft, matrix: Matrix, pattern: Matrix | None) -> Matrix:
    """XGBoost takes for missing what a sparse matrix leaves out: its zeros, or those of an earlier one."""
    left_out = []
    for is_counted, run in groupby((pattern or matrix).columns, key=lambda column: isinstance(column, Term)):
        part = Matrix(tuple(run))
        if is_counted:
            left_out.append(draft.graph.node("IsNaN", [draft.tensor(part, absent=np.nan)]))
        else:
            left_out.append(draft.graph.node("Equal", [draft.tensor(part), draft.constant([0.0])]))
    none = left_out[0] if len(left_out) == 1 else draft.graph.node("Concat", left_out, axis=1)
    x = draft.graph.node("Where", [none, draft.constant([np.nan]), draft.tensor(matrix)])
    return Matrix(cells(x, matrix.width))


def _frame_categories(draft: Draft, model: object, matrix: Matrix) -> dict[int, list[object]]:
    """The categories, in the order of their codes, of the pandas categoricals that a library codes itself."""
    categoricals = [
        i
        for i, column in enumerate(matrix.columns)
        if isinstance(column, Number | Text) and column.feature in draft.categories
    ]
    if isinstance(model, xgboost.Booster | xgboost.XGBModel):
        return _categories_of_xgboost(draft, model, matrix, categoricals)
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
    # scikit-learn reads a categorical's values, not its codes.
    return {}


def _categories_of_xgboost(
    draft: Draft, model: xgboost.Booster | xgboost.XGBModel, matrix: Matrix, categoricals: list[int]
) -> dict[int, list[object]]:
    """The categories that XGBoost has stored, or the sample's own.

    Raises:
        UnsupportedModelError: the sample has categories elsewhere than training had: others are taken as
            codes.
    """
    booster = model if isinstance(model, xgboost.Booster) else model.get_booster()
    stored = stored_categories(booster)
    numbers = {i for i, kind in enumerate(booster.feature_types or ()) if kind != "c"}
    wrong = (numbers & set(categoricals)) | (set(stored) - set(categoricals))
    if wrong:
        feature = _feature(matrix.columns[i := min(wrong)])
        fitted, given = ("numbers", "categories") if i in numbers else ("categories", "numbers or texts")
        raise UnsupportedModelError(
            f"the model was fitted on {fitted} in {feature!r}, and the sample has {given}",
            "pass a sample with the dtypes that the model was fitted on",
        )
    found = {}
    for i in categoricals:
        feature = _feature(matrix.columns[i])
        own = list(draft.categories[feature])
        found[i] = stored[i].settle(own, feature) if i in stored else own
    return found


def _feature(column: Column) -> str:
    return column.feature if isinstance(column, Number | Text) else ""


def _with_text_categories_as_codes(model: Any) -> tuple[Any, dict[int, list[object]]]:
    """A HistGradientBoosting that takes its text categories as codes, and those categories by feature."""
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
