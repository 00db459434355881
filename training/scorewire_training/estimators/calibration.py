"""Probabilities set right by rows that the classifier was not fitted on.

Platt's sigmoid on the log-odds: two numbers, of which slope 1 and offset 0
change nothing, so that what is right stays right. On the probability itself,
as scikit-learn's CalibratedClassifierCV has it for trees, no slope and offset do
that (Kull et al. 2017, "Beta calibration", section 3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

# Beyond, a float's distance from 1 is too rough to stretch; no forecast of people is that sure.
SMALLEST = 1e-4


class LogOddsCalibrator(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """A fitted classifier of two classes, whose log-odds become slope * log-odds + offset.

    Probabilities are cut to SMALLEST and 1 - SMALLEST first. It is exported
    exactly with any classifier that is.

    Args:
        estimator: fitted, with predict_proba; it stays as it is.
    """

    estimator: Any
    classes_: NDArray[Any]
    slope_: float
    offset_: float

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: ArrayLike | pd.DataFrame, y: ArrayLike) -> LogOddsCalibrator:
        """Fit slope and offset on rows that the classifier has not seen."""
        return self.fit_probabilities(self.estimator.predict_proba(X)[:, 1], y)

    def fit_probabilities(self, probabilities: ArrayLike, y: ArrayLike) -> LogOddsCalibrator:
        """Fit slope and offset on what classifiers like this one said of rows they had not seen.

        Args:
            probabilities: of the second class, shape [rows].
            y: the truth, of both classes, shape [rows].
        """
        self.classes_ = np.asarray(self.estimator.classes_)
        odds = log_odds(np.asarray(probabilities, dtype=np.float64))
        line = LogisticRegression(C=np.inf).fit(odds[:, np.newaxis], y)
        self.slope_, self.offset_ = float(line.coef_[0, 0]), float(line.intercept_[0])
        return self

    def predict_proba(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """Probabilities of both classes, shape [rows, 2]."""
        positive = self.calibrate(self.estimator.predict_proba(X)[:, 1])
        return np.column_stack([1.0 - positive, positive])

    def predict(self, X: ArrayLike | pd.DataFrame) -> NDArray[Any]:
        """The likelier class, shape [rows]."""
        likelier: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likelier

    def calibrate(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """What probabilities of the second class become, shape [rows]."""
        odds = log_odds(np.asarray(probabilities, dtype=np.float64))
        return np.asarray(1.0 / (1.0 + np.exp(-(self.slope_ * odds + self.offset_))), dtype=np.float64)


def log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(p / (1 - p)), p cut to SMALLEST and 1 - SMALLEST."""
    cut = np.clip(probabilities, SMALLEST, 1.0 - SMALLEST)
    return np.asarray(np.log(cut / (1.0 - cut)), dtype=np.float64)
