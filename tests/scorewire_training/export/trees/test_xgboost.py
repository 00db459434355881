from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray
from scipy.special import softmax

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.trees import read_trees
from scorewire_training.export.trees.ensemble import Ensemble
from tests.scorewire_training.export.trees.comparison import (
    BINARY,
    LARGE,
    NUMBER,
    POSITIVE,
    SEVERAL,
    SMALL,
    THREE,
    X,
    assert_close,
    assert_exports,
    categorical_frame,
    run,
)

GROUPS = [50] * 10
SETTINGS = {"n_estimators": 12, "max_depth": 4, "n_jobs": 1}
# Codes inside and outside the range, between categories, and missing.
CODES = (*map(float, range(-3, 70)), 0.5, -0.5, 1.5, -1.5, 0.99999, 300.0, 2.0**24, 1e9, 3e9, -3e9, 1e30)


def regressor(y: NDArray[Any], objective: Any = "reg:squarederror", **settings: Any) -> xgboost.XGBRegressor:
    return xgboost.XGBRegressor(objective=objective, **{**SETTINGS, **settings}).fit(X, y)


def classifier(y: NDArray[Any], **settings: Any) -> xgboost.XGBClassifier:
    return xgboost.XGBClassifier(**{**SETTINGS, **settings}).fit(X, y)


def stopped(kind: type[xgboost.XGBModel], y: NDArray[Any], **settings: Any) -> xgboost.XGBModel:
    """An estimator that stopped early, some rounds after its best round."""
    model = kind(n_estimators=60, learning_rate=0.7, early_stopping_rounds=3, n_jobs=1, **settings)
    model.fit(X[:300], y[:300], eval_set=[(X[300:], y[300:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    return model


@pytest.mark.parametrize(
    ("objective", "y"),
    [
        ("reg:squarederror", NUMBER),
        ("reg:absoluteerror", NUMBER),
        ("reg:pseudohubererror", NUMBER),
        ("reg:squaredlogerror", POSITIVE),
        ("reg:tweedie", POSITIVE),
        ("reg:gamma", POSITIVE),
        ("count:poisson", np.round(POSITIVE)),
        ("reg:logistic", BINARY),
        ("binary:logistic", BINARY),
        ("binary:logitraw", BINARY),
        ("binary:hinge", BINARY),
        ("survival:cox", POSITIVE),
    ],
)
def test_a_regressor_answers_what_its_objective_does(objective: str, y: NDArray[Any]) -> None:
    model = assert_exports(regressor(y, objective), X)
    assert model.family == f"XGBRegressor ({objective})"
    assert model.input_type == "float32"


@pytest.mark.parametrize("alpha", [0.3, [0.1, 0.5, 0.9]])
def test_quantiles(alpha: Any) -> None:
    assert_exports(regressor(NUMBER, "reg:quantileerror", quantile_alpha=alpha), X)


@pytest.mark.parametrize(
    "settings",
    [
        {"booster": "dart", "rate_drop": 0.5},
        {"num_parallel_tree": 3, "subsample": 0.5},
        {"monotone_constraints": (1, 0, -1, 0, 0, 0)},
        {"grow_policy": "lossguide", "max_leaves": 9},
        {"tree_method": "exact"},
        {"gamma": 1e9},  # trees of one leaf
        {"base_score": 3.0},
        {"n_estimators": 1, "max_depth": 1},
    ],
)
def test_ways_to_grow_trees(settings: dict[str, Any]) -> None:
    assert_exports(regressor(NUMBER, **settings), X)


@pytest.mark.parametrize("strategy", ["one_output_per_tree", "multi_output_tree"])
@pytest.mark.parametrize("gamma", [0.0, 1e9])
def test_several_outputs(strategy: str, gamma: float) -> None:
    estimator = regressor(SEVERAL, multi_strategy=strategy, tree_method="hist", gamma=gamma)
    assert_exports(estimator, X)


@pytest.mark.parametrize(
    "y", [NUMBER * 1e6, NUMBER + 1e6, NUMBER * 1e-6], ids=["million", "offset", "millionth"]
)
def test_large_and_small_targets(y: NDArray[np.float64]) -> None:
    assert_exports(regressor(y, n_estimators=100), X)


def test_large_counts_where_the_order_of_sums_shows() -> None:
    counts = np.round(POSITIVE * 1e6)
    # XGBoost 2.0 cannot estimate a base score for such counts.
    start = float(counts.mean())
    model = regressor(counts, "count:poisson", n_estimators=200, learning_rate=0.1, base_score=start)
    assert_exports(model, X)


def test_sums_equal_the_librarys_to_the_bit() -> None:
    estimator = regressor(NUMBER, n_estimators=100)
    model = read_trees(estimator)
    assert model is not None
    assert (run(model, X)["value"][:, 0] == estimator.predict(X)).all()


@pytest.mark.parametrize(
    ("y", "settings"),
    [
        (BINARY, {}),
        (BINARY, {"scale_pos_weight": 7}),
        (BINARY, {"base_score": 0.2}),
        (BINARY, {"objective": "binary:hinge"}),
        (BINARY, {"gamma": 1e9}),
        (THREE, {}),
        (THREE, {"objective": "multi:softmax"}),
        (THREE, {"num_parallel_tree": 3, "subsample": 0.5}),
        (THREE, {"booster": "dart", "rate_drop": 0.5}),
        (THREE, {"multi_strategy": "multi_output_tree", "tree_method": "hist"}),
        (np.digitize(NUMBER, [np.quantile(NUMBER, 0.99)]), {"n_estimators": 60}),
    ],
)
def test_classifiers(y: NDArray[Any], settings: dict[str, Any]) -> None:
    assert_exports(classifier(y, **settings), X)


def test_random_forests() -> None:
    assert_exports(xgboost.XGBRFClassifier(n_estimators=12, max_depth=5, n_jobs=1).fit(X, THREE), X)
    assert_exports(xgboost.XGBRFRegressor(n_estimators=12, max_depth=5, n_jobs=1).fit(X, NUMBER), X)


@pytest.mark.parametrize("objective", ["rank:ndcg", "rank:map", "rank:pairwise"])
def test_rankers(objective: str) -> None:
    ranks = BINARY if objective == "rank:map" else THREE
    assert_exports(xgboost.XGBRanker(objective=objective, **SETTINGS).fit(X, ranks, group=GROUPS), X)


def test_survival_by_accelerated_failure_time() -> None:
    data = xgboost.DMatrix(X)
    data.set_float_info("label_lower_bound", POSITIVE)
    data.set_float_info("label_upper_bound", np.where(BINARY == 1, POSITIVE, np.inf))
    booster = xgboost.train({"objective": "survival:aft", "max_depth": 4, "nthread": 1}, data, 12)
    assert_exports(booster, X, predict=booster.inplace_predict)


@pytest.mark.parametrize("settings", [{}, {"num_parallel_tree": 2}, {"booster": "dart", "rate_drop": 0.3}])
def test_an_estimator_that_stopped_early_uses_its_best_iteration(settings: dict[str, Any]) -> None:
    assert_exports(stopped(xgboost.XGBClassifier, THREE, **settings), X)


def test_a_booster_that_stopped_early_uses_all_its_trees() -> None:
    estimator = stopped(xgboost.XGBClassifier, BINARY)
    booster = estimator.get_booster()
    assert_exports(booster, X, predict=booster.inplace_predict)
    assert not np.allclose(booster.inplace_predict(X), estimator.predict_proba(X)[:, 1], atol=1e-4)


@pytest.mark.parametrize("objective", ["multi:softprob", "multi:softmax"])
def test_a_multiclass_booster_gives_probabilities(objective: str) -> None:
    parameters = {"objective": objective, "num_class": 3, "max_depth": 4, "nthread": 1}
    booster = xgboost.train(parameters, xgboost.DMatrix(X, THREE), 8)

    def probabilities(rows: NDArray[np.float64]) -> NDArray[Any]:
        return np.asarray(softmax(booster.inplace_predict(rows, predict_type="margin"), axis=1))

    model = assert_exports(booster, X, predict=probabilities)
    assert model.classes is not None
    assert model.classes.labels == ("0", "1", "2")


def test_a_multilabel_booster_gives_numbers() -> None:
    labels = np.column_stack([BINARY, THREE > 0, THREE > 1]).astype(int)
    booster = classifier(labels).get_booster()
    model = assert_exports(booster, X, predict=booster.inplace_predict)
    assert model.classes is None


@pytest.mark.parametrize("value", [-999.0, 0.0, 0.1])
def test_a_value_that_stands_for_missing(value: float) -> None:
    coded = np.nan_to_num(X, nan=value)
    coded[:5, 0] = np.nan
    estimator = xgboost.XGBRegressor(missing=value, **SETTINGS).fit(coded, NUMBER)
    assert_exports(estimator, coded)
    answers = run(read_trees(estimator), np.array([[value] * 6, [np.nan] * 6]))["value"]  # type: ignore[arg-type]  # it is a model
    assert answers[0] == answers[1]


@pytest.mark.parametrize("max_cat_to_onehot", [100, 1], ids=["one-hot", "partition"])
@pytest.mark.parametrize("booster", ["gbtree", "dart"])
def test_categories(max_cat_to_onehot: int, booster: str) -> None:
    estimator = xgboost.XGBRegressor(
        **SETTINGS,
        booster=booster,
        max_cat_to_onehot=max_cat_to_onehot,
        feature_types=["q", "q", "q", "c", "q", "c"],
        enable_categorical=True,
    ).fit(X, NUMBER)
    model = assert_exports(estimator, X, categorical=(SMALL, LARGE), codes=CODES)
    assert LARGE in model.categories
    assert LARGE not in model.thresholds


def test_the_codes_of_a_data_frames_categories_are_those_of_its_dtype() -> None:
    frame, codes = categorical_frame()
    estimator = xgboost.XGBRegressor(**SETTINGS, enable_categorical=True).fit(frame, NUMBER)
    model = read_trees(estimator)
    assert model is not None
    want = estimator.predict(frame)
    assert_close(run(model, np.column_stack([X[:, 0], codes]))["value"], want, want)
    assert 1 in model.categories


def test_hundreds_of_categories() -> None:
    random = np.random.default_rng(0)
    rows = np.column_stack([random.normal(size=4000), random.integers(0, 600, 4000)])
    y = np.sin(rows[:, 1] * 7) * 3 + rows[:, 0]
    settings = {"max_cat_to_onehot": 1, "max_cat_threshold": 500, "feature_types": ["q", "c"]}
    estimator = xgboost.XGBRegressor(**SETTINGS, **settings, enable_categorical=True).fit(rows, y)
    assert_exports(estimator, rows, categorical=(1,), codes=tuple(map(float, range(-2, 700))))


def test_an_objective_of_ones_own_answers_as_the_library_does() -> None:
    def squared(y: NDArray[Any], predicted: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        return predicted - y, np.ones_like(predicted)

    assert_exports(regressor(NUMBER, squared), X)


def test_a_saved_model_answers_as_before() -> None:
    booster = classifier(BINARY).get_booster()
    loaded = xgboost.Booster(model_file=booster.save_raw("ubj"))
    assert_exports(loaded, X, predict=booster.inplace_predict)


def test_many_trees_on_two_threads_and_one_row_at_a_time() -> None:
    estimator = classifier(THREE, n_estimators=60)
    model = read_trees(estimator)
    assert model is not None
    want = estimator.predict_proba(X)
    for rows in (1, 2, 60, 200):
        assert_close(run(model, X[:rows], threads=2)["probabilities"], want[:rows], want)


def test_thresholds_are_those_of_the_trees() -> None:
    estimator = regressor(NUMBER, n_estimators=3)
    model = read_trees(estimator)
    assert model is not None
    table = estimator.get_booster().trees_to_dataframe()
    for feature in range(X.shape[1]):
        splits = table[table["Feature"] == f"f{feature}"]["Split"].astype(np.float32).unique()
        assert set(model.thresholds.get(feature, [])) == {float(split) for split in splits}


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (xgboost.Booster, "no features"),
        (lambda: classifier(BINARY, objective="binary:logitraw"), "no probabilities"),
        (lambda: classifier(BINARY, objective="reg:squarederror"), "no probabilities"),
        (lambda: classifier(BINARY, objective="multi:softprob", num_class=2), "two classes"),
        (lambda: classifier(np.zeros(len(X), int)), "single class"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_a_way_out(estimator: Any, reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason) as refusal:
        read_trees(estimator())
    assert refusal.value.way_out


@pytest.mark.parametrize("objective", ["binary:logistic", "count:poisson"])
def test_margins_start_at_the_bits_of_the_library(objective: str) -> None:
    x, y = np.arange(10, dtype=np.float32)[:, np.newaxis], np.arange(10) % 2
    for base_score in np.linspace(0.01, 0.99, 60):
        # Trees that learn nothing leave the margins at their start.
        settings = {"objective": objective, "base_score": base_score, "learning_rate": 0.0}
        booster = xgboost.train(settings, xgboost.DMatrix(x, y), 1)
        model = read_trees(booster)
        assert model is not None
        assert isinstance(model.ensemble, Ensemble)
        margin = booster.predict(xgboost.DMatrix(x), output_margin=True)[0]
        assert np.float32(model.ensemble.base[0]) == margin
