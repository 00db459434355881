"""The installed releases of scikit-learn and XGBoost, and names that differ between releases."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import sklearn
import xgboost
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # before 1.6
    validate_data = None

# Major and minor numbers.
SKLEARN_RELEASE = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
XGBOOST_RELEASE = tuple(int(part) for part in xgboost.__version__.split(".")[:2])


def _class_of(module: str, name: str) -> Any:
    """A class of scikit-learn; where this release lacks it, a new class that has no instances."""
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return type(name, (), {})


# scikit-learn has it from 1.6 on.
FrozenEstimator = _class_of("sklearn.frozen", "FrozenEstimator")


def read_objects(estimator: BaseEstimator, X: ArrayLike, *, reset: bool) -> Any:
    """Check X as scikit-learn's estimators do and copy it to dtype object; missing values are allowed.

    Args:
        estimator: the estimator that X is passed to.
        X: the rows, shape [rows, columns].
        reset: True in `fit`, which remembers the columns; False compares them with those of `fit`.

    Raises:
        ValueError: X does not have two dimensions, or has other columns than in `fit`.
    """
    if validate_data is None:
        return estimator._validate_data(X, reset=reset, dtype=object, force_all_finite=False, copy=True)
    return validate_data(estimator, X, reset=reset, dtype=object, ensure_all_finite=False, copy=True)
