"""The categories of a saved model's columns, which its file may not tell.

A tree asks for the code of a category, its place in the list that the column's
dtype had in training. XGBoost keeps that list from 3.1 on; LightGBM keeps the
lists, and not whose they are. Where a file and a sample can be read together in
more ways than one, nobody but the user knows which is right.
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

# Of each column that has some; None where the sample holds their codes.
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
    """Which cells of a column of texts are missing."""
    return cells.isin(_MISSING) | cells.isna()


def read_categories(path: Path) -> Categories:
    """Categories by column from a JSON file.

    Raises:
        ExportError: it is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise ExportError(f'{path} is no JSON object such as {{"colour": ["blue", "red"]}}')
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
    """The categories of the model's columns.

    Args:
        model: what has them.
        names: the model's columns in its order, as the table calls them.
        table: rows of the sample; cells of a CSV file are texts.
        stored: of features by their place, what the file of an XGBoost model has.
        given: what the user says.

    Raises:
        ExportError: they cannot be known, or the user and the model differ.
    """
    if unknown := sorted(set(given) - set(names)):
        raise ExportError(f"--categories has {unknown[0]!r}, which is no column of the model")
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
        settled = stored.settle(own, name)
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
    """Whose the lists are, by what the sample's cells can be.

    The lists are in the order of the columns. A column of texts has one, and one
    of numbers only where it holds nothing else, and its codes in training were
    within it.

    Raises:
        ExportError: there is no such reading, or more than one.
    """
    infos = booster.dump_model(num_iteration=1)["feature_infos"]
    sample_names = booster.feature_name()
    numeric = [_is_numeric(table[name]) for name in names]
    # How many readings there are of the first columns that use the first lists, two at most, and one of them.
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
    """Whether what a column held in training can be codes of so many categories."""
    codes = [*info.get("values", ()), *(info[key] for key in ("min_value", "max_value") if key in info)]
    return all(-1 <= code < count for code in codes)


def _is_numeric(column: pd.Series[Any]) -> bool:
    """Whether all cells that are there are numbers, as which truths count, too."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return False
    return not bool(_numbers(column).isna().any())


def _may_hold(column: pd.Series[Any], values: Sequence[Any]) -> bool:
    """Whether a column's categories may be these; texts of a sample may be new."""
    if all(isinstance(value, str) for value in values) and not _is_numeric(column):
        return True
    return _holds(column, values)


def _holds(column: pd.Series[Any], values: Sequence[Any]) -> bool:
    """Whether all cells that are there are among categories."""
    if all(isinstance(value, str) for value in values):
        return set(column[~is_missing(column)].astype(object)) <= set(values)
    return set(_numbers(column)) <= {float(value) for value in values}


def _numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """The cells that are there as numbers, NaN where they are none."""
    cells = column[~is_missing(column)].astype(object)
    spelt = cells.map(lambda cell: TRUTHS.get(cell.strip().lower(), cell) if isinstance(cell, str) else cell)
    return pd.to_numeric(spelt, errors="coerce")
