"""Functions that fit the families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray
from sklearn import ensemble
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from scorewire_training.estimators import LogOddsCalibrator, TextCleaner
from tests.families.data import TEXTS

Fit = Callable[[pd.DataFrame, "NDArray[Any]", int], Any]


def estimator(cls: Any, **settings: Any) -> Fit:
    """Fits an estimator with the given number of trees."""

    def fit(frame: pd.DataFrame, target: NDArray[Any], size: int) -> Any:
        return sized(cls, size, **settings).fit(frame, target)

    return fit


_HGB = (ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor)


def _quiet(cls: Any) -> dict[str, Any]:
    if issubclass(cls, lightgbm.LGBMModel):
        return {"verbose": -1, "random_state": 0, "n_jobs": 2}
    if issubclass(cls, xgboost.XGBModel):
        return {"random_state": 0, "n_jobs": 2}
    return {"random_state": 0}


def sized(cls: Any, size: int, **settings: Any) -> Any:
    """An estimator with the given number of trees."""
    count = "max_iter" if issubclass(cls, _HGB) else "n_estimators"
    return cls(**{count: size, **_quiet(cls), **settings})


def whole(model: Any) -> Fit:
    """Fits a model without a number of trees."""
    return lambda frame, target, _: model.fit(frame, target)


def after_encoder(encoder: Any, cls: Any, **settings: Any) -> Fit:
    """Fits an encoder of text columns, with numbers passed through, followed by an estimator."""

    def fit(frame: pd.DataFrame, target: NDArray[Any], size: int) -> Any:
        columns = make_column_transformer((encoder, TEXTS), remainder="passthrough", sparse_threshold=0)
        return make_pipeline(columns, sized(cls, size, **settings)).fit(frame, target)

    return fit


def after_preparation(model: Any, *steps: Any) -> Fit:
    """Fits a model after imputed, scaled numbers and one-hot texts."""

    def fit(frame: pd.DataFrame, target: NDArray[Any], _: int) -> Any:
        numbers = make_pipeline(SimpleImputer(add_indicator=True), *(steps or (StandardScaler(),)))
        texts = make_pipeline(TextCleaner(), OneHotEncoder(handle_unknown="ignore", min_frequency=5))
        columns = make_column_transformer(
            (numbers, make_column_selector(dtype_include="number")),
            (texts, make_column_selector(dtype_include=object)),
            sparse_threshold=0,
        )
        return make_pipeline(columns, model).fit(frame, target)

    return fit


def stopping_early(cls: Any, **settings: Any) -> Fit:
    def fit(frame: pd.DataFrame, target: NDArray[Any], size: int) -> Any:
        half = len(frame) // 2
        is_xgboost = issubclass(cls, xgboost.XGBModel)
        held_out = {"eval_set": [(frame[half:], target[half:])]}
        if is_xgboost:
            model = sized(cls, 4 * size, early_stopping_rounds=3, **settings)
            return model.fit(frame[:half], target[:half], verbose=False, **held_out)
        model = sized(cls, 4 * size, **settings)
        stop = lightgbm.early_stopping(3, verbose=False)
        return model.fit(frame[:half], target[:half], callbacks=[stop], **held_out)

    return fit


def ranker(cls: Any) -> Fit:
    def fit(frame: pd.DataFrame, target: NDArray[Any], size: int) -> Any:
        groups = {"qid": np.arange(len(frame)) // 20} if cls is xgboost.XGBRanker else {}
        if not groups:
            groups = {"group": np.full(len(frame) // 20, 20)}
        return sized(cls, size).fit(frame, target, **groups)

    return fit


def booster(library: str, **settings: Any) -> Fit:
    def fit(frame: pd.DataFrame, target: NDArray[Any], size: int) -> Any:
        if library == "xgboost":
            matrix = xgboost.DMatrix(frame, target)
            if settings["objective"] == "survival:aft":
                matrix.set_float_info("label_lower_bound", target)
                matrix.set_float_info("label_upper_bound", target * 1.5)
            return xgboost.train({"nthread": 2, **settings}, matrix, size)
        return lightgbm.train({"verbose": -1, **settings}, lightgbm.Dataset(frame, target), size)

    return fit


def calibrated(fit: Fit) -> Fit:
    """Fits a pipeline on half of the rows, and a calibrator of its last step on the other half."""

    def fit_twice(frame: pd.DataFrame, target: NDArray[Any], size: int) -> Any:
        half = len(frame) // 2
        fitted = fit(frame[:half], target[:half], size)
        calibrator = LogOddsCalibrator(fitted[-1]).fit_probabilities(
            fitted.predict_proba(frame[half:])[:, 1], target[half:]
        )
        return Pipeline([*fitted.steps[:-1], ("model", calibrator)])

    return fit_twice
