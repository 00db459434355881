"""Steps that compute each column from one other column: what a column was made of, and how.

Such a step is declared with its rule, as a `Columnwise`. The columns that it makes
then carry their origin: the number feature and the chain of steps behind it. A
`StepChain` computes such columns with the fitted steps themselves.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, PowerTransformer

from scorewire_training.export.lowering.symbolic_columns import (
    Column,
    ColumnOrigin,
    RawNumber,
    SymbolicColumns,
    TensorColumn,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columnwise:
    """How a kind of step computes each column from one other column.

    Attributes:
        fitted: the step's attributes that hold an entry for each column, the columns on the last axis.
        is_exact: whether the graph computes a step of this kind to the last bit.
        sources: for a step and the number of its input columns, the input column of each of the
            first columns that the step makes; None where its settings mix columns.
    """

    fitted: tuple[str, ...]
    is_exact: Callable[[Any], bool] = lambda _: True
    sources: Callable[[Any, int], Sequence[int] | None] = lambda _, width: range(width)


_COLUMNWISE: dict[type, Columnwise] = {}


def declare_columnwise(classes: Sequence[type | str], columnwise: Columnwise) -> None:
    """Declare how the steps of some classes compute their columns.

    Raises:
        TypeError: a class is given by its name, under which no step would be found.
    """
    for cls in classes:
        if isinstance(cls, str):
            raise TypeError(
                f"{cls} computes its columns one by one, so the class itself is needed, not its name"
            )
        _COLUMNWISE[cls] = columnwise


def trace(step: object, given: SymbolicColumns, made: SymbolicColumns) -> SymbolicColumns:
    """The columns that a step made, with their origins if the step computes each from one column."""
    kind = _COLUMNWISE.get(type(step))
    if kind is None:
        return made
    sources = kind.sources(step, given.width)
    if sources is None or given.sparse or made.sparse:
        return made
    columns = list(made.columns)
    for place, source in enumerate(sources):
        column, origin = columns[place], origin_of(given.columns[source])
        if isinstance(column, TensorColumn) and origin is not None:
            exact = origin.exact and kind.is_exact(step)
            told = ColumnOrigin(origin.feature, (*origin.steps, (step, source)), exact)
            columns[place] = replace(column, origin=told)
    return replace(made, columns=tuple(columns))


def origin_of(column: Column) -> ColumnOrigin | None:
    """The origin of a column that was computed from a single number feature; None for other columns."""
    if isinstance(column, RawNumber):
        return ColumnOrigin(column.feature)
    return column.origin if isinstance(column, TensorColumn) else None


def inexact_origins(columns: Sequence[Column]) -> dict[int, ColumnOrigin]:
    """By position, the origins of the columns that the graph does not compute to the last bit."""
    origins = {place: origin_of(column) for place, column in enumerate(columns)}
    return {place: origin for place, origin in origins.items() if origin is not None and not origin.exact}


def has_domain(origin: ColumnOrigin) -> bool:
    """Whether a column's steps may give no finite result for a finite number."""
    return goes_one_way(origin) and any(
        isinstance(step, PowerTransformer)
        or (isinstance(step, FunctionTransformer) and step.func is not None)
        for step, _ in origin.steps
    )


def goes_one_way(origin: ColumnOrigin) -> bool:
    """Whether each of a column's steps may be monotone."""
    return all(type(step) in _COLUMNWISE for step, _ in origin.steps)


class StepChain:
    """The steps behind some columns, computed by their libraries.

    Args:
        origins: the origins of the columns; all have the same steps.
    """

    def __init__(self, origins: Sequence[ColumnOrigin]) -> None:
        by_step = zip(*(origin.steps for origin in origins), strict=True)
        self._steps: list[Any] = []
        for links in by_step:
            step = _narrow(links[0][0], [column for _, column in links])
            self._steps.append(step)
            if isinstance(step, PowerTransformer) and step.standardize:
                # Separately, because the scaler refuses values that the power may give.
                step.standardize = False
                self._steps.append(step._scaler)

    def compute(self, table: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The results of the steps, and where a number became missing.

        A number that a step refuses counts as missing: the fitted model refuses its row.

        Args:
            table: numbers for each column, shape [numbers, columns].
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
    """A copy of a fitted step for some of its columns, without names."""
    alone = copy.copy(step)
    for name in ("feature_names_in_", "_sklearn_output_config"):
        vars(alone).pop(name, None)
    alone.n_features_in_ = len(columns)
    for name in _COLUMNWISE[type(step)].fitted:
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
