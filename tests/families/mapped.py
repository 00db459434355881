"""Families of functions of columns, and of the target."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import linear_model
from sklearn.compose import TransformedTargetRegressor
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, PolynomialFeatures, StandardScaler

from tests.families.data import everything, small_numbers
from tests.families.fits import after_preparation
from tests.families.running import Family


def logged(values: Any) -> Any:
    return np.log1p(np.abs(values))


MAPPED = [
    Family(
        name="ridge over bins",
        fit=after_preparation(linear_model.Ridge(), KBinsDiscretizer(encode="onehot-dense")),
        prepare=everything,
    ),
    Family(
        name="ridge over polynomials",
        fit=after_preparation(linear_model.Ridge(), StandardScaler(), PolynomialFeatures(2)),
        prepare=small_numbers,
    ),
    Family(
        name="ridge over products of columns as they come",
        fit=after_preparation(linear_model.Ridge(), PolynomialFeatures(interaction_only=True)),
        prepare=small_numbers,
    ),
    Family(
        name="function of one's own",
        fit=after_preparation(linear_model.Ridge(), FunctionTransformer(logged)),
        refused="FunctionTransformer",
    ),
    Family(
        name="log1p target, ridge",
        fit=after_preparation(
            TransformedTargetRegressor(linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1)
        ),
        target="positive",
        prepare=everything,
    ),
]
