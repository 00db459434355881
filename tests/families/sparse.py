"""Families of trees over sparse matrices, whose left-out zeros are missing to XGBoost."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, StandardScaler

from tests.families.data import NUMBERS, TEXTS, everything
from tests.families.fits import Fit, sized
from tests.families.running import Family

XGBOOST, LIGHTGBM = xgboost.XGBClassifier, lightgbm.LGBMClassifier


def stacked(cls: Any, *after: Any, before: Any = "passthrough") -> Fit:
    """Fits trees over a sparse stack of one-hot texts and numbers, with steps before and after it."""

    def fit(frame: pd.DataFrame, target: NDArray[Any], size: int) -> Any:
        columns = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), TEXTS), (before, NUMBERS), sparse_threshold=1.0
        )
        return make_pipeline(columns, *after, sized(cls, size)).fit(frame, target)

    return fit


def _families(name: str, *after: Any, before: Any = "passthrough") -> list[Family]:
    return [
        Family(
            name=f"{name}, {library}",
            fit=stacked(cls, *after, before=before),
            target="two",
            prepare=everything,
        )
        for library, cls in (("XGBoost", XGBOOST), ("LightGBM", LIGHTGBM))
    ]


SPARSE = [
    *_families("sparse stack"),
    *_families("sparse stack of scaled numbers", before=StandardScaler()),
    *_families("sparse stack, scaled", MaxAbsScaler()),
    *_families("sparse stack, filled with 0", SimpleImputer(strategy="constant", fill_value=0)),
    *_families("sparse stack, filled, with indicators", SimpleImputer(add_indicator=True)),
    *_families(
        "sparse union",
        make_union(MaxAbsScaler(), StandardScaler(with_mean=False)),
        before=SimpleImputer(missing_values=np.nan),
    ),
]
