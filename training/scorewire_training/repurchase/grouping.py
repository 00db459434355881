"""Aggregates of rows by group that depend on the rows of the group alone.

Sums add a group's rows one after the other, in their order. The result is the same
to the bit whatever other groups are in the table, so that features built part by
part equal those built at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Groups:
    """Rows that each belong to one of `size` groups.

    Args:
        codes: each row's group, from 0 to size - 1, shape [rows]; ascending where
            `first` or `last` is used.
        size: the number of groups; a group may have no row.
    """

    def __init__(self, codes: NDArray[np.intp], size: int) -> None:
        self._codes = codes
        self._size = size

    def where(self, rows: NDArray[np.bool_]) -> Groups:
        """The same groups over some of the rows."""
        return Groups(self._codes[rows], self._size)

    def count(self) -> Floats:
        """The number of rows of each group."""
        return np.bincount(self._codes, minlength=self._size).astype(np.float64)

    def sum(self, values: Floats | NDArray[np.bool_]) -> Floats:
        """The sum of each group; 0 without rows."""
        return np.bincount(self._codes, weights=values, minlength=self._size).astype(np.float64)

    def mean(self, values: Floats | NDArray[np.bool_]) -> Floats:
        """The mean of each group; NaN without rows."""
        return divide(self.sum(values), self.count())

    def spread(self, values: Floats) -> Floats:
        """The sample standard deviation of each group; NaN with fewer than two rows."""
        deviations = values - self.mean(values)[self._codes]
        return np.sqrt(divide(self.sum(deviations**2), np.maximum(self.count() - 1, 0)))

    def first(self, values: NDArray[Any]) -> NDArray[Any]:
        """The value of each group's first row; every group must have a row."""
        return values[np.searchsorted(self._codes, np.arange(self._size), side="left")]

    def last(self, values: NDArray[Any]) -> NDArray[Any]:
        """The value of each group's last row; every group must have a row."""
        return values[np.searchsorted(self._codes, np.arange(self._size), side="right") - 1]

    def tally(self, kinds: NDArray[np.intp]) -> tuple[Groups, Floats]:
        """Count each kind in each group: the existing pairs of group and kind, and their counts."""
        width = int(kinds.max(initial=0)) + 1
        pairs, counts = np.unique(self._codes * width + kinds, return_counts=True)
        return Groups(pairs // width, self._size), counts.astype(np.float64)

    def maximum(self, values: Floats) -> Floats:
        """The largest value of each group; 0 without rows or where all values are negative."""
        greatest = np.zeros(self._size)
        np.maximum.at(greatest, self._codes, values)
        return greatest


def divide(above: Floats, below: Floats) -> Floats:
    """The ratio; NaN where the divisor is zero."""
    ratio = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    np.divide(above, below, out=ratio, where=below != 0)
    return ratio
