"""The functions of one feature that the steps of a pipeline form: their domains and directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from scorewire_training.export.double_order import from_ordinals, midpoints, to_ordinals
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.columnwise import StepChain
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.symbolic_columns import ColumnOrigin

# Numbers at which the ends and the direction of a function are looked for.
_GRID = np.array(
    [
        *(sign * 10.0**power for sign in (-1, 1) for power in range(-300, 309, 12)),
        *(sign * value for sign in (-1, 1) for value in (0.0, 0.5, 1.0, 10.0, 1e3, 1e5, 1e7, np.inf)),
    ]
)
# Relative differences up to this are rounding.
_ROUNDING = 1e-12


class ColumnFunctions:
    """Columns that the same steps compute, each from one feature.

    Numbers are given as ordinals, the integers of `double_order`.

    Args:
        builder: has typical numbers of the features.
        origins: the origins of the columns.
    """

    def __init__(self, builder: GraphBuilder, origins: Sequence[ColumnOrigin]) -> None:
        self._builder = builder
        self._origins = origins
        self._chain = StepChain(origins)
        typical = np.column_stack([builder.typical[origin.feature] for origin in origins])
        grid = np.broadcast_to(_GRID[:, np.newaxis], (len(_GRID), len(origins)))
        self._grid = np.sort(to_ordinals(np.concatenate([grid, typical])), axis=0)

    def alone(self, column: int) -> ColumnFunctions:
        """The functions of one of the columns alone."""
        return ColumnFunctions(self._builder, [self._origins[column]])

    def compute(self, places: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The columns for some numbers, and where these became missing; shape [numbers, columns]."""
        return self._chain.compute(from_ordinals(places))

    def of_missing(self) -> NDArray[np.float64]:
        """The columns for a missing number, shape [1, columns]."""
        return self._chain.compute(np.full((1, len(self._origins)), np.nan))[0]

    def finite_ranges(self) -> list[tuple[float, float]]:
        """For each column, the smallest and the largest number with a finite result."""

        def finite(places: NDArray[np.int64]) -> NDArray[np.bool_]:
            values, missing = self.compute(places)
            return ~missing & np.isfinite(values)

        low, high, is_whole = self._range(finite)
        ranges = zip(
            from_ordinals(low).tolist(), from_ordinals(high).tolist(), is_whole.tolist(), strict=True
        )
        return [(a, b) if whole else (-np.inf, np.inf) for a, b, whole in ranges]

    def domains(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first and the last number for which each column is defined.

        Raises:
            UnsupportedModelError: a column is not defined for numbers in between.
        """
        low, high, is_whole = self._range(lambda places: ~self.compute(places)[1])
        self.check(is_whole, "is not defined on one range of numbers")
        return low, high

    def directions(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each column rises with its feature between two numbers; otherwise it falls.

        Raises:
            UnsupportedModelError: a column does both.
        """
        values, missing = self.compute(np.clip(self._grid, low, high))
        with np.errstate(invalid="ignore"):
            steps = np.nan_to_num(np.diff(values, axis=0), nan=0.0)
        steps = np.where(np.abs(steps) <= _ROUNDING * np.abs(values[1:]), 0.0, steps)
        rises = (steps >= 0).all(axis=0)
        goes_one_way = (rises | (steps <= 0).all(axis=0)) & ~missing.any(axis=0)
        self.check(goes_one_way, "neither only rises nor only falls")
        return np.asarray(rises)

    def check(self, holds: NDArray[np.bool_] | np.bool_, what: str) -> None:
        """Check a property of each column; `what` names its violation.

        Raises:
            UnsupportedModelError: the property does not hold for a column.
        """
        for column in np.flatnonzero(~holds).tolist():
            raise refusal(self._origins[column], what)

    def _range(
        self, holds: Callable[[NDArray[np.int64]], NDArray[np.bool_]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Each column's first and last number with a property, and whether all between have it."""
        inside = holds(self._grid)
        count = len(self._grid)
        first, last = inside.argmax(axis=0), count - 1 - inside[::-1].argmax(axis=0)
        is_whole = inside.any(axis=0) & (inside.sum(axis=0) == last - first + 1)
        every = np.arange(self._grid.shape[1])
        ends = []
        for at, step in ((first, -1), (last, 1)):
            taken = self._grid[at, every]
            refused = self._grid[np.clip(at + step, 0, count - 1), every]
            while np.any(np.abs(refused - taken) > 1):
                between = midpoints(refused, taken)
                takes = holds(between[np.newaxis, :])[0]
                is_open = np.abs(refused - taken) > 1
                taken = np.where(is_open & takes, between, taken)
                refused = np.where(is_open & ~takes, between, refused)
            ends.append(taken)
        return ends[0], ends[1], is_whole


def refusal(origin: ColumnOrigin, what: str) -> UnsupportedModelError:
    """The error for a column whose comparisons cannot be moved to the caller's number."""
    names = ", ".join(_name(step) for step, _ in origin.steps)
    return UnsupportedModelError(
        f"what {names} makes of {origin.feature!r} {what}, and is then compared with thresholds",
        "leave the step out: trees do not need it",
    )


def _name(step: object) -> str:
    function = getattr(step, "func", None)
    return type(step).__name__ if function is None else getattr(function, "__name__", repr(function))
