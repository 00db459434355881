"""Regressors of amounts for scikit-learn pipelines, each with an exact translation to ONNX.

Amounts are not negative: many are zero, most are small, a few are huge. Each class
models one of these properties, and the classes are made to be nested.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

_NO_EXPOSURE = 1e-100


class _AmountRegressor(RegressorMixin, MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Checks of the regressors here; missing numbers and the like are left to the inner models."""

    n_features_in_: int

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.positive_only = True
        return tags

    def _read(self, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows, amounts = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
        if (amounts < 0).any() or not np.isfinite(amounts).all():
            raise ValueError(f"{type(self).__name__} takes amounts that are finite and not negative")
        self.n_features_in_ = rows.shape[1]
        return rows, amounts


class LogRegressor(_AmountRegressor):
    """Learns log(amount + shift) and predicts the mean amount, never below zero.

    The exponential of a mean is below the mean of the exponentials. The smearing
    factor, the mean of exp(error), corrects for that (Duan 1983, "Smearing
    Estimate: A Nonparametric Retransformation Method").

    Args:
        regressor: learns the logarithm.
        shift: added to every amount, in units of the amount; above zero where
            amounts may be zero.

    Attributes:
        regressor_: the fitted regressor.
        smearing_: the mean of exp(error) over the rows of `fit`.
    """

    def __init__(self, regressor: Any, shift: float = 0.0) -> None:
        self.regressor = regressor
        self.shift = shift

    def fit(self, X: ArrayLike, y: ArrayLike) -> LogRegressor:
        """Fit to numbers [rows, columns] and amounts [rows].

        Raises:
            ValueError: an amount plus `shift` is not above zero, or one is negative or not finite.
        """
        rows, amounts = self._read(X, y)
        if (amounts + self.shift <= 0).any():
            raise ValueError(f"an amount plus the shift, {self.shift}, is zero: take a larger shift")
        logs = np.log(amounts + self.shift)
        self.regressor_ = clone(self.regressor).fit(rows, logs)
        self.smearing_ = float(np.mean(np.exp(logs - self.regressor_.predict(rows))))
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Amounts, shape [rows]."""
        check_is_fitted(self)
        logs = np.asarray(self.regressor_.predict(np.asarray(X, dtype=np.float64)), dtype=np.float64)
        return np.maximum(np.exp(logs) * self.smearing_ - self.shift, 0.0)


class RateRegressor(_AmountRegressor):
    """Learns the rate amount / exposure and predicts the rate times the exposure.

    The exposure is anything that the amount is proportional to, such as the amount
    that a simpler model expects. With `power` this is a Tweedie model with the
    offset log(exposure): dividing the amount by the exposure and weighting by
    exposure^(2 - power) has the same maximum (Ohlsson & Johansson 2010, "Non-Life
    Insurance Pricing with Generalized Linear Models").

    Args:
        regressor: learns the rate from the columns after the first.
        power: the variance power of the Tweedie deviance; 2 gives all rows the same
            weight.

    Attributes:
        regressor_: the fitted regressor.
    """

    def __init__(self, regressor: Any, power: float = 2.0) -> None:
        self.regressor = regressor
        self.power = power

    def fit(self, X: ArrayLike, y: ArrayLike) -> RateRegressor:
        """Fit to numbers [rows, columns], whose first column is log(exposure), and amounts [rows].

        Rows with almost no exposure have no rate and are left out.

        Raises:
            ValueError: an amount is negative or not finite, or no row has an exposure.
        """
        rows, amounts = self._read(X, y)
        exposed = np.exp(rows[:, 0]) > _NO_EXPOSURE
        if not exposed.any():
            raise ValueError("no row has an exposure: there is no rate to learn")
        rows, amounts = rows[exposed], amounts[exposed]
        exposure = np.exp(rows[:, 0])
        weights = {} if self.power == 2.0 else {"sample_weight": exposure ** (2.0 - self.power)}
        self.regressor_ = clone(self.regressor).fit(rows[:, 1:], amounts / exposure, **weights)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Amounts, shape [rows]."""
        check_is_fitted(self)
        rows = np.asarray(X, dtype=np.float64)
        return np.exp(rows[:, 0]) * np.asarray(self.regressor_.predict(rows[:, 1:]), dtype=np.float64)


class ExposedRegressor(_AmountRegressor):
    """Predicts rows with exposure by a model, and all rows without exposure by their mean amount.

    A rate tells nothing of a row without exposure. The mean is that of such rows in
    training and of one more, with the least amount that is expected of a row with
    exposure. That amount is also the most that is predicted: a few rows without
    exposure may have huge amounts, and still no such row is put above a row with
    exposure. The prediction is small, but not zero.

    Args:
        regressor: learns the amounts of rows with exposure.

    Attributes:
        regressor_: the fitted regressor.
        amount_without_exposure_: the prediction for rows without exposure.
    """

    def __init__(self, regressor: Any) -> None:
        self.regressor = regressor

    def fit(self, X: ArrayLike, y: ArrayLike) -> ExposedRegressor:
        """Fit to numbers [rows, columns] and amounts [rows].

        The first column is the logarithm of the amount that is expected of the row's
        exposure, the second is above zero if the row has exposure (see `RateEncoder`).

        Raises:
            ValueError: an amount is negative or not finite, or no row has an exposure.
        """
        rows, amounts = self._read(X, y)
        exposed = rows[:, 1] > 0
        if not exposed.any():
            raise ValueError("no row has an exposure: there is nothing to learn")
        self.regressor_ = clone(self.regressor).fit(rows[exposed], amounts[exposed])
        least, idle = float(np.exp(rows[exposed, 0]).min()), amounts[~exposed]
        self.amount_without_exposure_ = min((float(idle.sum()) + least) / (len(idle) + 1), least)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Amounts, shape [rows]."""
        check_is_fitted(self)
        rows = np.asarray(X, dtype=np.float64)
        amounts = np.asarray(self.regressor_.predict(rows), dtype=np.float64)
        return np.where(rows[:, 1] > 0, amounts, self.amount_without_exposure_)


class HurdleRegressor(_AmountRegressor):
    """Predicts the probability of a positive amount times the expected positive amount.

    Cragg 1971, "Some Statistical Models for Limited Dependent Variables"; with a
    lognormal amount it is what Wang et al. 2019, "A Deep Probabilistic Model for
    Customer Lifetime Value Prediction", train by a joint loss.

    Args:
        classifier: learns whether the amount is above zero, from all rows.
        regressor: learns the amount from the rows whose amount is above zero.

    Attributes:
        classifier_: the fitted classifier; None where every amount was above zero.
        regressor_: the fitted regressor.
    """

    classifier_: ClassifierMixin | None

    def __init__(self, classifier: Any, regressor: Any) -> None:
        self.classifier = classifier
        self.regressor = regressor

    def fit(self, X: ArrayLike, y: ArrayLike) -> HurdleRegressor:
        """Fit to numbers [rows, columns] and amounts [rows].

        Raises:
            ValueError: no amount is above zero, or one is negative or not finite.
        """
        rows, amounts = self._read(X, y)
        some = amounts > 0
        if not some.any():
            raise ValueError("no amount is above zero: there is nothing to learn")
        self.classifier_ = None if some.all() else clone(self.classifier).fit(rows, some.astype(np.int64))
        self.regressor_ = clone(self.regressor).fit(rows[some], amounts[some])
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Amounts, shape [rows]."""
        probabilities = self.predict_some(X)
        amounts = self.regressor_.predict(np.asarray(X, dtype=np.float64))
        return probabilities * np.asarray(amounts, dtype=np.float64)

    def predict_some(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities of an amount above zero, shape [rows]."""
        check_is_fitted(self)
        rows = np.asarray(X, dtype=np.float64)
        if self.classifier_ is None:
            return np.ones(len(rows))
        return np.asarray(self.classifier_.predict_proba(rows), dtype=np.float64)[:, 1]
