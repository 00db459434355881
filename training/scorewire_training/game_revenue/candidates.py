"""The candidate models, and the loss that they are compared by.

Revenue is nearly a rate for each counted event, which depends on the country and the
device. The encoder computes the expected amount by that rule (`RateEncoder`), and
every candidate learns in its own way how far a user is above or below it
(`RateRegressor`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd
from lightgbm import LGBMClassifier, LGBMRegressor
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline

from scorewire_training.estimators import (
    ExposedRegressor,
    FrequencyEncoder,
    HurdleRegressor,
    LogRegressor,
    RateEncoder,
    RateRegressor,
    TextCleaner,
)
from scorewire_training.game_revenue.data import EXPOSURE, NUMBERS, TEXTS, Part, draw_folds
from scorewire_training.study.candidates import Candidate, Parameters
from scorewire_training.study.validation import Fold, Loss
from scorewire_training.study.xgboost_backend import LOCAL, Backend

# Dollars: the few users above dominate every mean.
ORDINARY_LIMIT = 1_000.0
LOSS_NAME = (
    "mean absolute error as a share of that of the median of training, averaged over three views: dollars "
    f"over all users, dollars over users up to ${ORDINARY_LIMIT:,.0f}, and the logarithm of 1 + cents"
)
# Columns of the encoder: whether there are events, and the effects. They have no missing numbers.
_LINEAR_COLUMNS = slice(1, 2 + len(TEXTS))
_LINEAR_RATE_COLUMNS = slice(0, 1 + len(TEXTS))
# Without the expected amount: it is a sum, and a threshold on it would depend on rounding.
_TREE_COLUMNS = slice(1, None)


def build_candidates(seed: int, backend: Backend = LOCAL) -> tuple[Candidate, ...]:
    """The candidates, from the simplest on; they take rows that `build_encoder` encoded."""

    def build_tweedie_xgboost(parameters: Parameters, seed: int) -> RateRegressor:
        return _build_tweedie_xgboost(parameters, seed, backend)

    def candidate(
        name: str,
        suggest: Callable[[optuna.Trial], Parameters],
        build: Callable[[Parameters, int], Any],
    ) -> Candidate:
        return Candidate(
            name=name,
            suggest=suggest,
            build=lambda parameters: Pipeline([("model", ExposedRegressor(build(parameters, seed)))]),
        )

    return (
        candidate("hurdle-linear", _suggest_linear, _build_hurdle_linear),
        candidate("log-lightgbm", _suggest_log, _build_log),
        candidate("hurdle-lightgbm", _suggest_boosting, _build_hurdle_boosted),
        candidate("tweedie-lightgbm", _suggest_tweedie_lightgbm, _build_tweedie_lightgbm),
        candidate("tweedie-xgboost", _suggest_tweedie_xgboost, build_tweedie_xgboost),
    )


def build_encoder(seed: int) -> ColumnTransformer:
    """Each text encoded by its rate and by its frequency, and the numbers unchanged."""
    frequency = Pipeline([("clean", TextCleaner()), ("encode", FrequencyEncoder())])
    return ColumnTransformer(
        [
            (
                "rates",
                RateEncoder(count_columns=len(EXPOSURE), random_state=seed),
                [*TEXTS, *EXPOSURE],
            ),
            ("frequency", frequency, list(TEXTS)),
            ("numbers", "passthrough", list(NUMBERS)),
        ],
        # XGBoost would read the zeros of a sparse matrix as missing.
        sparse_threshold=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedFolds:
    """All folds, each encoded by an encoder that was fitted on its own training rows.

    `rows` has every training user once for each fold, `target` has their revenue,
    and `folds` the positions to fit on and to validate on. The encoder has no tuned
    parameters, so no trial needs to encode again.
    """

    rows: pd.DataFrame
    target: NDArray[np.float64]
    folds: tuple[Fold, ...]


def encode_folds(training: Part, count: int, *, seed: int) -> EncodedFolds:
    """Encode the folds of the training part."""
    fold = draw_folds(training, count, seed=seed)
    encoded, target, folds = [], [], []
    begin = 0
    for i in range(count):
        fitted, validated = training.take(fold != i), training.take(fold == i)
        encoder = build_encoder(seed)
        encoded.append(encoder.fit_transform(fitted.features, fitted.revenue))
        encoded.append(encoder.transform(validated.features))
        target += [fitted.revenue, validated.revenue]
        middle, end = begin + len(fitted.revenue), begin + len(training.revenue)
        folds.append((np.arange(begin, middle), np.arange(middle, end)))
        begin = end
    return EncodedFolds(
        rows=pd.DataFrame(np.concatenate(encoded)), target=np.concatenate(target), folds=tuple(folds)
    )


def fit_candidate(candidate: Candidate, parameters: Parameters, part: Part, *, seed: int) -> Pipeline:
    """Fit the whole pipeline, encoder and model, on a part."""
    model = candidate.build(parameters)
    return Pipeline([("features", build_encoder(seed)), *model.steps]).fit(part.features, part.revenue)


def make_loss(constant: float) -> Loss:
    """The loss that LOSS_NAME describes, with a constant prediction as its reference.

    Over all users alone, about twenty of them would decide which model is chosen; in
    the logarithm every user counts the same. A view in which the constant is exact
    is left out.
    """

    def loss(truth: NDArray[np.float64], predictions: NDArray[np.float64]) -> float:
        ordinary = truth <= ORDINARY_LIMIT
        candidate = np.full(len(truth), constant)
        shares = []
        for amounts, forecast, level in (
            (truth, predictions, candidate),
            (truth[ordinary], predictions[ordinary], candidate[ordinary]),
            (_log_cents(truth), _log_cents(predictions), _log_cents(candidate)),
        ):
            error = float(np.abs(amounts - level).sum())
            if error:
                shares.append(float(np.abs(amounts - forecast).sum()) / error)
        return float(np.mean(shares)) if shares else float(np.abs(truth - predictions).mean())

    return loss


def _log_cents(dollars: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log1p(100.0 * dollars)


def _suggest_linear(trial: optuna.Trial) -> Parameters:
    return {
        "penalty": trial.suggest_float("penalty", 1e-2, 1e3, log=True),
        "hurdle_penalty": trial.suggest_float("hurdle_penalty", 1e-3, 1e1, log=True),
    }


def _build_hurdle_linear(parameters: Parameters, _seed: int) -> HurdleRegressor:
    """Logistic regression, and ridge regression of the logarithm."""
    hurdle = LogisticRegression(C=1 / parameters["hurdle_penalty"], solver="newton-cholesky")
    amount = LogRegressor(_select(_LINEAR_RATE_COLUMNS, Ridge(alpha=parameters["penalty"])))
    return HurdleRegressor(_select(_LINEAR_COLUMNS, hurdle), RateRegressor(amount))


def _select(columns: slice, model: Any) -> Pipeline:
    return Pipeline([("columns", ColumnTransformer([("own", "passthrough", columns)])), ("model", model)])


# The ratios to learn are near 1 and need leaves with many users. Smaller leaves would single out
# one country or device, and unseen ones would be scored like the rarest.
def _suggest_boosting(trial: optuna.Trial) -> Parameters:
    return {
        "n_estimators": trial.suggest_int("n_estimators", 40, 120),
        "learning_rate": trial.suggest_float("learning_rate", 0.05, 0.2, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 4, 16),
        "min_child_samples": trial.suggest_int("min_child_samples", 20, 100),
        "reg_lambda": trial.suggest_float("reg_lambda", 1.0, 30.0, log=True),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.5, 1.0),
    }


def _suggest_log(trial: optuna.Trial) -> Parameters:
    return {"shift": trial.suggest_float("shift", 1e-2, 1.0, log=True), **_suggest_boosting(trial)}


def _build_log(parameters: Parameters, seed: int) -> RateRegressor:
    """Trees that learn the logarithm of the rate plus a shift."""
    trees = {name: value for name, value in parameters.items() if name != "shift"}
    return RateRegressor(LogRegressor(_lightgbm(trees, seed), shift=parameters["shift"]))


def _build_hurdle_boosted(parameters: Parameters, seed: int) -> HurdleRegressor:
    """Trees that learn whether there is revenue, and trees that learn the logarithm of the rate."""
    hurdle = LGBMClassifier(n_estimators=40, num_leaves=7, **_lightgbm_settings(seed))
    amount = LogRegressor(_lightgbm(parameters, seed))
    return HurdleRegressor(_select(_TREE_COLUMNS, hurdle), RateRegressor(amount))


def _suggest_tweedie_lightgbm(trial: optuna.Trial) -> Parameters:
    return {"power": trial.suggest_float("power", 1.3, 1.95), **_suggest_boosting(trial)}


def _build_tweedie_lightgbm(parameters: Parameters, seed: int) -> RateRegressor:
    trees = {name: value for name, value in parameters.items() if name != "power"}
    power = parameters["power"]
    model = _lightgbm({"objective": "tweedie", "tweedie_variance_power": power, **trees}, seed)
    return RateRegressor(model, power=power)


def _suggest_tweedie_xgboost(trial: optuna.Trial) -> Parameters:
    return {
        "power": trial.suggest_float("power", 1.3, 1.95),
        # XGBoost adds leaves in single precision, and the link makes the error of the sum a relative
        # one: with fewer trees, the scores of a bundle are closer.
        "n_estimators": trial.suggest_int("n_estimators", 30, 80),
        "learning_rate": trial.suggest_float("learning_rate", 0.1, 0.3, log=True),
        "max_depth": trial.suggest_int("max_depth", 2, 5),
        "min_child_weight": trial.suggest_float("min_child_weight", 10.0, 50.0, log=True),
        "reg_lambda": trial.suggest_float("reg_lambda", 1.0, 30.0, log=True),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.5, 1.0),
    }


def _build_tweedie_xgboost(parameters: Parameters, seed: int, backend: Backend) -> RateRegressor:
    trees = {name: value for name, value in parameters.items() if name != "power"}
    power = parameters["power"]
    model = backend.regressor(
        objective="reg:tweedie",
        tweedie_variance_power=power,
        # On tables of this size one thread is faster than two, by far where cores are busy.
        n_jobs=1,
        random_state=seed,
        **trees,
    )
    return RateRegressor(model, power=power)


def _lightgbm(parameters: Parameters, seed: int) -> LGBMRegressor:
    return LGBMRegressor(**parameters, **_lightgbm_settings(seed))


def _lightgbm_settings(seed: int) -> dict[str, Any]:
    return {
        "n_jobs": 1,
        "random_state": seed,
        # These give the same trees on every machine and in every run.
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
