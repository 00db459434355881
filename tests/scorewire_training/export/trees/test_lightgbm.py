from __future__ import annotations

from inspect import signature
from typing import Any

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.trees import read_trees
from tests.scorewire_training.export.trees.comparison import (
    BINARY,
    LARGE,
    NUMBER,
    POSITIVE,
    SMALL,
    THREE,
    X,
    assert_close,
    assert_exports,
    categorical_frame,
    run,
)

GROUPS = [50] * 10
SETTINGS = {"n_estimators": 12, "num_leaves": 12, "min_child_samples": 5, "n_jobs": 1, "verbose": -1}
FOREST = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}
# Settings that let small data split on categories.
CATEGORICAL = {"min_data_per_group": 1, "cat_smooth": 0.1, "max_cat_threshold": 600}
CODES = (*map(float, range(-3, 70)), 0.5, -0.5, 1.5, -1.5, 0.99999, 1e-36, 300.0, 1e9, 3e9, -3e9, 1e30)


def regressor(y: NDArray[Any], **settings: Any) -> lightgbm.LGBMRegressor:
    return lightgbm.LGBMRegressor(**{**SETTINGS, **settings}).fit(X, y)


def classifier(y: NDArray[Any], **settings: Any) -> lightgbm.LGBMClassifier:
    return lightgbm.LGBMClassifier(**{**SETTINGS, **settings}).fit(X, y)


@pytest.mark.parametrize(
    ("objective", "y"),
    [
        ("regression", NUMBER),
        ("regression_l1", NUMBER),
        ("huber", NUMBER),
        ("fair", NUMBER),
        ("mape", POSITIVE),
        ("quantile", NUMBER),
        ("poisson", POSITIVE),
        ("gamma", POSITIVE),
        ("tweedie", POSITIVE),
        ("cross_entropy", BINARY),
        ("cross_entropy_lambda", BINARY),
        ("binary", BINARY),
    ],
)
def test_a_regressor_answers_what_its_objective_does(objective: str, y: NDArray[Any]) -> None:
    model = assert_exports(regressor(y, objective=objective), X)
    assert model.family == f"LGBMRegressor ({objective})"
    assert model.input_type == "float64"


@pytest.mark.parametrize("objective", ["regression", "regression_l1"])
def test_the_square_of_a_root(objective: str) -> None:
    assert_exports(regressor(NUMBER, objective=objective, reg_sqrt=True), X)


@pytest.mark.parametrize(
    "settings",
    [
        {"boosting_type": "dart", "drop_rate": 0.5},
        {"data_sample_strategy": "goss"},
        {**FOREST},
        {**FOREST, "n_estimators": 7},
        {"extra_trees": True},
        {"min_child_samples": 400},  # trees of one leaf
    ],
)
def test_ways_to_grow_trees(settings: dict[str, Any]) -> None:
    assert_exports(regressor(NUMBER, **settings), X)


@pytest.mark.parametrize("settings", [{"zero_as_missing": True}, {"use_missing": False}, {}])
@pytest.mark.parametrize("complete", [False, True], ids=["NaN in training", "none in training"])
def test_the_three_kinds_of_missing(settings: dict[str, Any], complete: bool) -> None:
    rows = np.nan_to_num(X) if complete else X
    assert_exports(lightgbm.LGBMRegressor(**SETTINGS, **settings).fit(rows, NUMBER), X)


def test_values_that_the_library_reads_as_zero() -> None:
    rows = X.copy()
    rows[:, 1] = np.where(rows[:, 1] > 2, rows[:, 1], 0)
    rows[::3, 0] = 0
    model = assert_exports(lightgbm.LGBMRegressor(**SETTINGS).fit(rows, NUMBER), rows)
    assert any((np.abs(thresholds) < 1e-34).any() for thresholds in model.thresholds.values())


@pytest.mark.parametrize(
    ("y", "settings"),
    [
        (BINARY, {}),
        (BINARY, {"sigmoid": 2.0}),
        (BINARY, {"objective": "cross_entropy"}),
        (BINARY, FOREST),
        (BINARY, {"is_unbalance": True}),
        (THREE, {}),
        (THREE, {"objective": "multiclassova"}),
        (THREE, {"objective": "multiclassova", "sigmoid": 0.5}),
        (THREE, {"zero_as_missing": True}),
        (THREE, FOREST),
        (THREE, {"min_child_samples": 200}),
        (np.array(["low", "middle", "high"])[THREE], {}),
    ],
)
def test_classifiers(y: NDArray[Any], settings: dict[str, Any]) -> None:
    assert_exports(classifier(y, **settings), X)


@pytest.mark.parametrize("objective", ["lambdarank", "rank_xendcg"])
def test_rankers(objective: str) -> None:
    assert_exports(lightgbm.LGBMRanker(objective=objective, **SETTINGS).fit(X, THREE, group=GROUPS), X)


def test_an_estimator_that_stopped_early() -> None:
    estimator = lightgbm.LGBMClassifier(**{**SETTINGS, "n_estimators": 80, "learning_rate": 0.5})
    stop = lightgbm.early_stopping(3, verbose=False)
    data: dict[str, Any] = {"eval_X": (X[300:],), "eval_y": (THREE[300:],)}
    if "eval_X" not in signature(estimator.fit).parameters:  # before 4.7
        data = {"eval_set": [(X[300:], THREE[300:])]}
    estimator.fit(X[:300], THREE[:300], callbacks=[stop], **data)
    assert estimator.best_iteration_ < 80
    assert_exports(estimator, X)


def test_a_booster_that_stopped_early_uses_its_best_iteration() -> None:
    parameters = {"objective": "regression", "learning_rate": 0.7, "verbose": -1, "num_threads": 1}
    data = lightgbm.Dataset(X[:300], NUMBER[:300], params={"verbose": -1})
    booster = lightgbm.train(
        parameters,
        data,
        80,
        valid_sets=[lightgbm.Dataset(X[300:], NUMBER[300:], reference=data)],
        callbacks=[lightgbm.early_stopping(3, verbose=False)],
        keep_training_booster=True,
    )
    assert booster.best_iteration < booster.num_trees()
    model = assert_exports(booster, X, predict=booster.predict)
    assert len(model.ensemble.trees) == booster.best_iteration


@pytest.mark.parametrize("settings", [{}, {"zero_as_missing": True}, {"max_cat_to_onehot": 100}])
def test_categories(settings: dict[str, Any]) -> None:
    estimator = lightgbm.LGBMRegressor(**SETTINGS, **CATEGORICAL, **settings)
    estimator.fit(X, NUMBER, categorical_feature=[SMALL, LARGE])
    codes = (*CODES, np.inf, -np.inf)
    model = assert_exports(estimator, X, categorical=(SMALL, LARGE), codes=codes)
    assert LARGE in model.categories
    assert LARGE not in model.thresholds


def test_the_codes_of_a_data_frames_categories_are_those_of_its_dtype() -> None:
    frame, codes = categorical_frame()
    estimator = lightgbm.LGBMRegressor(**SETTINGS, **CATEGORICAL).fit(frame, NUMBER)
    model = read_trees(estimator)
    assert model is not None
    want = estimator.predict(frame)
    assert_close(run(model, np.column_stack([X[:, 0], codes]))["value"], want, want)
    assert 1 in model.categories


def test_hundreds_of_categories() -> None:
    random = np.random.default_rng(0)
    rows = np.column_stack([random.normal(size=4000), random.integers(0, 600, 4000)])
    y = np.sin(rows[:, 1] * 7) * 3 + rows[:, 0]
    estimator = lightgbm.LGBMRegressor(**SETTINGS, **CATEGORICAL).fit(rows, y, categorical_feature=[1])
    assert_exports(estimator, rows, categorical=(1,), codes=tuple(map(float, range(-2, 700))))


@pytest.mark.parametrize("parameters", [{"objective": "binary"}, {"objective": "multiclass", "num_class": 3}])
def test_a_booster_read_back_from_its_text(parameters: dict[str, Any]) -> None:
    y = THREE if "num_class" in parameters else BINARY
    data = lightgbm.Dataset(X, y, params={"verbose": -1})
    booster = lightgbm.train({**parameters, "verbose": -1, "num_threads": 1}, data, 9)
    loaded = lightgbm.Booster(model_str=booster.model_to_string())
    model = assert_exports(loaded, X, predict=booster.predict)
    assert model.classes is not None
    assert model.classes.labels == ("0", "1", "2")[: max(2, len(set(y)))]


def test_an_objective_of_ones_own_answers_with_margins() -> None:
    def squared(y: NDArray[Any], predicted: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        return predicted - y, np.ones_like(predicted)

    assert_exports(regressor(NUMBER, objective=squared), X)


def test_large_targets_stay_exact() -> None:
    estimator = regressor(NUMBER * 1e6, n_estimators=100)
    model = assert_exports(estimator, X)
    assert np.abs(run(model, X)["value"][:, 0] - estimator.predict(X)).max() < 1e-6


def test_a_classifier_without_probabilities_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="no probabilities"):
        read_trees(classifier(BINARY, objective="regression"))


def test_trees_that_disagree_about_missing_are_refused() -> None:
    first = lightgbm.LGBMRegressor(**SETTINGS, zero_as_missing=True).fit(X, NUMBER)
    second = lightgbm.LGBMRegressor(**SETTINGS).fit(X, NUMBER, init_model=first)
    with pytest.raises(UnsupportedModelError, match="different ways"):
        read_trees(second)
