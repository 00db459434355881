"""The releases of the libraries that are here, and names that the older ones lack or have elsewhere."""

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
    """A class of scikit-learn; where this release lacks it, one that no model is an instance of."""
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return type(name, (), {})


# From 1.6 on.
FrozenEstimator = _class_of("sklearn.frozen", "FrozenEstimator")


def read_objects(estimator: BaseEstimator, X: ArrayLike, *, reset: bool) -> Any:
    """A checked copy of X of dtype object, missing values allowed; `reset` remembers its columns.

    Raises:
        ValueError: X is not of two dimensions, or has other columns than in `fit`.
    """
    if validate_data is None:
        return estimator._validate_data(X, reset=reset, dtype=object, force_all_finite=False, copy=True)
    return validate_data(estimator, X, reset=reset, dtype=object, ensure_all_finite=False, copy=True)
