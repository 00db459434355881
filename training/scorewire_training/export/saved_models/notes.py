"""Notes for people who export from files: what the files leave open, and how it was read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightgbm
import pandas as pd
import xgboost

from scorewire_training.export.lowering.sample_columns import fitted_names
from scorewire_training.export.saved_models.categories import Categories, is_missing
from scorewire_training.export.trees.lightgbm import CLASSIFIERS
from scorewire_training.export.trees.xgboost_categories import StoredCategories
from scorewire_training.export.trees.xgboost_missing import missing_of

_SHOWN = 8


def notes_of(
    model: xgboost.Booster | xgboost.XGBModel | lightgbm.Booster,
    table: pd.DataFrame,
    names: Sequence[str],
    categories: Categories,
    *,
    stored: Mapping[int, StoredCategories],
    given: Categories,
) -> Iterator[str]:
    """The notes, one sentence each.

    Args:
        model: the model from the file.
        table: the sample as its file has it.
        names: the model's columns in its order, with the names of the table.
        categories: the categories that were found for the model's columns.
        stored: the categories that an XGBoost model stores, by position of the feature.
        given: the categories that the user gave.
    """
    known = set(names)
    if left_out := [name for name in table.columns if name not in known]:
        yield f"Left out, since the model does not know them: {_list(left_out)}"
    booster = model.get_booster() if isinstance(model, xgboost.XGBModel) else model
    if fitted_names(booster) is None:
        yield f"Not in the file: names of columns; the sample's were taken in their order: {_list(names)}"
    if isinstance(booster, xgboost.Booster):
        yield from _of_xgboost(model, booster, table, names, stored=stored, given=given)
    else:
        objective = booster.dump_model(num_iteration=1).get("objective", "")
        if objective.split(" ")[0] in CLASSIFIERS:
            yield "Not in the file: whether predictions used pred_early_stop; the bundle scores without"
    for name, values in categories.items():
        if values is not None and "" in values and not isinstance(table[name].dtype, pd.CategoricalDtype):
            yield f"Read as the category '' of {name!r}, and not as missing: empty cells"
        if values is not None and (strange := _unknown_values(table[name], values)):
            yield f"Scored as missing, since the model has no such category of {name!r}: {_list(strange)}"


def _of_xgboost(
    model: Any,
    booster: xgboost.Booster,
    table: pd.DataFrame,
    names: Sequence[str],
    *,
    stored: Mapping[int, StoredCategories],
    given: Categories,
) -> Iterator[str]:
    if math.isnan(missing_of(model)):
        yield "Not in the file: a number that means missing in addition to NaN; --missing sets one"
    best, rounds = booster.attr("best_iteration"), booster.num_boosted_rounds()
    if model is booster and best is not None and int(best) + 1 < rounds:
        yield (
            f"The best of {rounds} rounds was number {int(best) + 1}, and all are used, as Booster.predict "
            f"does: save booster[: {int(best) + 1}] where predictions stopped there"
        )
    for i, kind in enumerate(booster.feature_types or ()):
        dtype = table[names[i]].dtype
        if kind == "c" and i not in stored and names[i] not in given:
            own = list(dtype.categories) if isinstance(dtype, pd.CategoricalDtype) else []
            yield f"Not in the file: categories of {names[i]!r}; the sample's dtype has {_list(own)}"


def _unknown_values(column: pd.Series[Any], values: Sequence[Any]) -> list[Any]:
    """The values of a column that are neither missing nor a category."""
    if not any(isinstance(value, str) for value in values):
        return []
    known = set(values)
    there = column[~is_missing(column)].astype(object)
    return [value for value in dict.fromkeys(there) if value not in known]


def _list(values: Sequence[Any]) -> str:
    shown = [value if isinstance(value, str) else repr(value) for value in list(values)[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(values) > _SHOWN else "")
