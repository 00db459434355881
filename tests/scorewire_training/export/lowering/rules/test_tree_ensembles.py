from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from xgboost import XGBClassifier, XGBRegressor

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from scorewire_training.releases import XGBOOST_RELEASE
from tests.scorewire_training.export.lowering.scored import (
    NUMBERS,
    TEXTS,
    build_frame,
    check_same,
    classes,
    hard_rows,
    score,
    target,
    with_holes,
)


def categorical_frame() -> pd.DataFrame:
    frame = with_holes(build_frame())
    frame["country"] = frame["country"].replace("", None).astype("category")
    frame["platform"] = frame["platform"].astype("category")
    frame["code"] = pd.Categorical(np.resize([30, 10, 20, 40, 50], len(frame)))
    return frame


@pytest.mark.parametrize(
    "model",
    [
        XGBRegressor(n_jobs=1, n_estimators=15, enable_categorical=True, max_cat_to_onehot=1),
        XGBRegressor(n_jobs=1, n_estimators=15, enable_categorical=True, max_cat_to_onehot=10),
        LGBMRegressor(n_jobs=1, n_estimators=15, verbose=-1, min_child_samples=5, min_data_per_group=5),
        HistGradientBoostingRegressor(max_iter=15, categorical_features="from_dtype"),
    ],
    ids=["xgboost partition", "xgboost one-hot", "lightgbm", "hist gradient boosting"],
)
def test_pandas_categoricals_are_coded_as_the_library_does(model: Any) -> None:
    frame = categorical_frame()
    y = target(build_frame()) + 5.0 * (frame["code"] == 20).to_numpy()
    check_same(model.fit(frame, y), frame)
    check_same(make_pipeline(FunctionTransformer(), model).fit(frame, y), frame)


@pytest.mark.parametrize("library", ["lightgbm", "hist gradient boosting"])
def test_unseen_category_scores_as_the_library_does(library: str) -> None:
    frame = categorical_frame()
    model: Any = (
        LGBMRegressor(n_jobs=1, n_estimators=15, verbose=-1, min_child_samples=5, min_data_per_group=5)
        if library == "lightgbm"
        else HistGradientBoostingRegressor(max_iter=15, categorical_features="from_dtype")
    )
    lowered = lower(model.fit(frame, target(build_frame())), frame)
    strange = frame.head(30).copy()
    strange["country"] = pd.Categorical(["Atlantis"] * 30)
    found = score(lowered, strange)["value"][:, 0]
    np.testing.assert_allclose(found, model.predict(strange), rtol=1e-9)


@pytest.mark.skipif(XGBOOST_RELEASE < (3, 1), reason="this XGBoost saves no categories")
def test_codes_for_a_booster_that_knows_its_categories_are_refused() -> None:
    whole = categorical_frame()
    frame = whole[["amount", "code"]]
    booster = XGBRegressor(n_jobs=1, n_estimators=3, enable_categorical=True).fit(frame, target(whole))
    plain = frame.assign(code=frame["code"].astype(int))
    with pytest.raises(UnsupportedModelError, match="fitted on categories in 'code', and the sample has num"):
        lower(booster.get_booster(), plain)


def test_booster_alone() -> None:
    frame = with_holes(build_frame())[NUMBERS]
    y = classes(build_frame())
    booster = xgboost.train(
        {"objective": "binary:logistic"}, xgboost.DMatrix(frame, label=y), num_boost_round=5
    )
    found = score(lower(booster, frame), frame)["probabilities"][:, 1]
    np.testing.assert_allclose(found, booster.predict(xgboost.DMatrix(frame)), rtol=5e-6)
    light = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(frame, label=y), 5)
    found = score(lower(light, frame), frame)["probabilities"][:, 1]
    np.testing.assert_allclose(found, np.asarray(light.predict(frame)), rtol=1e-9)


def test_booster_fitted_without_names_takes_columns_by_position() -> None:
    frame = build_frame()[NUMBERS]
    data = xgboost.DMatrix(frame.to_numpy(), label=frame["amount"])
    booster = xgboost.train({}, data, num_boost_round=5)
    found = score(lower(booster, frame), frame)["value"][:, 0]
    np.testing.assert_allclose(found, booster.predict(data), rtol=5e-6)
    with pytest.raises(UnsupportedModelError, match="fitted on 4 columns"):
        lower(booster, frame[NUMBERS[:3]])


@pytest.mark.parametrize(
    "model", [XGBClassifier(n_jobs=1, n_estimators=5), LGBMClassifier(n_jobs=1, n_estimators=5, verbose=-1)]
)
def test_columns_in_another_order_are_refused(model: Any) -> None:
    frame = build_frame()[NUMBERS].set_axis(["f3", "f0", "f4", "f1"], axis=1)
    model.fit(frame, classes(build_frame()))
    check_same(model, frame)
    with pytest.raises(UnsupportedModelError, match="another order"):
        lower(model, frame[["f0", "f1", "f3", "f4"]])


def test_forest_fitted_on_missing_values() -> None:
    frame = with_holes(build_frame())[NUMBERS]
    model = RandomForestRegressor(n_estimators=10, random_state=0).fit(frame, target(build_frame()))
    check_same(model, hard_rows(frame, holes=True), sample=frame)


def test_text_that_a_booster_was_not_fitted_on_is_refused() -> None:
    frame = build_frame()
    model = XGBRegressor(n_jobs=1, n_estimators=3).fit(frame[NUMBERS], frame["amount"])
    swapped = frame[NUMBERS].assign(level=frame[TEXTS[0]])
    with pytest.raises(UnsupportedModelError, match="text column 'level'"):
        lower(model, swapped)
