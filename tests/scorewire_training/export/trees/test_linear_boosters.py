"""XGBoost's gblinear and LightGBM's linear trees."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from scorewire_training.export.trees import read_trees
from tests.scorewire_training.export.trees.comparison import (
    BINARY,
    NUMBER,
    POSITIVE,
    THREE,
    X,
    assert_exports,
    run,
)

LINES = {"booster": "gblinear", "n_estimators": 8, "n_jobs": 1}
LEAVES = {"linear_tree": True, "n_estimators": 8, "num_leaves": 7, "n_jobs": 1, "verbose": -1}


@pytest.mark.parametrize(
    "estimator",
    [
        lambda: xgboost.XGBRegressor(**LINES).fit(X, NUMBER),
        lambda: xgboost.XGBRegressor(**LINES, base_score=3.0, reg_alpha=0.1).fit(X, NUMBER),
        lambda: xgboost.XGBRegressor(**LINES).fit(X, np.column_stack([NUMBER, 5 - NUMBER])),
        lambda: xgboost.XGBClassifier(**LINES).fit(X, BINARY),
        lambda: xgboost.XGBClassifier(**LINES).fit(X, THREE),
    ],
)
def test_lines_of_xgboost(estimator: Any) -> None:
    assert_exports(estimator(), X, infinite=False)


def test_a_booster_of_lines() -> None:
    booster = xgboost.train(
        {"booster": "gblinear", "objective": "binary:logistic"}, xgboost.DMatrix(X, BINARY), 5
    )
    assert_exports(booster, X, predict=lambda rows: booster.predict(xgboost.DMatrix(rows)), infinite=False)


def test_lines_with_another_number_for_missing() -> None:
    rows = np.nan_to_num(X, nan=-999.0)
    estimator = xgboost.XGBRegressor(**LINES, missing=-999.0).fit(rows, NUMBER)
    model = read_trees(estimator)
    assert model is not None
    for given in (rows, X):
        assert run(model, given)["value"].ravel() == pytest.approx(estimator.predict(given), rel=1e-5)


@pytest.mark.parametrize(
    "estimator",
    [
        lambda: lightgbm.LGBMRegressor(**LEAVES).fit(X, NUMBER),
        lambda: lightgbm.LGBMRegressor(**LEAVES, boosting_type="dart", drop_rate=0.5).fit(X, NUMBER),
        lambda: lightgbm.LGBMRegressor(**LEAVES, objective="poisson").fit(X, POSITIVE),
        lambda: lightgbm.LGBMRegressor(**LEAVES, boosting_type="rf", subsample=0.5, subsample_freq=1).fit(
            X, NUMBER
        ),
        lambda: lightgbm.LGBMClassifier(**LEAVES).fit(X, BINARY),
        lambda: lightgbm.LGBMClassifier(**LEAVES).fit(X, THREE),
    ],
)
def test_trees_of_lines_of_lightgbm(estimator: Any) -> None:
    model = assert_exports(estimator(), X)
    assert model.family.endswith("linear trees)")


def test_trees_of_lines_with_categories() -> None:
    rows = X.copy()
    rows[:, 1] = np.arange(len(rows)) % 7
    settings = {**LEAVES, "min_data_per_group": 1, "cat_smooth": 0.1}
    estimator = lightgbm.LGBMRegressor(**settings).fit(rows, NUMBER + rows[:, 1], categorical_feature=[1])
    assert_exports(estimator, rows, categorical=(1,), codes=(0.0, 3.0, 6.0, 7.0, -1.0, 1e9))


def test_trees_of_lines_read_back_from_their_text() -> None:
    text = lightgbm.LGBMClassifier(**LEAVES).fit(X, BINARY).booster_.model_to_string()
    booster = lightgbm.Booster(model_str=text)
    assert_exports(booster, X, predict=booster.predict)
