"""Cross-validation: the data, the folds and the loss that all candidates of a search share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

# Amounts, or labels; labels stay whole numbers, because a classifier keeps them as the names of its classes.
Target: TypeAlias = NDArray[np.float64] | NDArray[np.int64]
Positions: TypeAlias = NDArray[np.intp]
# Positions of the rows to fit on, and of the rows to validate on.
Fold: TypeAlias = tuple[Positions, Positions]
Predict: TypeAlias = Callable[[Pipeline, pd.DataFrame], NDArray[np.float64]]
Loss: TypeAlias = Callable[[NDArray[Any], NDArray[np.float64]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """What every candidate is fitted and validated on, and how its loss is measured.

    Attributes:
        rows: the features, one row for each value of `target`.
        target: the true values, shape [rows].
        folds: the rows to fit on and to validate on.
        predict: returns the predictions of a fitted pipeline, shape [rows].
        loss: the loss of true values and predictions; less is better.
    """

    rows: pd.DataFrame
    target: Target
    folds: Sequence[Fold]
    predict: Predict
    loss: Loss

    def fit(self, pipeline: Pipeline, positions: Positions) -> Pipeline:
        """Fit an unfitted pipeline on some of the rows."""
        return pipeline.fit(self.rows.iloc[positions], self.target[positions])

    def measure(self, pipeline: Pipeline, positions: Positions) -> float:
        """The loss of a fitted pipeline on some of the rows."""
        return self.loss(self.target[positions], self.predict(pipeline, self.rows.iloc[positions]))
