"""Where the fitted model's answer jumps along a feature, found by asking it.

A split behind a scaler or a bin edge has a threshold that no dump tells in the
feature's own units. Between two rows that differ in one feature and in their
answers lies a jump; halving the way brings it down to two neighbouring doubles.
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
    """Rows on both sides of jumps, and for each the column along which its jump is.

    Where an answer changes without a jump, as a straight line's does, they are
    just neighbouring rows.

    Args:
        ask: the model's outputs for rows, each of shape [rows, width].
        sample: rows to start from.
        columns: the number features to look along.
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
    """Rows to begin at, the larger number that each is to end at, and the column that it is of."""
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
