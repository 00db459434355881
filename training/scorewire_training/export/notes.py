"""What neither a saved model nor a sample says, and how it was read: for whoever exports from files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import lightgbm
import pandas as pd
import xgboost

from scorewire_training.export.categories import Categories, is_missing
from scorewire_training.export.trees.xgboost_categories import stored_categories
from scorewire_training.export.trees.xgboost_missing import missing_of

_SHOWN = 8


def notes_of(
    model: xgboost.Booster | xgboost.XGBModel | lightgbm.Booster,
    table: pd.DataFrame,
    names: Sequence[str],
    categories: Categories,
    given: Categories,
) -> Iterator[str]:
    """Sentences for people.

    Args:
        model: what was in the file.
        table: the sample as its file has it.
        names: the model's columns in its order, as the table calls them.
        categories: of the model's columns, as they were found.
        given: those of the user.
    """
    known = set(names)
    if left_out := [name for name in table.columns if name not in known]:
        yield f"Left out, since the model does not know them: {_list(left_out)}"
    booster = model.get_booster() if isinstance(model, xgboost.XGBModel) else model
    if isinstance(booster, xgboost.Booster):
        yield from _of_xgboost(model, booster, table, names, given)
    else:
        if not has_names(booster):
            yield _by_place(names)
        if booster.dump_model(num_iteration=1).get("objective", "").split(" ")[0] in {
            "binary",
            "multiclass",
            "multiclassova",
        }:
            yield "Not in the file: whether predictions used pred_early_stop; the bundle scores without"
    for name, values in categories.items():
        if values is not None and "" in values and not isinstance(table[name].dtype, pd.CategoricalDtype):
            yield f"Read as the category '' of {name!r}, and not as missing: empty cells"
        if values is not None and (strange := _strange(table[name], values)):
            yield f"Scored as missing, since the model has no such category of {name!r}: {_list(strange)}"


def has_names(booster: xgboost.Booster | lightgbm.Booster) -> bool:
    """Whether a booster knows the names of its columns."""
    if isinstance(booster, xgboost.Booster):
        return booster.feature_names is not None
    names = booster.feature_name()
    return bool(names != [f"Column_{i}" for i in range(len(names))])


def _of_xgboost(
    model: Any, booster: xgboost.Booster, table: pd.DataFrame, names: Sequence[str], given: Categories
) -> Iterator[str]:
    if not has_names(booster):
        yield _by_place(names)
    if math.isnan(missing_of(model)):
        yield "Not in the file: a number for missing beside NaN; --missing gives one"
    best, rounds = booster.attr("best_iteration"), booster.num_boosted_rounds()
    if model is booster and best is not None and int(best) + 1 < rounds:
        yield (
            f"The best of {rounds} rounds was number {int(best) + 1}, and all are used, as Booster.predict "
            f"does: save booster[: {int(best) + 1}] where predictions stopped there"
        )
    stored = stored_categories(booster)
    for i, kind in enumerate(booster.feature_types or ()):
        dtype = table[names[i]].dtype
        if kind == "c" and i not in stored and names[i] not in given:
            own = list(dtype.categories) if isinstance(dtype, pd.CategoricalDtype) else []
            yield f"Not in the file: categories of {names[i]!r}; the sample's dtype has {_list(own)}"


def _by_place(names: Sequence[str]) -> str:
    return f"Not in the file: names of columns; the sample's were taken in their order: {_list(names)}"


def _strange(column: pd.Series[Any], values: Sequence[Any]) -> list[Any]:
    """What a column has that is no category, but for what is missing."""
    if not any(isinstance(value, str) for value in values):
        return []
    known = set(values)
    there = column[~is_missing(column)].astype(object)
    return [value for value in dict.fromkeys(there) if value not in known]


def _list(values: Sequence[Any]) -> str:
    shown = [value if isinstance(value, str) else repr(value) for value in list(values)[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(values) > _SHOWN else "")
