"""Steps that work on each column alone: what a column was made of, and how the steps compute it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from scorewire_training.export.lowering.symbolic_columns import Cell, Column, Matrix, Number, Origin, is_null

# What each step has fitted for every column, the columns last.
_FITTED: dict[type, tuple[str, ...]] = {
    FunctionTransformer: (),
    KBinsDiscretizer: ("bin_edges_", "n_bins_"),
    MaxAbsScaler: ("scale_",),
    MinMaxScaler: ("min_", "scale_"),
    PowerTransformer: ("lambdas_",),
    QuantileTransformer: ("quantiles_",),
    RobustScaler: ("center_", "scale_"),
    SimpleImputer: ("statistics_",),
    StandardScaler: ("mean_", "scale_"),
}
# The graph computes these with numpy's bits.
_EXACT_FUNCTIONS = (np.abs, np.ceil, np.floor, np.negative, np.sign, np.sqrt, np.square)


def trace(step: object, given: Matrix, made: Matrix) -> Matrix:
    """What a step has made, its columns with their origins where the step works on each column alone."""
    sources = _sources(step, given)
    if sources is None or given.sparse or made.sparse:
        return made
    columns = list(made.columns)
    for place, source in enumerate(sources):
        column, origin = columns[place], origin_of(given.columns[source])
        if isinstance(column, Cell) and origin is not None:
            exact = origin.exact and _is_exact(step)
            told = Origin(origin.feature, (*origin.steps, (step, source)), exact)
            columns[place] = replace(column, origin=told)
    return replace(made, columns=tuple(columns))


def origin_of(column: Column) -> Origin | None:
    """The single number feature that a column was made of, and how; None where it was not."""
    if isinstance(column, Number):
        return Origin(column.feature)
    return column.origin if isinstance(column, Cell) else None


def inexact_origins(columns: Sequence[Column]) -> dict[int, Origin]:
    """By place, the origins of columns that were made of a single number feature, and not to the last bit."""
    origins = {place: origin_of(column) for place, column in enumerate(columns)}
    return {place: origin for place, origin in origins.items() if origin is not None and not origin.exact}


def kept_columns(imputer: SimpleImputer) -> list[int]:
    """The columns that an imputer does not drop as empty."""
    return [
        i for i, value in enumerate(imputer.statistics_) if imputer.keep_empty_features or not is_null(value)
    ]


def has_domain(origin: Origin) -> bool:
    """Whether a column's steps may have no finite result for a finite number, and can be computed alone."""
    return goes_one_way(origin) and any(
        isinstance(step, PowerTransformer)
        or (isinstance(step, FunctionTransformer) and step.func is not None)
        for step, _ in origin.steps
    )


def goes_one_way(origin: Origin) -> bool:
    """Whether each of a column's steps may be one that only rises or only falls."""
    return all(type(step) in _FITTED for step, _ in origin.steps)


def _sources(step: object, given: Matrix) -> list[int] | None:
    """For each of the step's first columns, which one it was made of."""
    if type(step) not in _FITTED:
        return None
    if isinstance(step, SimpleImputer):
        if not is_null(step.missing_values):
            return None
        return kept_columns(step)
    if isinstance(step, KBinsDiscretizer) and step.encode != "ordinal":
        return None
    return list(range(given.width))


def _is_exact(step: object) -> bool:
    if isinstance(step, FunctionTransformer):
        return step.func is None or step.func in _EXACT_FUNCTIONS
    return not isinstance(step, PowerTransformer | QuantileTransformer)


class Chain:
    """The steps of columns of like origins, as their libraries compute them.

    Args:
        origins: of the same steps, each of another column.
    """

    def __init__(self, origins: Sequence[Origin]) -> None:
        by_step = zip(*(origin.steps for origin in origins), strict=True)
        self._steps: list[Any] = []
        for links in by_step:
            step = _narrow(links[0][0], [column for _, column in links])
            self._steps.append(step)
            if isinstance(step, PowerTransformer) and step.standardize:
                # Apart, since the one refuses what the other may make.
                step.standardize = False
                self._steps.append(step._scaler)

    def compute(self, table: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """What the steps make of numbers, and where a number has become missing on the way.

        What a step would refuse counts as missing: the fitted model refuses its row.

        Args:
            table: any number of each column, shape [numbers, columns].
        """
        missing = np.zeros(table.shape, dtype=np.bool_)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for step in self._steps:
                if not isinstance(step, FunctionTransformer):
                    table = np.where(np.isinf(table), np.nan, table)
                if isinstance(step, PowerTransformer) and step.method == "box-cox":
                    table = np.where(table <= 0, np.nan, table)
                nothing = np.isnan(table)
                missing |= nothing
                if isinstance(step, KBinsDiscretizer):
                    binned = step.transform(np.where(nothing, 0.0, table))
                    table = np.where(nothing, np.nan, binned)
                else:
                    table = np.array(step.transform(table.copy()), dtype=np.float64)
        return table, missing | np.isnan(table)


def _narrow(step: Any, columns: list[int]) -> Any:
    """The step, fitted on some of its columns alone, and without names."""
    alone = copy.copy(step)
    for name in ("feature_names_in_", "_sklearn_output_config"):
        vars(alone).pop(name, None)
    alone.n_features_in_ = len(columns)
    for name in _FITTED[type(step)]:
        fitted = getattr(step, name, None)
        if fitted is not None:
            setattr(alone, name, np.asarray(fitted)[..., columns])
    if isinstance(step, SimpleImputer):
        alone.add_indicator, alone.indicator_ = False, None
    if isinstance(step, PowerTransformer) and step.standardize:
        alone._scaler = _narrow(step._scaler, columns)
    if isinstance(step, FunctionTransformer):
        alone.validate = False
    return alone
