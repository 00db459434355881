from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.trees import read_trees
from tests.scorewire_training.export.trees.comparison import (
    BINARY,
    COMPLETE,
    LARGE,
    NUMBER,
    POSITIVE,
    SMALL,
    THREE,
    X,
    assert_close,
    assert_exports,
    run,
)

SETTINGS = {"max_iter": 12, "min_samples_leaf": 5}
# Known codes, unseen codes, and codes between two categories.
CODES = (*map(float, range(-3, 64)), 0.5, -0.5, 1.5, 2.5, 300.0, 1e9, -1e9, 2.0**31, 1e30)


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        ("squared_error", NUMBER),
        ("absolute_error", NUMBER),
        ("gamma", POSITIVE),
        ("poisson", POSITIVE),
        ("quantile", NUMBER),
    ],
)
def test_regressors(loss: str, y: NDArray[Any]) -> None:
    quantile = 0.3 if loss == "quantile" else None
    estimator = HistGradientBoostingRegressor(loss=loss, quantile=quantile, **SETTINGS).fit(X, y)
    model = assert_exports(estimator, X)
    assert model.family == f"HistGradientBoostingRegressor ({loss})"
    assert model.input_type == "float64"


@pytest.mark.parametrize("y", [BINARY, THREE, np.array(["no", "yes"])[BINARY]])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_classifiers(y: NDArray[Any], early_stopping: bool) -> None:
    estimator = HistGradientBoostingClassifier(early_stopping=early_stopping, **SETTINGS)
    assert_exports(estimator.fit(X, y), X)


def test_missing_values_that_training_never_saw() -> None:
    assert_exports(HistGradientBoostingRegressor(**SETTINGS).fit(COMPLETE, NUMBER), X)


def test_a_constant_target() -> None:
    assert_exports(HistGradientBoostingRegressor(**SETTINGS).fit(X, np.ones(len(X))), X)


@pytest.mark.parametrize("rows", [X, COMPLETE], ids=["NaN in training", "none in training"])
@pytest.mark.parametrize("y", [BINARY, THREE])
def test_categories_in_columns_of_any_place(rows: NDArray[np.float64], y: NDArray[Any]) -> None:
    estimator = HistGradientBoostingClassifier(categorical_features=[SMALL, LARGE], **SETTINGS)
    model = assert_exports(estimator.fit(rows, y), rows, categorical=(SMALL, LARGE), codes=CODES)
    assert SMALL in model.categories
    assert not {SMALL, LARGE} & set(model.thresholds)


def test_categories_that_are_not_counted_from_zero() -> None:
    rows = X.copy()
    rows[:, SMALL] = rows[:, SMALL] * 25 - 50
    estimator = HistGradientBoostingRegressor(categorical_features=[SMALL, LARGE], **SETTINGS)
    codes = (*CODES, *map(float, range(-50, 150, 5)))
    model = assert_exports(estimator.fit(rows, NUMBER), rows, categorical=(SMALL, LARGE), codes=codes)
    assert model.categories[SMALL].min() < 0


def test_nothing_but_categories() -> None:
    rows = X[:, [SMALL, LARGE]]
    estimator = HistGradientBoostingRegressor(categorical_features=[0, 1], **SETTINGS)
    assert_exports(estimator.fit(rows, NUMBER), rows, categorical=(0, 1), codes=CODES)


def test_a_data_frames_categories_are_sent_as_their_values() -> None:
    frame = pd.DataFrame({"number": X[:, 0], "category": pd.Categorical(THREE * 10 - 10)})
    estimator = HistGradientBoostingRegressor(categorical_features="from_dtype", **SETTINGS).fit(
        frame, NUMBER
    )
    model = read_trees(estimator)
    assert model is not None
    want = estimator.predict(frame)
    assert_close(run(model, np.column_stack([X[:, 0], THREE * 10 - 10]))["value"], want, want)
    assert set(model.categories[1]) <= {-10, 0, 10}


def test_categories_that_are_no_whole_numbers_are_refused() -> None:
    rows = X.copy()
    rows[:, SMALL] *= 2.5
    estimator = HistGradientBoostingRegressor(categorical_features=[SMALL], **SETTINGS).fit(rows, NUMBER)
    with pytest.raises(UnsupportedModelError, match="OrdinalEncoder"):
        read_trees(estimator)


def test_texts_as_categories_are_refused() -> None:
    texts = pd.Series(np.array(["a", "b", "c"])[THREE], dtype="category")
    frame = pd.DataFrame({"number": X[:, 0], "text": texts})
    estimator = HistGradientBoostingRegressor(categorical_features="from_dtype", **SETTINGS)
    with pytest.raises(UnsupportedModelError, match="OrdinalEncoder"):
        read_trees(estimator.fit(frame, NUMBER))
