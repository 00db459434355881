"""All doubles as integers in their order, for searches by bisection down to two neighbouring doubles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SIGN = np.int64(np.iinfo(np.int64).min)


def to_ordinals(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Map doubles to integers in the same order; neighbours differ by 1, and both zeros are 0."""
    bits = np.asarray(values, dtype=np.float64).view(np.int64)
    return np.where(bits < 0, _SIGN - bits, bits)


def midpoints(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """The means of integers, rounded down, without overflow."""
    return (low & high) + ((low ^ high) >> 1)


def from_ordinals(places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Map the integers of `to_ordinals` back to doubles."""
    return np.where(places < 0, _SIGN - places, places).view(np.float64)
