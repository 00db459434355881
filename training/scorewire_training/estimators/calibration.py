"""Calibration of probabilities on rows that the classifier was not fitted on.

The calibrator is Platt's sigmoid applied to the log-odds. It has two parameters,
and slope 1 with offset 0 changes nothing, so a calibrated classifier stays as it
is. scikit-learn's CalibratedClassifierCV applies the sigmoid to the probability
of trees instead, where no slope and offset have that property (Kull et al. 2017,
"Beta calibration", section 3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

# Closer to 0 or 1, a float is too coarse to be stretched, and no forecast of people is that certain.
SMALLEST = 1e-4


class LogOddsCalibrator(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Calibrates a fitted classifier of two classes: log-odds become slope * log-odds + offset.

    Probabilities are clipped to the range from SMALLEST to 1 - SMALLEST first. The
    calibrator can be exported with every classifier that can be exported.

    Args:
        estimator: a fitted classifier with predict_proba; it is not changed.
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
        """Fit slope and offset on out-of-fold probabilities of classifiers like this one.

        Args:
            probabilities: out-of-fold probabilities of the second class, shape [rows].
            y: the true labels, of both classes, shape [rows].
        """
        self.classes_ = np.asarray(self.estimator.classes_)
        odds = log_odds(np.asarray(probabilities, dtype=np.float64))
        line = LogisticRegression(C=np.inf).fit(odds[:, np.newaxis], y)
        self.slope_, self.offset_ = float(line.coef_[0, 0]), float(line.intercept_[0])
        return self

    def predict_proba(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """Calibrated probabilities of both classes, shape [rows, 2]."""
        positive = self.calibrate(self.estimator.predict_proba(X)[:, 1])
        return np.column_stack([1.0 - positive, positive])

    def predict(self, X: ArrayLike | pd.DataFrame) -> NDArray[Any]:
        """The class with the larger calibrated probability, shape [rows]."""
        likelier: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likelier

    def calibrate(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Calibrate probabilities of the second class; shape [rows]."""
        odds = log_odds(np.asarray(probabilities, dtype=np.float64))
        return np.asarray(1.0 / (1.0 + np.exp(-(self.slope_ * odds + self.offset_))), dtype=np.float64)


def log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(p / (1 - p)), with p clipped to the range from SMALLEST to 1 - SMALLEST."""
    clipped = np.clip(probabilities, SMALLEST, 1.0 - SMALLEST)
    return np.asarray(np.log(clipped / (1.0 - clipped)), dtype=np.float64)
