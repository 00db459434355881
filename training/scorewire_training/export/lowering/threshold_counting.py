"""Comparisons of a function's result, moved to the function's argument.

1. A tree behind a logarithm compares numbers that no graph computes to the last bit.
2. The function is monotone, so each threshold corresponds to one of the caller's
   numbers. Bisection with the library's own function finds it, down to two
   neighbouring doubles.
3. The graph counts the thresholds that a number has passed, and the tree compares
   the count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from scorewire_training.export.double_order import from_ordinals, midpoints, to_ordinals
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.column_functions import ColumnFunctions, refusal
from scorewire_training.export.lowering.columnwise import goes_one_way, has_domain, inexact_origins
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.symbolic_columns import (
    Column,
    ColumnOrigin,
    RawNumber,
    SymbolicColumns,
    tensor_columns,
)
from scorewire_training.export.lowering.thresholds import Thresholds, find_codes, search_tree
from scorewire_training.export.trees.ensemble import Tree

_Numbers = NDArray[np.float64]
_Places = NDArray[np.int64]

# Around a threshold, this number of neighbouring doubles is computed on each side.
_NEIGHBOURS = 64
# Distances at which the function is also computed. Where it is on the wrong side of the threshold,
# all neighbours up to that distance are computed.
_DISTANCES = [
    *range(_NEIGHBOURS // 2, _NEIGHBOURS),
    *(eighth << power for power in range(3, 15) for eighth in range(8, 16)),
    *(1 << power for power in range(18, 40, 3)),
]
_FARTHEST = 1 << 17
# Rows that are also computed alone: a library may compute many rows by another formula.
_ALONE = 16
_FEWEST_NUMBERS, _MAX_NUMBERS = 100, 2_000_000
_NOT_MONOTONE = "is not monotone around its thresholds"


def count_passed(
    builder: GraphBuilder,
    origins: Sequence[ColumnOrigin],
    thresholds: Sequence[Thresholds],
    *,
    see: Callable[[_Numbers], _Numbers] = lambda values: values,
    recode: Callable[[int, _Numbers], _Numbers] = lambda _, counts: np.where(counts < 0, np.nan, counts),
) -> str:
    """Count the thresholds that columns have passed, without computing the columns in the graph.

    Args:
        builder: takes the nodes, and the caller's numbers at the thresholds.
        origins: the origin of each column.
        thresholds: the thresholds of each column.
        see: how the comparing step converts the columns' values before it compares.
        recode: for a column's position and its counts, the codes that stand for the
            counts; the count of a missing value is -1.

    Returns:
        The codes, double of shape [rows, columns]; NaN where the column is missing.

    Raises:
        UnsupportedModelError: a column's steps are not monotone to the last bit, or are
            computed in less than double precision.
    """
    for origin in origins:
        if not goes_one_way(origin):
            raise refusal(origin, "rises and falls")
        if origin.feature in builder.narrow:
            raise UnsupportedModelError(
                f"{origin.feature!r} is of type {builder.narrow[origin.feature]},"
                " in which functions are computed otherwise than in double precision",
                "turn it into float64 before the model is fitted",
            )
    builder.origins.extend(origins)
    trees: list[Tree] = []
    of_missing = np.empty(len(origins))
    for places in _group_by_steps(origins, [len(own.values) for own in thresholds]):
        functions = ColumnFunctions(builder, [origins[i] for i in places])
        turns = _ThresholdSearch(functions, [thresholds[i] for i in places], see)
        folded = turns.find()
        for place, (bounds, counts, missing) in zip(places, folded, strict=True):
            codes = recode(place, np.append(counts, missing))
            trees.append(search_tree(bounds, codes[:-1], place))
            of_missing[place] = codes[-1]
            builder.add_thresholds(RawNumber(origins[place].feature), bounds)
    graph = builder.graph
    raw = builder.tensor(SymbolicColumns(tuple(RawNumber(origin.feature) for origin in origins)))
    counted = find_codes(graph, trees, raw)
    filler = builder.constant(of_missing[np.newaxis, :])
    return graph.node("Where", [graph.node("IsNaN", [raw]), filler, counted])


def count_passed_inexact(
    builder: GraphBuilder, columns: Sequence[Column], thresholds: Sequence[Thresholds]
) -> dict[int, Column]:
    """By position, the counts of passed thresholds of columns that no graph computes to the last bit.

    Raises:
        UnsupportedModelError: as for `count_passed`.
    """
    found = inexact_origins(columns)
    if not found:
        return {}
    codes = count_passed(builder, list(found.values()), [thresholds[place] for place in found])
    return dict(zip(found, tensor_columns(codes, len(found)), strict=True))


def domains(builder: GraphBuilder) -> Mapping[str, tuple[float, float]]:
    """For each feature, the smallest and the largest number for which its functions are finite.

    Features without functions and features without such a range are left out.
    """
    found: dict[str, tuple[float, float]] = {}
    origins = [origin for origin in dict.fromkeys(builder.origins) if has_domain(origin)]
    for places in _group_by_steps(origins, [0] * len(origins)):
        group = [origins[i] for i in places]
        for origin, (low, high) in zip(group, ColumnFunctions(builder, group).finite_ranges(), strict=True):
            before = found.get(origin.feature, (-np.inf, np.inf))
            found[origin.feature] = max(before[0], low), min(before[1], high)
    return {feature: (low, high) for feature, (low, high) in found.items() if low <= high}


def _group_by_steps(origins: Sequence[ColumnOrigin], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Positions of columns with the same steps, in groups of limited size; `sizes` by column."""

    def key(place: int) -> tuple[int, ...]:
        return tuple(id(step) for step, _ in origins[place].steps)

    for _, group in groupby(sorted(range(len(origins)), key=key), key=key):
        places = list(group)
        most = max(_FEWEST_NUMBERS, *(sizes[place] for place in places))
        size = max(1, _MAX_NUMBERS // most)
        yield from (places[begin : begin + size] for begin in range(0, len(places), size))


class _ThresholdSearch:
    """Searches the caller's numbers at which columns with the same steps pass their thresholds."""

    def __init__(
        self,
        functions: ColumnFunctions,
        thresholds: Sequence[Thresholds],
        see: Callable[[_Numbers], _Numbers],
    ) -> None:
        self._functions = functions
        self._thresholds = thresholds
        self._see = see
        self._low, self._high = functions.domains()
        self._rises = functions.directions(self._low, self._high)
        self._wanted = np.arange(max(len(own.values) for own in thresholds))[:, np.newaxis]
        self._is_threshold = self._wanted < np.array([len(own.values) for own in thresholds])

    def find(self) -> Iterator[tuple[_Numbers, _Numbers, float]]:
        """For each column: ascending numbers, the counts around them, and the count of NaN."""
        low, high = self._low, self._high
        begin = self._bisect()
        starts = self._starts(begin)
        reach = self._farthest_strays(begin)
        for column in np.flatnonzero(reach.any(axis=0)).tolist():
            single = _ThresholdSearch(self._functions.alone(column), [self._thresholds[column]], self._see)
            thresholds = np.flatnonzero(reach[:, column]).tolist()
            further = [
                single._starts_around(
                    threshold, *map(int, (begin[threshold, column], reach[threshold, column]))
                )
                for threshold in thresholds
            ]
            starts[column] = np.unique(np.concatenate([starts[column], *further]))
        longest = max(map(len, starts))
        table = np.column_stack([np.append(own, np.full(longest - len(own), own[-1])) for own in starts])
        counts = self._counts(self._functions.compute(table)[0])
        ends = np.clip([low - 1, high + 1], _FIRST, _LAST)
        below, above = self._counts(self._functions.compute(ends)[0])
        of_missing = self._counts(self._functions.of_missing())[0]
        for column, own in enumerate(starts):
            bounds, codes = own[1:], counts[: len(own), column]
            if low[column] > _FIRST:
                bounds, codes = own, np.append(below[column], codes)
            if high[column] < _LAST:
                bounds, codes = np.append(bounds, high[column] + 1), np.append(codes, above[column])
            yield from_ordinals(bounds), codes, float(of_missing[column])

    def _bisect(self) -> _Places:
        """The first number beyond each threshold; one number after the domain if no number is beyond."""
        begin = np.broadcast_to(self._low, self._is_threshold.shape).copy()
        end = np.broadcast_to(self._high + 1, begin.shape).copy()
        while np.any(begin < end):
            between = midpoints(begin, end)
            is_open = begin < end
            beyond = self._is_beyond(between)
            end = np.where(is_open & beyond, between, end)
            begin = np.where(is_open & ~beyond, between + 1, begin)
        return begin

    def _starts(self, begin: _Places) -> list[_Places]:
        """For each column its first number, and the numbers at which the count changes.

        Close to a threshold, where the last bit decides, a function may rise and fall again.
        """
        low, high = self._low, self._high
        starts = [[low[column : column + 1]] for column in range(len(low))]
        before = self._passed(np.clip(begin - _NEIGHBOURS, low, high))
        for offset in range(1 - _NEIGHBOURS, _NEIGHBOURS):
            at = np.clip(begin + offset, low, high)
            passed = self._passed(at)
            changes = passed != before
            for column in np.flatnonzero(changes.any(axis=0)).tolist():
                starts[column].append(at[changes[:, column], column])
            before = passed
        return [np.unique(np.concatenate(parts)) for parts in starts]

    def _farthest_strays(self, begin: _Places) -> _Places:
        """The farthest distance at which a number is on the wrong side of each threshold; 0 if none is.

        Also checks that the steps give the same counts for single rows.
        """
        reach = np.zeros_like(begin)
        for distance in _DISTANCES:
            above, below = begin + distance, begin - 1 - distance
            strays = ~self._is_beyond(above) & (above <= self._high)
            strays |= self._is_beyond(below) & (below >= self._low)
            reach[strays & self._is_threshold] = distance
        self._functions.check((reach <= _FARTHEST).all(axis=0), _NOT_MONOTONE)
        for at in (np.minimum(begin, self._high), np.maximum(begin - 1, self._low)):
            together = self._passed(at)
            for row in np.linspace(0, len(at) - 1, min(_ALONE, len(at))).astype(np.intp):
                same: NDArray[np.bool_] = self._passed(at[row : row + 1])[0] == together[row]
                self._functions.check(same, "is computed otherwise for one number than for many")
        return reach

    def _starts_around(self, threshold: int, begin: int, reach: int) -> _Places:
        """The numbers around a threshold of the only column at which the count changes."""
        while True:
            width = 2 * reach
            places = np.arange(max(begin - width, self._low[0]), min(begin + width, self._high[0]) + 1)
            passed = self._passed(places[:, np.newaxis])[:, 0]
            strays = places[((passed > threshold) == self._rises[0]) != (places >= begin)]
            farthest = int(np.abs(strays - begin).max(initial=0))
            self._functions.check(np.array([farthest <= _FARTHEST]), _NOT_MONOTONE)
            if farthest <= reach:
                return np.asarray(places[1:][passed[1:] != passed[:-1]])
            reach = farthest

    def _is_beyond(self, places: _Places) -> NDArray[np.bool_]:
        """Whether numbers, one for each threshold, are on the side of larger numbers."""
        passed = self._passed(np.clip(places, self._low, self._high))
        return np.asarray((passed > self._wanted) == self._rises)

    def _passed(self, places: _Places) -> _Places:
        return self._counts(self._functions.compute(places)[0]).astype(np.int64)

    def _counts(self, values: _Numbers) -> _Numbers:
        """The number of thresholds that each value has passed; -1 for a missing value."""
        seen = self._see(values)
        counts = [thresholds.passed(seen[:, column]) for column, thresholds in enumerate(self._thresholds)]
        return np.where(np.isnan(seen), -1.0, np.column_stack(counts))


_FIRST, _LAST = (int(to_ordinals(np.array([end]))[0]) for end in (-np.inf, np.inf))
