"""The columns that a model takes, matched with the sample."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.pipelines import class_name, steps_at_predict
from scorewire_training.export.lowering.symbolic_columns import (
    Column,
    RawNumber,
    RawText,
    SymbolicColumns,
    UnusableColumn,
    is_null,
)
from scorewire_training.releases import FrozenEstimator

# The number of typical values of a column.
_TYPICAL = 9
_ROWS_LOOKED_AT = 1_000
# The dtypes whose functions numpy computes in less than double precision.
_NARROW = ("bool", "boolean", "float16", "float32", "int8", "int16", "uint8", "uint16")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleColumns:
    """The columns of a sample that a model takes.

    Attributes:
        features: the columns that rows can hold, in the sample's order.
        inputs: all columns in the order in which the model takes them.
        categories: the categories of pandas categoricals.
        spellings: the values that stand for missing texts, by text feature.
        typical: typical numbers of each number feature, the same count for each.
        narrow: the dtypes of number features with less than double precision.
    """

    features: tuple[tuple[str, int], ...]
    inputs: SymbolicColumns
    categories: Mapping[str, tuple[object, ...]]
    spellings: Mapping[str, tuple[object, ...]]
    typical: Mapping[str, NDArray[np.float64]]
    narrow: Mapping[str, str]


def match_sample(model: object, sample: pd.DataFrame) -> SampleColumns:
    """Match a sample with the model that takes it.

    Raises:
        UnsupportedModelError: the sample is empty, lacks a column, or has its columns
            in another order than the model.
    """
    if not isinstance(sample, pd.DataFrame) or not len(sample):
        raise UnsupportedModelError(
            "the sample is not a DataFrame with rows", "pass some of the training rows"
        )
    frame = sample.set_axis([str(name) for name in sample.columns], axis=1)
    if not frame.columns.is_unique:
        raise UnsupportedModelError("two columns of the sample have one name", "rename one")
    taken = _taken(model, list(frame.columns))
    columns: dict[str, Column] = {}
    spellings: dict[str, tuple[object, ...]] = {}
    categories: dict[str, tuple[object, ...]] = {}
    typical: dict[str, NDArray[np.float64]] = {}
    narrow: dict[str, str] = {}
    for name in (name for name in frame.columns if name in set(taken)):
        values = frame[name]
        if isinstance(values.dtype, pd.CategoricalDtype):
            categories[name] = tuple(values.dtype.categories.tolist())
        try:
            is_text = _is_text(values)
        except UnsupportedModelError as error:
            columns[name] = UnusableColumn(name, error)
            continue
        if is_text:
            spellings[name] = _spellings(values)
            columns[name] = RawText(name, manifest_pb2.TEXT_FOLD_NONE, spellings[name])
        else:
            columns[name] = RawNumber(name)
            typical[name] = _typical(values)
            if str(values.dtype).lower() in _NARROW:
                narrow[name] = str(values.dtype)
    return SampleColumns(
        features=tuple(
            (
                name,
                schema_pb2.FEATURE_KIND_TEXT if isinstance(c, RawText) else schema_pb2.FEATURE_KIND_NUMBER,
            )
            for name, c in columns.items()
            if not isinstance(c, UnusableColumn)
        ),
        inputs=SymbolicColumns(
            tuple(columns.get(name) or UnusableColumn(name, _lacks(name)) for name in taken),
            framed=True,
        ),
        categories=categories,
        spellings=spellings,
        typical=typical,
        narrow=narrow,
    )


def _taken(model: object, present: list[str]) -> list[str]:
    """The sample's columns in the order in which the model takes them."""
    names = fitted_names(model)
    model = first_step(model)
    if names is None:
        count = _fitted_count(model)
        if count is not None and count != len(present):
            raise UnsupportedModelError(
                f"the model was fitted on {count} columns without names, the sample has {len(present)}",
                "pass a sample with the columns that the model was fitted on, in their order",
            )
        return present
    if isinstance(model, lightgbm.Booster | lightgbm.LGBMModel):
        names = sample_names(names, present)
    if type(model) is ColumnTransformer:
        # It finds columns by name and accepts frames without the columns that it drops.
        return names
    if missing := [name for name in names if name not in set(present)]:
        raise _lacks(missing[0])
    wanted = set(names)
    order = [name for name in present if name in wanted]
    if order != names:
        raise UnsupportedModelError(
            f"the sample has the model's columns in another order than it was fitted on: {order[:5]}...,"
            f" not {names[:5]}...",
            "reorder the sample's columns",
        )
    return names


def _lacks(name: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"the sample lacks {name!r}, which the model was fitted on",
        "pass a sample with all columns of the training data",
    )


def sample_names(names: Iterable[str], present: Iterable[str]) -> list[str]:
    """The sample's names of LightGBM's columns: LightGBM replaces white space by underscores."""
    present = list(present)
    called = {re.sub(r"\s", "_", name): name for name in present} | {name: name for name in present}
    return [called.get(name, name) for name in names]


def first_step(model: Any) -> Any:
    """The object that gets the rows first: the model inside a wrapper, the first step of a pipeline."""
    while True:
        if steps := steps_at_predict(model):
            model = steps[0]
        elif type(model) is TransformedTargetRegressor:
            model = model.regressor_
        elif type(model) is FrozenEstimator:
            model = model.estimator
        else:
            return model


def fitted_names(model: object) -> list[str] | None:
    """The names of the columns that a model was fitted on; None if the model stores no names."""
    model = first_step(model)
    if isinstance(model, xgboost.Booster):
        return None if model.feature_names is None else list(model.feature_names)
    if isinstance(model, lightgbm.Booster | lightgbm.LGBMModel):
        booster = model if isinstance(model, lightgbm.Booster) else model.booster_
        names = list(booster.feature_name())
        return None if names == [f"Column_{i}" for i in range(len(names))] else names
    if class_name(model).startswith("catboost."):
        names = list(getattr(model, "feature_names_", None) or ())
        return None if names == [str(i) for i in range(len(names))] else names
    # XGBoost's scikit-learn estimators raise AttributeError if they were fitted without names.
    fitted = getattr(model, "feature_names_in_", None)
    return None if fitted is None else [str(name) for name in fitted]


def _fitted_count(model: object) -> int | None:
    if isinstance(model, xgboost.Booster):
        return int(model.num_features())
    if isinstance(model, lightgbm.Booster):
        return int(model.num_feature())
    return getattr(model, "n_features_in_", None)


def _is_text(values: pd.Series[Any]) -> bool:
    """Whether a column holds texts; otherwise it holds numbers.

    Raises:
        UnsupportedModelError: the column holds neither texts nor numbers.
    """
    name, dtype = values.name, values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _is_text(pd.Series(dtype.categories, name=name))
    if pd.api.types.is_bool_dtype(dtype) or (
        pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype)
    ):
        return False
    if isinstance(dtype, pd.StringDtype):
        return True
    if dtype == np.dtype(object):
        kinds = {_kind(value) for value in values if not is_null(value)}
        if kinds <= {"text"}:
            return True
        if kinds == {"number"}:
            return False
        raise UnsupportedModelError(
            f"column {name!r} holds {' and '.join(sorted(kinds))}",
            "make it all text, or all numbers, before the model is fitted",
        )
    raise UnsupportedModelError(
        f"column {name!r} is of type {dtype}, and rows hold numbers and texts",
        "turn it into numbers before the model is fitted: a date into days since another, for instance",
    )


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool | int | float | np.number | np.bool_):
        return "number"
    return f"values of type {type(value).__name__}"


def _typical(values: pd.Series[Any]) -> NDArray[np.float64]:
    """Quantiles of a sample of the numbers of a column."""
    some = values.iloc[:: max(1, len(values) // _ROWS_LOOKED_AT)].astype(object)
    numbers = pd.to_numeric(some, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    finite = numbers[np.isfinite(numbers)]
    shares = np.linspace(0.0, 1.0, _TYPICAL)
    return np.quantile(finite, shares) if len(finite) else np.zeros(_TYPICAL)


def _spellings(values: pd.Series[Any]) -> tuple[object, ...]:
    """The values that stand for missing texts in a column: None, NaN, "", or several of them."""
    missing = values[values.isna()]
    # scikit-learn reads pd.NA as NaN.
    nulls: list[object] = [None if value is None else np.nan for value in missing.tolist()]
    found = [""] if bool((values == "").any()) else []
    result: list[object] = []
    if any(value is None for value in nulls):
        result.append(None)
    if any(value is not None for value in nulls):
        result.append(np.nan)
    return (*result, *found)
