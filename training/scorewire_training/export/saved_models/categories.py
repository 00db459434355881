"""The categories of a saved model's columns, which its file may not store.

A tree compares the code of a category: its position in the list of categories that
the column's dtype had in training. XGBoost stores these lists from 3.1 on. LightGBM
stores the lists without the names of their columns. If a file and a sample can be
matched in several ways, the user must say which one is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import lightgbm
import pandas as pd
import xgboost

from scorewire_training.export.errors import ExportError
from scorewire_training.export.trees.xgboost_categories import StoredCategories

# The categories by column; None for a column whose cells are codes.
Categories: TypeAlias = Mapping[str, Sequence[Any] | None]

_CODES = "codes"
TRUTHS = {"true": "1", "false": "0"}
_MISSING = frozenset({"", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None"})
_HOW = (
    "give them by --categories FILE, a JSON object such as "
    '{"colour": ["blue", "red"]}, each list as list(train["colour"].cat.categories) has it, or '
    '{"colour": "codes"} where the sample has the codes; or, of texts, give the sample as Parquet with the '
    "dtypes of training"
)


def is_missing(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Whether each cell of a column of texts is missing."""
    return cells.isin(_MISSING) | cells.isna()


def read_categories(path: Path) -> Categories:
    """Read categories by column from a JSON file.

    Raises:
        ExportError: the file cannot be read, or is not an object of lists of categories.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise ExportError(f'{path} is not a JSON object such as {{"colour": ["blue", "red"]}}')
    return {str(column): _checked(path, column, values) for column, values in content.items()}


def _checked(path: Path, column: str, values: object) -> list[Any] | None:
    if values == _CODES:
        return None
    if not isinstance(values, list) or not values:
        raise ExportError(f'{path}: {column!r} has neither a list of categories nor "{_CODES}"')
    if {type(value) for value in values} not in ({str}, {int}, {float}, {bool}):
        raise ExportError(f"{path}: the categories of {column!r} are not all texts, or all numbers")
    if len(set(values)) != len(values):
        raise ExportError(f"{path}: {column!r} has a category twice")
    return values


def find_categories(
    model: xgboost.Booster | lightgbm.Booster,
    names: Sequence[str],
    table: pd.DataFrame,
    stored: Mapping[int, StoredCategories],
    given: Categories,
) -> Categories:
    """Find the categories of the model's columns.

    Args:
        model: the model from the file.
        names: the model's columns in its order, with the names of the table.
        table: the rows of the sample; cells of a CSV file are texts.
        stored: the categories that an XGBoost model stores, by position of the feature.
        given: the categories that the user gave.

    Raises:
        ExportError: the categories of a column cannot be determined, or those of the
            user contradict the model.
    """
    if unknown := sorted(set(given) - set(names)):
        raise ExportError(f"--categories has {unknown[0]!r}, which is not a column of the model")
    if isinstance(model, lightgbm.Booster):
        return _of_lightgbm(model, names, table, given)
    return _of_xgboost(model, names, table, stored, given)


def _of_xgboost(
    booster: xgboost.Booster,
    names: Sequence[str],
    table: pd.DataFrame,
    stored: Mapping[int, StoredCategories],
    given: Categories,
) -> Categories:
    types = booster.feature_types or [""] * len(names)
    categorical = [i for i, kind in enumerate(types) if kind == "c"]
    if plain := sorted(set(given) - {names[i] for i in categorical}):
        raise ExportError(f"--categories has {plain[0]!r}, which the model takes as a number")
    return {names[i]: _one_of_xgboost(names[i], stored.get(i), table[names[i]], given) for i in categorical}


def _one_of_xgboost(
    name: str, stored: StoredCategories | None, column: pd.Series[Any], given: Categories
) -> Sequence[Any] | None:
    own = given.get(name)
    if own is None and isinstance(column.dtype, pd.CategoricalDtype):
        own = column.dtype.categories.tolist()
    if stored is None:
        if own is None and name not in given:
            raise ExportError(
                f"the file has no categories of {name!r}, as XGBoost before 3.1 saved none: {_HOW}"
            )
        return own
    if name in given and own is None:
        raise ExportError(f"--categories says that {name!r} holds codes, and the file has its categories")
    if own is not None:
        settled = stored.complete(own, name)
        if name in given and settled != list(own):
            raise ExportError(f"--categories has others for {name!r} than the file: {settled[:8]}")
        return settled
    if stored.values is None or not (stored.is_ascii or _holds(column, stored.values)):
        raise ExportError(
            f"the file has cut the categories of {name!r} that are not ASCII, as XGBoost before 3.4 "
            f"does: {_HOW}"
        )
    return list(stored.values)


def _of_lightgbm(
    booster: lightgbm.Booster, names: Sequence[str], table: pd.DataFrame, given: Categories
) -> Categories:
    listed = [list(values) for values in booster.pandas_categorical or []]
    if not listed:
        if coded := next((name for name, values in given.items() if values is not None), None):
            raise ExportError(f"--categories has {coded!r}, and the model's file has no categories")
        return {}
    chosen = [name for name in names if given.get(name) is not None]
    if not chosen:
        chosen = [name for name in names if isinstance(table[name].dtype, pd.CategoricalDtype)]
    if not chosen:
        chosen = _only_reading(booster, names, table, listed)
    if len(chosen) != len(listed):
        raise ExportError(
            f"the file has the categories of {len(listed)} columns, and {len(chosen)} columns are said to "
            f"have some: {_HOW}"
        )
    for name, values in zip(chosen, listed, strict=True):
        own = given.get(name)
        if own is not None and list(own) != values:
            raise ExportError(f"--categories has others for {name!r} than the file: {values[:8]}")
    return dict(zip(chosen, listed, strict=True))


def _only_reading(
    booster: lightgbm.Booster, names: Sequence[str], table: pd.DataFrame, listed: Sequence[Sequence[Any]]
) -> list[str]:
    """Find the columns of LightGBM's lists of categories from the cells of the sample.

    The lists are in the order of the columns. A column of texts has a list. A column
    of numbers has one only if all its cells are in the list, and if its codes in
    training were positions of the list.

    Raises:
        ExportError: no assignment of lists to columns is possible, or several are.
    """
    infos = booster.dump_model(num_iteration=1)["feature_infos"]
    sample_names = booster.feature_name()
    numeric = [_is_numeric(table[name]) for name in names]
    # For each number of lists used by the first columns: how many assignments exist (2 for more), and one.
    nothing: tuple[int, list[str]] = (0, [])
    readings: list[tuple[int, list[str]]] = [(1, []), *[nothing] * len(listed)]
    for name, own_name, is_numeric in zip(names, sample_names, numeric, strict=True):
        following = list(readings) if is_numeric else [nothing] * len(readings)
        for used, values in enumerate(listed):
            count, chosen = readings[used]
            if count and _fits(infos.get(own_name, {}), len(values)) and _may_hold(table[name], values):
                before, other = following[used + 1]
                following[used + 1] = (min(before + count, 2), other if before else [*chosen, name])
        readings = following
    count, chosen = readings[-1]
    if count == 1:
        return chosen
    reason = "can be of more columns than one" if count else "are of no columns of this sample"
    raise ExportError(
        f"the file has the categories of {len(listed)} columns without saying of which, and they {reason}: "
        f"{_HOW}"
    )


def _fits(info: Mapping[str, Any], count: int) -> bool:
    """Whether the values of a column in training can be codes of this number of categories."""
    codes = [*info.get("values", ()), *(info[key] for key in ("min_value", "max_value") if key in info)]
    return all(-1 <= code < count for code in codes)


def _is_numeric(column: pd.Series[Any]) -> bool:
    """Whether all cells that are not missing are numbers; true and false count as numbers."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return False
    return not bool(_numbers(column).isna().any())


def _may_hold(column: pd.Series[Any], values: Sequence[Any]) -> bool:
    """Whether these may be a column's categories; a sample may have new texts."""
    if all(isinstance(value, str) for value in values) and not _is_numeric(column):
        return True
    return _holds(column, values)


def _holds(column: pd.Series[Any], values: Sequence[Any]) -> bool:
    """Whether all cells that are not missing are among the categories."""
    if all(isinstance(value, str) for value in values):
        return set(column[~is_missing(column)].astype(object)) <= set(values)
    return set(_numbers(column)) <= {float(value) for value in values}


def _numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """The cells that are not missing as numbers, NaN for other texts."""
    cells = column[~is_missing(column)].astype(object)
    spelt = cells.map(lambda cell: TRUTHS.get(cell.strip().lower(), cell) if isinstance(cell, str) else cell)
    return pd.to_numeric(spelt, errors="coerce")
