"""Scaling, imputing and similar steps, before models that show every bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMRegressor
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_regression
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from xgboost import XGBRegressor

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.estimators import FrequencyEncoder
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from tests.scorewire_training.export.lowering.scored import (
    NUMBERS,
    build_frame,
    check_same,
    hard_rows,
    step_name,
    target,
    with_holes,
)

SCALERS = {
    "standard": StandardScaler(),
    "standard without mean": StandardScaler(with_mean=False),
    "standard without scale": StandardScaler(with_std=False),
    "standard without both": StandardScaler(with_mean=False, with_std=False),
    "min-max": MinMaxScaler(),
    "min-max clipped": MinMaxScaler((-1, 2), clip=True),
    "max-abs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "robust without center": RobustScaler(with_centering=False),
    "log1p": make_pipeline(MinMaxScaler(clip=True), FunctionTransformer(np.log1p)),
    "identity": FunctionTransformer(),
    "named passthrough": "passthrough",
}


@pytest.mark.parametrize("scaler", SCALERS.values(), ids=SCALERS.keys())
def test_scaled_trees_flip_no_row(scaler: Any) -> None:
    frame = with_holes(build_frame())[NUMBERS]
    rows = hard_rows(frame, holes=True)
    y = frame["amount"].fillna(0.0)
    for model in (
        XGBRegressor(n_jobs=1, n_estimators=15),
        LGBMRegressor(n_jobs=1, n_estimators=15, verbose=-1),
    ):
        check_same(make_pipeline(scaler, model).fit(frame, y), rows, sample=frame)


@pytest.mark.parametrize(
    "step",
    [
        Normalizer(),
        Normalizer("l1"),
        Normalizer("max"),
        PolynomialFeatures(3),
        PolynomialFeatures((2, 3), interaction_only=True, include_bias=False),
        PolynomialFeatures(2, include_bias=False),
        Binarizer(threshold=1.5),
        KBinsDiscretizer(4, encode="ordinal", strategy="uniform"),
        KBinsDiscretizer(4, encode="onehot-dense", strategy="uniform"),
        KBinsDiscretizer(3, encode="onehot", strategy="uniform"),
        VarianceThreshold(),
        SelectKBest(f_regression, k=2),
        SimpleImputer(strategy="median"),
        FunctionTransformer(np.abs),
    ],
    ids=step_name,
)
def test_step_on_full_numbers(step: Any) -> None:
    frame = build_frame()[NUMBERS]
    frame["big"] = frame["big"] / 2**20
    pipeline = make_pipeline(step, Ridge()).fit(frame, frame["amount"] + frame["level"])
    rows = frame if isinstance(step, PolynomialFeatures) else hard_rows(frame, holes=False)
    check_same(pipeline, rows, sample=frame)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_dense_rows_of_tiny_numbers_are_not_normalized(norm: str) -> None:
    frame = build_frame()[NUMBERS]
    rows = pd.concat([frame, *(frame.head(1) * 0 + tiny for tiny in (1e-14, 1e-15, 1e-16, 1e-30, 0.0))])
    check_same(make_pipeline(Normalizer(norm), Ridge()).fit(frame, frame["amount"]), rows, sample=frame)
    kinds = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((kinds, ["level"]), ("passthrough", ["amount"]), sparse_threshold=1)
    check_same(make_pipeline(columns, Normalizer(norm), Ridge()).fit(frame, frame["big"]), rows, sample=frame)


@pytest.mark.parametrize(
    "imputer",
    [
        SimpleImputer(),
        SimpleImputer(strategy="median", add_indicator=True),
        SimpleImputer(strategy="most_frequent"),
        SimpleImputer(strategy="constant", fill_value=-1.0, add_indicator=True),
        SimpleImputer(missing_values=1.0, strategy="constant", fill_value=9.0),
        SimpleImputer(keep_empty_features=True),
        FeatureUnion([("values", SimpleImputer()), ("holes", MissingIndicator(features="all"))]),
        FeatureUnion(
            [("a", SimpleImputer()), ("b", "drop"), ("c", SimpleImputer(strategy="median"))],
            transformer_weights={"a": 0.5},
        ),
    ],
    ids=step_name,
)
def test_imputed_numbers(imputer: Any) -> None:
    frame = with_holes(build_frame())[NUMBERS]
    if isinstance(imputer, SimpleImputer) and imputer.missing_values == 1.0:
        frame = frame.fillna(3.0)
    y = frame["amount"].fillna(0.0)
    holes = bool(frame.isna().any().any())
    for model in (XGBRegressor(n_jobs=1, n_estimators=10), LinearRegression()):
        pipeline = make_pipeline(imputer, model).fit(frame, y)
        check_same(pipeline, hard_rows(frame, holes=holes), sample=frame)


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
@pytest.mark.parametrize("keep", [True, False])
def test_column_without_any_value(keep: bool) -> None:
    frame = build_frame()[NUMBERS]
    frame["ratio"] = np.nan
    imputer = SimpleImputer(keep_empty_features=keep, add_indicator=True)
    pipeline = make_pipeline(imputer, LinearRegression()).fit(frame, frame["amount"])
    check_same(pipeline, frame)


@pytest.mark.parametrize("null", [None, np.nan, ""])
@pytest.mark.parametrize("strategy", ["constant", "most_frequent"])
def test_imputed_text(null: Any, strategy: str) -> None:
    frame = build_frame()
    frame["country"] = frame["country"].astype(object)
    frame.loc[frame["country"] == "", "country"] = null
    imputer = SimpleImputer(
        missing_values=null, strategy=strategy, fill_value="none" if strategy == "constant" else None
    )
    columns = ColumnTransformer(
        [
            ("amount", "passthrough", ["amount"]),
            ("hot", make_pipeline(imputer, OneHotEncoder(handle_unknown="ignore")), ["country"]),
            ("share", make_pipeline(imputer, FrequencyEncoder()), ["country"]),
        ],
        sparse_threshold=0,
    )
    pipeline = make_pipeline(columns, Ridge()).fit(frame, target(frame))
    check_same(pipeline, hard_rows(frame, holes=False) if null == "" else frame, sample=frame)


def test_indicator_of_missing_text() -> None:
    frame = build_frame()
    frame.loc[frame["country"] == "", "country"] = np.nan
    coded = OrdinalEncoder(encoded_missing_value=-1)
    columns = ColumnTransformer(
        [("missing", MissingIndicator(features="all"), ["country"]), ("a", coded, ["country"])]
    )
    check_same(make_pipeline(columns, Ridge()).fit(frame, target(frame)), frame)


def test_powers_are_exact() -> None:
    frame = build_frame()[NUMBERS]
    frame["ratio"] = frame["ratio"] - 0.5
    signed = make_pipeline(PowerTransformer(), LinearRegression()).fit(frame, frame["amount"])
    check_same(signed, hard_rows(frame, holes=False), sample=frame)
    signed[0].lambdas_ = np.array([0.0, 2.0, 1.0, -0.5])
    check_same(signed, frame)
    positive = frame.abs() + 1.0
    boxed = make_pipeline(PowerTransformer("box-cox", standardize=False), LinearRegression())
    check_same(boxed.fit(positive, frame["amount"]), positive)


def test_imputer_that_takes_a_word_for_missing_is_refused() -> None:
    frame = build_frame()
    imputer = SimpleImputer(missing_values="IT", strategy="most_frequent")
    columns = ColumnTransformer(
        [("hot", make_pipeline(imputer, OneHotEncoder(handle_unknown="ignore")), ["country"])]
    )
    pipeline = make_pipeline(columns, Ridge()).fit(frame, target(frame))
    with pytest.raises(UnsupportedModelError, match="'IT' for missing"):
        lower(pipeline, frame)


def test_function_of_ones_own_is_refused_with_the_ones_that_work() -> None:
    frame = build_frame()[NUMBERS]
    pipeline = make_pipeline(FunctionTransformer(lambda x: x + 1), Ridge()).fit(frame, frame["amount"])
    with pytest.raises(UnsupportedModelError, match="numpy.log1p"):
        lower(pipeline, frame)


def test_log1p_and_expm1_keep_small_numbers() -> None:
    frame = build_frame()[["ratio"]]
    frame["ratio"] = np.concatenate([10.0 ** -np.arange(1.0, 301.0), frame["ratio"][:100]])
    for function in (np.log1p, np.expm1):
        scaled = make_pipeline(FunctionTransformer(function), FunctionTransformer(np.log), StandardScaler())
        check_same(make_pipeline(scaled, LinearRegression()).fit(frame, frame["ratio"]), frame)


def test_input_is_float_only_where_all_consumers_round_to_float() -> None:
    frame = build_frame()[NUMBERS]
    y = frame["amount"]
    plain = lower(XGBRegressor(n_jobs=1, n_estimators=3).fit(frame, y), frame)
    assert plain.coding.inputs[0].type == manifest_pb2.ELEMENT_TYPE_FLOAT
    assert plain.graph.graph.node[0].input[0] == "features"
    for model in (
        LGBMRegressor(n_jobs=1, n_estimators=3, verbose=-1),
        make_pipeline(StandardScaler(), XGBRegressor(n_jobs=1, n_estimators=3)),
    ):
        lowered = lower(model.fit(frame, y), frame)
        assert lowered.coding.inputs[0].type == manifest_pb2.ELEMENT_TYPE_DOUBLE


def test_thresholds_are_those_of_raw_numbers_only() -> None:
    frame = build_frame()[NUMBERS]
    columns = ColumnTransformer(
        [("a", StandardScaler(), ["amount"]), ("b", "passthrough", ["ratio", "level"])]
    )
    y = frame["amount"] + 30 * frame["ratio"]
    lowered = lower(make_pipeline(columns, XGBRegressor(n_jobs=1, n_estimators=5)).fit(frame, y), frame)
    assert "amount" not in lowered.thresholds
    cuts = lowered.thresholds["ratio"]
    assert len(cuts) > 3
    assert ((cuts > 0) & (cuts < 1)).all()
    assert (np.diff(cuts) > 0).all()
