"""Functions of one column folded into what compares their results with thresholds.

A tree behind a logarithm compares numbers that no graph computes to the last
bit. It compares a monotone function of the caller's number, though, so that each
threshold is one of the caller's numbers too: found by bisection, down to two
neighbouring doubles, with the library's own function. The graph then counts the
thresholds that a number has passed, and the tree compares that count.
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

# Around a cut every neighbour is looked at, up to so many to each side.
_NEIGHBOURS = 64
# From half of them on, a function that is on its other side has all neighbours looked at as far as that.
_DISTANCES = [
    *range(_NEIGHBOURS // 2, _NEIGHBOURS),
    *(eighth << power for power in range(3, 15) for eighth in range(8, 16)),
    *(1 << power for power in range(18, 40, 3)),
]
_FARTHEST = 1 << 17
# Rows that are computed alone, since a library may compute many at once by another formula.
_ALONE = 16
_FEWEST_NUMBERS, _MAX_NUMBERS = 100, 2_000_000
_NOT_MONOTONE = "is not monotone around its cuts"


def count_passed(
    builder: GraphBuilder,
    origins: Sequence[ColumnOrigin],
    cuts: Sequence[Thresholds],
    *,
    see: Callable[[_Numbers], _Numbers] = lambda values: values,
    recode: Callable[[int, _Numbers], _Numbers] = lambda _, counts: np.where(counts < 0, np.nan, counts),
) -> str:
    """Count the cuts that columns have passed, without computing the columns.

    Args:
        builder: takes the nodes, and the caller's numbers at the cuts.
        origins: of each column.
        cuts: of each column.
        see: what the comparing step makes of the columns' values before it compares.
        recode: for a column's place and counts, what is to stand for each count;
            -1 is counted where the column is missing.

    Returns:
        What stands for the counts, double of shape [rows, columns]; NaN where
        the column is missing.

    Raises:
        UnsupportedModelError: a column's steps are not monotone to the last bit,
            or are computed in less than double precision.
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
    for places in _alike(origins, [len(own.thresholds) for own in cuts]):
        functions = ColumnFunctions(builder, [origins[i] for i in places])
        turns = _ThresholdSearch(functions, [cuts[i] for i in places], see)
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
    builder: GraphBuilder, columns: Sequence[Column], cuts: Sequence[Thresholds]
) -> dict[int, Column]:
    """By place, how many of their cuts columns have passed that no graph computes to the last bit.

    Raises:
        UnsupportedModelError: as for `count_passed`.
    """
    found = inexact_origins(columns)
    if not found:
        return {}
    codes = count_passed(builder, list(found.values()), [cuts[place] for place in found])
    return dict(zip(found, tensor_columns(codes, len(found)), strict=True))


def domains(builder: GraphBuilder) -> Mapping[str, tuple[float, float]]:
    """For each feature, the smallest and the largest number of which its functions make a finite one.

    Features without functions are left out, and those without such a range.
    """
    found: dict[str, tuple[float, float]] = {}
    origins = [origin for origin in dict.fromkeys(builder.origins) if has_domain(origin)]
    for places in _alike(origins, [0] * len(origins)):
        group = [origins[i] for i in places]
        for origin, (low, high) in zip(group, ColumnFunctions(builder, group).finite_ranges(), strict=True):
            before = found.get(origin.feature, (-np.inf, np.inf))
            found[origin.feature] = max(before[0], low), min(before[1], high)
    return {feature: (low, high) for feature, (low, high) in found.items() if low <= high}


def _alike(origins: Sequence[ColumnOrigin], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Places of columns made by the same steps, in parts that are not too many numbers; `sizes` by column."""

    def key(place: int) -> tuple[int, ...]:
        return tuple(id(step) for step, _ in origins[place].steps)

    for _, group in groupby(sorted(range(len(origins)), key=key), key=key):
        places = list(group)
        most = max(_FEWEST_NUMBERS, *(sizes[place] for place in places))
        size = max(1, _MAX_NUMBERS // most)
        yield from (places[begin : begin + size] for begin in range(0, len(places), size))


class _ThresholdSearch:
    """Where columns made by the same steps pass what they are compared with."""

    def __init__(
        self, functions: ColumnFunctions, cuts: Sequence[Thresholds], see: Callable[[_Numbers], _Numbers]
    ) -> None:
        self._functions = functions
        self._cuts = cuts
        self._see = see
        self._low, self._high = functions.domains()
        self._rises = functions.directions(self._low, self._high)
        self._wanted = np.arange(max(len(own.thresholds) for own in cuts))[:, np.newaxis]
        self._is_cut = self._wanted < np.array([len(own.thresholds) for own in cuts])

    def find(self) -> Iterator[tuple[_Numbers, _Numbers, float]]:
        """For each column, numbers ascending, the counts below, between and above them, and that of NaN."""
        low, high = self._low, self._high
        begin = self._bisect()
        starts = self._starts(begin)
        reach = self._reach(begin)
        for column in np.flatnonzero(reach.any(axis=0)).tolist():
            single = _ThresholdSearch(self._functions.alone(column), [self._cuts[column]], self._see)
            cuts = np.flatnonzero(reach[:, column]).tolist()
            further = [
                single._starts_around(cut, *map(int, (begin[cut, column], reach[cut, column])))
                for cut in cuts
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
        """The first number on the other side of each cut; one beyond the domain where there is none."""
        begin = np.broadcast_to(self._low, self._is_cut.shape).copy()
        end = np.broadcast_to(self._high + 1, begin.shape).copy()
        while np.any(begin < end):
            between = midpoints(begin, end)
            is_open = begin < end
            beyond = self._is_beyond(between)
            end = np.where(is_open & beyond, between, end)
            begin = np.where(is_open & ~beyond, between + 1, begin)
        return begin

    def _starts(self, begin: _Places) -> list[_Places]:
        """For each column its first number, and those from which on the count is another.

        Around a cut, where the last bit decides, a function may rise and fall again.
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

    def _reach(self, begin: _Places) -> _Places:
        """How far from each cut a number has been found on the other side; 0 where none is far.

        Cuts are also looked at where few numbers are computed.
        """
        reach = np.zeros_like(begin)
        for distance in _DISTANCES:
            above, below = begin + distance, begin - 1 - distance
            strays = ~self._is_beyond(above) & (above <= self._high)
            strays |= self._is_beyond(below) & (below >= self._low)
            reach[strays & self._is_cut] = distance
        self._functions.check((reach <= _FARTHEST).all(axis=0), _NOT_MONOTONE)
        for at in (np.minimum(begin, self._high), np.maximum(begin - 1, self._low)):
            together = self._passed(at)
            for row in np.linspace(0, len(at) - 1, min(_ALONE, len(at))).astype(np.intp):
                same: NDArray[np.bool_] = self._passed(at[row : row + 1])[0] == together[row]
                self._functions.check(same, "is computed otherwise for one number than for many")
        return reach

    def _starts_around(self, cut: int, begin: int, reach: int) -> _Places:
        """The numbers around a cut of the only column from which on the count is another."""
        while True:
            width = 2 * reach
            places = np.arange(max(begin - width, self._low[0]), min(begin + width, self._high[0]) + 1)
            passed = self._passed(places[:, np.newaxis])[:, 0]
            strays = places[((passed > cut) == self._rises[0]) != (places >= begin)]
            farthest = int(np.abs(strays - begin).max(initial=0))
            self._functions.check(np.array([farthest <= _FARTHEST]), _NOT_MONOTONE)
            if farthest <= reach:
                return np.asarray(places[1:][passed[1:] != passed[:-1]])
            reach = farthest

    def _is_beyond(self, places: _Places) -> NDArray[np.bool_]:
        """Whether numbers, one a cut, are on the side of it that larger numbers are on."""
        passed = self._passed(np.clip(places, self._low, self._high))
        return np.asarray((passed > self._wanted) == self._rises)

    def _passed(self, places: _Places) -> _Places:
        return self._counts(self._functions.compute(places)[0]).astype(np.int64)

    def _counts(self, values: _Numbers) -> _Numbers:
        """How many cuts each value has passed; -1 where it is missing."""
        seen = self._see(values)
        counts = [cuts.passed(seen[:, column]) for column, cuts in enumerate(self._cuts)]
        return np.where(np.isnan(seen), -1.0, np.column_stack(counts))


_FIRST, _LAST = (int(to_ordinals(np.array([end]))[0]) for end in (-np.inf, np.inf))
