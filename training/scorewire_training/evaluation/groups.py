"""Rows in groups of equal size by ascending prediction, as calibration is measured and drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GROUPS = 10


def group_by_prediction(predictions: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """The positions of the rows in ten groups, or in one group for each row if there are fewer rows."""
    order = np.argsort(predictions, kind="stable")
    return np.array_split(order, min(_GROUPS, len(order)))
