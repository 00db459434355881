"""Discontinuities of the fitted model along a feature, found by bisection.

The threshold of a split behind a scaler, or of a bin edge, is not known in the
feature's own units. Between two rows that differ in one feature and in their scores
lies a discontinuity, and bisection narrows it down to two neighbouring doubles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from scorewire_training.export.double_order import from_ordinals, midpoints, to_ordinals
from scorewire_training.export.frames import WireRows, concatenate

_PAIRS_PER_FEATURE = 16
_MAX_PAIRS = 256
_SEED = 20_240_229


def find_discontinuities(
    ask: Callable[[WireRows], Sequence[NDArray[np.float64]]], sample: WireRows, columns: Sequence[int]
) -> tuple[WireRows, list[int]]:
    """Rows on both sides of discontinuities, and for each row the column of its discontinuity.

    Where scores change continuously, as along a straight line, the two rows are just
    neighbours.

    Args:
        ask: returns the model's outputs for rows, each of shape [rows, width].
        sample: the rows to start from.
        columns: the number features to search along.
    """
    begin, end, along = _pairs(sample, columns)
    if not len(along):
        return sample.take([]), []
    start = ask(_at(begin, along, begin.numbers[np.arange(len(along)), along]))
    low = to_ordinals(begin.numbers[np.arange(len(along)), along])
    high = to_ordinals(end)
    differ = ~_same(start, ask(_at(begin, along, end)))
    begin, along = begin.take(np.flatnonzero(differ)), along[differ]
    low, high, start = low[differ], high[differ], [values[differ] for values in start]
    while len(along) and np.any(low + 1 < high):
        between = midpoints(low, high)
        same = _same(start, ask(_at(begin, along, from_ordinals(between))))
        low, high = np.where(same, between, low), np.where(same, high, between)
    sides = [_at(begin, along, from_ordinals(side)) for side in (low, high)]
    return concatenate(sides), [*along.tolist(), *along.tolist()]


def _pairs(
    sample: WireRows, columns: Sequence[int]
) -> tuple[WireRows, NDArray[np.float64], NDArray[np.intp]]:
    """Rows to start from, the larger number to end at for each row, and its column."""
    rng = np.random.default_rng(_SEED)
    rows: list[int] = []
    ends: list[float] = []
    along: list[int] = []
    per_feature = min(_PAIRS_PER_FEATURE, max(1, _MAX_PAIRS // max(1, len(columns))))
    for column in columns:
        finite = np.flatnonzero(np.isfinite(sample.numbers[:, column]))
        for pair in rng.choice(finite, (per_feature, 2)) if len(finite) else ():
            first, last = sorted(pair, key=lambda row: sample.numbers[row, column])
            if sample.numbers[first, column] < sample.numbers[last, column]:
                rows.append(int(first))
                ends.append(float(sample.numbers[last, column]))
                along.append(column)
    return sample.take(rows), np.array(ends), np.array(along, dtype=np.intp)


def _at(rows: WireRows, along: NDArray[np.intp], values: NDArray[np.float64]) -> WireRows:
    moved = rows.take(slice(None))
    moved.numbers[np.arange(len(along)), along] = values
    return moved


def _same(one: Sequence[NDArray[np.float64]], other: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """The rows whose outputs are all equal, NaN equal to NaN."""
    same = [((a == b) | (np.isnan(a) & np.isnan(b))).all(axis=1) for a, b in zip(one, other, strict=True)]
    return np.asarray(np.stack(same).all(axis=0))
