"""Families of functions of columns, and of the target."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray
from sklearn import ensemble, linear_model
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
)

from scorewire_training.releases import SKLEARN_RELEASE
from tests.families.data import everything, small_numbers
from tests.families.fits import Fit, after_preparation, sized
from tests.families.running import Family


def logged(values: Any) -> Any:
    return np.log1p(np.abs(values))


def counted(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers that are 0 or more, some of them missing."""
    return frame[["age", "income", "visits"]]


def counted_whole(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers above 0, without missing ones."""
    return counted(frame).fillna(2.0) + 1.0


def behind(model: Any, *steps: Any) -> Fit:
    """Fits new copies of steps and of a model."""

    def fit(frame: pd.DataFrame, target: NDArray[Any], size: int) -> Any:
        last = sized(model, size) if isinstance(model, type) else clone(model)
        return make_pipeline(*map(clone, steps), last).fit(frame, target)

    return fit


TREES = {
    "XGBoost": xgboost.XGBRegressor,
    "LightGBM": lightgbm.LGBMRegressor,
    "HistGradientBoosting": ensemble.HistGradientBoostingRegressor,
    "random forest": ensemble.RandomForestRegressor,
}
LINES = {"ridge": linear_model.Ridge(), "logistic regression": linear_model.LogisticRegression()}
STEPS = {
    "log1p": FunctionTransformer(np.log1p),
    "square root": FunctionTransformer(np.sqrt),
    "Yeo-Johnson": PowerTransformer(),
    "Box-Cox": PowerTransformer("box-cox"),
    "quantiles": QuantileTransformer(n_quantiles=100),
    "normal quantiles": QuantileTransformer(n_quantiles=100, output_distribution="normal"),
}
# The default is deprecated; releases before 1.7 have only the default.
_QUANTILES = {"quantile_method": "averaged_inverted_cdf"} if SKLEARN_RELEASE >= (1, 7) else {}
_LOG1P, _SCALER = STEPS["log1p"], StandardScaler()

FUNCTIONS = [
    *(
        Family(
            name=f"{step}, {model}",
            fit=behind(TREES[model], STEPS[step]),
            prepare=counted_whole if model == "random forest" or step == "Box-Cox" else counted,
        )
        for step in STEPS
        for model in TREES
    ),
    *(
        Family(
            name=f"{step}, {model}",
            fit=behind(LINES[model], STEPS[step]),
            prepare=counted_whole,
            target="value" if model == "ridge" else "two",
        )
        for step in STEPS
        for model in LINES
    ),
    Family(name="log1p, scaled, XGBoost", fit=behind(TREES["XGBoost"], _LOG1P, _SCALER), prepare=counted),
    Family(
        name="imputed, log1p, random forest",
        fit=behind(TREES["random forest"], SimpleImputer(add_indicator=True), _LOG1P),
        prepare=counted,
    ),
    Family(
        name="log1p, imputed, LightGBM",
        fit=behind(TREES["LightGBM"], _LOG1P, SimpleImputer(strategy="median")),
        prepare=counted,
    ),
    Family(
        name="log1p, bins, ridge",
        fit=behind(LINES["ridge"], _LOG1P, KBinsDiscretizer(10, **_QUANTILES)),
        prepare=counted_whole,
    ),
    Family(name="splines, ridge", fit=behind(LINES["ridge"], SplineTransformer()), prepare=counted_whole),
    Family(
        name="splines that refuse what is outside, logistic regression",
        fit=behind(LINES["logistic regression"], SplineTransformer(extrapolation="error", n_knots=4)),
        prepare=counted_whole,
        target="two",
    ),
    Family(
        name="splines, random forest",
        fit=behind(TREES["random forest"], SplineTransformer()),
        prepare=counted_whole,
        refused="rises and falls",
    ),
    Family(
        name="log1p, LightGBM linear_tree",
        fit=behind(lightgbm.LGBMRegressor(verbose=-1, linear_tree=True, n_estimators=5), _LOG1P),
        prepare=counted_whole,
        refused="linear_tree=False",
    ),
    Family(
        name="log1p, XGBoost gblinear",
        fit=behind(xgboost.XGBRegressor(booster="gblinear", n_estimators=5), _LOG1P),
        prepare=counted_whole,
    ),
    Family(
        name="magnitude's logarithm, XGBoost",
        fit=behind(TREES["XGBoost"], FunctionTransformer(np.abs), _LOG1P),
        refused="neither only rises nor only falls",
    ),
]

MAPPED = [
    *FUNCTIONS,
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
