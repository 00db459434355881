"""The sample of a saved model: rows of a file, with the columns and dtypes that the model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost

from scorewire_training.export.errors import ExportError
from scorewire_training.export.lowering.sample_columns import fitted_names, sample_names
from scorewire_training.export.saved_models.categories import TRUTHS, Categories, find_categories, is_missing
from scorewire_training.export.saved_models.model_file import SavedModel
from scorewire_training.export.saved_models.notes import notes_of
from scorewire_training.export.trees.xgboost_categories import stored_categories


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFile:
    """The rows of a sample file; `notes` tell people what the files leave open and how it was read."""

    frame: pd.DataFrame
    notes: tuple[str, ...]


def read_sample(
    path: Path,
    model: SavedModel,
    *,
    target_column: str | None = None,
    categories: Categories | None = None,
) -> SampleFile:
    """Read the rows of a CSV or Parquet file, with the columns and dtypes that the model takes.

    In a CSV file an empty cell, NA, NaN, null and None are missing.

    Args:
        path: the file.
        model: the model that takes the rows.
        target_column: the column to leave out.
        categories: the categories of columns that the model's file does not store.

    Raises:
        ExportError: the file cannot be read, lacks a column of the model, has text in
            a column of numbers, or the categories of a column cannot be determined.
    """
    table, is_text = _read_table(path)
    if target_column is not None:
        if target_column not in table.columns:
            raise ExportError(
                f"{path} has no column {target_column!r}: its columns are {_list(table.columns)}"
            )
        table = table.drop(columns=target_column)
    booster = model.get_booster() if isinstance(model, xgboost.XGBModel) else model
    names = _names(booster, table)
    if absent := [name for name in names if name not in table.columns]:
        raise ExportError(f"{path} lacks columns that the model was fitted on: {_list(absent)}")
    given = categories or {}
    stored = stored_categories(booster) if isinstance(booster, xgboost.Booster) else {}
    found = find_categories(booster, names, table, stored, given)
    columns = {}
    for name in names:
        values = found.get(name)
        texts = values is not None and any(isinstance(value, str) for value in values)
        column = _to_numbers(path, table[name]) if is_text and not texts else table[name]
        columns[name] = column if values is None else _to_categories(column, values)
    notes = notes_of(model, table, names, found, stored=stored, given=given)
    return SampleFile(frame=pd.DataFrame(columns), notes=tuple(notes))


def _names(booster: xgboost.Booster | lightgbm.Booster, table: pd.DataFrame) -> list[str]:
    """The model's columns in its order with the table's names; all columns for a model without names."""
    names = fitted_names(booster)
    if names is None:
        return list(table.columns)
    return sample_names(names, table.columns) if isinstance(booster, lightgbm.Booster) else names


def _read_table(path: Path) -> tuple[pd.DataFrame, bool]:
    """The table of a file, and whether its cells are still texts."""
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            return pd.read_parquet(path), False
        if path.suffix.lower() == ".csv":
            return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig"), True
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise ExportError(f"{path} cannot be read as a table: {error}") from None
    raise ExportError(f"{path} is neither .csv nor .parquet: give the sample as one of them")


def _to_numbers(path: Path, column: pd.Series[Any]) -> pd.Series[Any]:
    cells = column.str.strip()
    cells = cells.map(lambda cell: TRUTHS.get(cell.lower(), cell))
    missing = is_missing(cells)
    numbers = pd.to_numeric(cells.mask(missing, "nan"), errors="coerce")
    if len(wrong := np.flatnonzero(numbers.isna() & ~missing)):
        # The header is line 1 of the file.
        raise ExportError(
            f"{path}, line {wrong[0] + 2}: column {column.name!r} has {column.iloc[wrong[0]]!r}, "
            "and the model takes numbers there"
        )
    whole = not missing.any() and bool(cells.str.fullmatch(r"[+-]?\d{1,18}").all())
    return cells.astype("int64") if whole else numbers.astype("float64")


def _to_categories(column: pd.Series[Any], categories: Sequence[Any]) -> pd.Series[Any]:
    """Convert a column to a pandas categorical; values outside the categories are missing.

    Raises:
        ExportError: no value is among the categories, which are those of another column or type.
    """
    codes = pd.Index(categories).get_indexer(pd.Index(column.astype(object)))
    there = column[~is_missing(column)]
    if len(there) and (codes < 0).all():
        raise ExportError(
            f"column {column.name!r} has {there.iloc[0]!r} and the like, and none of it is a category of the "
            f"model, such as {categories[0]!r}: give the sample with the values that the model was fitted on"
        )
    return pd.Series(
        pd.Categorical.from_codes(codes, categories=pd.Index(categories)),
        index=column.index,
        name=column.name,
    )


def _list(names: Sequence[str] | pd.Index[str] | Mapping[str, object]) -> str:
    shown = list(names)
    return ", ".join(repr(name) for name in shown[:8]) + (", ..." if len(shown) > 8 else "")
