from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder
from xgboost import XGBClassifier, XGBRegressor

from scorewire_training.estimators import FrequencyEncoder, RateEncoder, TextCleaner
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
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

ENCODERS = {
    "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    "ordinal with missing unknown": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
    "ordinal with rare": OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-2, min_frequency=30
    ),
    "one-hot": OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    "one-hot dropping": OneHotEncoder(handle_unknown="ignore", drop="first", sparse_output=False),
    "one-hot with rare": OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=30, sparse_output=False
    ),
    "one-hot of few": OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=3, sparse_output=False
    ),
    "one-hot with rare, unknown to none": OneHotEncoder(
        handle_unknown="ignore", min_frequency=30, sparse_output=False
    ),
    "target": TargetEncoder(),
    "frequency": FrequencyEncoder(),
    "cleaned frequency": make_pipeline(TextCleaner(), FrequencyEncoder()),
    "cleaned one-hot": make_pipeline(
        TextCleaner(), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    ),
    "cleaned target": make_pipeline(TextCleaner(), TargetEncoder()),
    "cleaned, not folded": make_pipeline(
        TextCleaner(fold="none"), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    ),
}


def encoded(encoder: Any, model: Any) -> Pipeline:
    columns = ColumnTransformer([("numbers", "passthrough", NUMBERS), ("texts", encoder, TEXTS)])
    return Pipeline([("columns", columns), ("model", model)])


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())
def test_encoded_text_scores_as_the_fitted_model(encoder: Any) -> None:
    frame = with_holes(build_frame())
    models = [
        XGBClassifier(n_jobs=1, n_estimators=8, max_depth=4),
        LGBMClassifier(n_jobs=1, n_estimators=8, verbose=-1),
    ]
    for model in models:
        pipeline = encoded(encoder, model).fit(frame, classes(frame))
        lowered = check_same(pipeline, hard_rows(frame, holes=True), sample=frame)
        assert [part.name for part in lowered.coding.inputs] == ["features"]


@pytest.mark.parametrize("name", [name for name in ENCODERS if "clean" not in name and name != "frequency"])
def test_encoded_numbers_score_as_the_fitted_model(name: str) -> None:
    encoder = ENCODERS[name]
    frame = build_frame()
    columns = ColumnTransformer([("a", "passthrough", ["amount"]), ("b", encoder, ["level", "country"])])
    pipeline = make_pipeline(columns, HistGradientBoostingRegressor(max_iter=8)).fit(frame, target(frame))
    check_same(pipeline, hard_rows(frame, holes=True), sample=frame)


def test_one_hot_of_text_is_one_column_of_the_input() -> None:
    frame = build_frame()
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    lowered = lower(encoded(encoder, LinearRegression()).fit(frame, target(frame)), frame)
    assert len(lowered.coding.inputs[0].columns) == len(NUMBERS) + len(TEXTS)


def test_encoders_of_one_column_share_one_vocabulary() -> None:
    frame = build_frame()
    columns = ColumnTransformer(
        [
            ("codes", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["country"]),
            ("shares", FrequencyEncoder(), ["country"]),
            ("means", TargetEncoder(), ["country"]),
        ]
    )
    pipeline = make_pipeline(columns, XGBRegressor(n_jobs=1, n_estimators=5)).fit(frame, target(frame))
    lowered = check_same(pipeline, hard_rows(frame, holes=False), sample=frame)
    assert len(lowered.coding.vocabularies) == 1
    assert set(lowered.known_texts["country"]) == {"DE", "FR", "IT", "ES", ""}


def test_target_encoding_of_several_classes() -> None:
    frame = build_frame()
    pipeline = encoded(TargetEncoder(), XGBClassifier(n_jobs=1, n_estimators=5))
    check_same(pipeline.fit(frame, classes(frame, 3)), hard_rows(frame, holes=True), sample=frame)


def test_text_that_a_strict_encoder_refuses_is_not_known() -> None:
    frame = build_frame()
    columns = ColumnTransformer(
        [
            ("strict", OneHotEncoder(categories=[["DE", "FR", "IT", "ES", ""]]), ["country"]),
            (
                "lenient",
                OrdinalEncoder(
                    categories=[["DE", "FR", "IT", "ES", "", "XX"]],
                    handle_unknown="use_encoded_value",
                    unknown_value=-1,
                ),
                ["country"],
            ),
        ],
        sparse_threshold=0,
    )
    lowered = check_same(make_pipeline(columns, LinearRegression()).fit(frame, target(frame)), frame)
    assert "XX" not in lowered.known_texts["country"]


@pytest.mark.parametrize("null", [None, np.nan])
@pytest.mark.parametrize(
    "encoder",
    [
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-5),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        TargetEncoder(),
        FrequencyEncoder(),
    ],
    ids=["ordinal", "one-hot", "target", "frequency"],
)
def test_missing_text_spelt_as_null_is_empty_on_the_wire(null: Any, encoder: Any) -> None:
    frame = build_frame()
    frame["country"] = frame["country"].replace("", null).astype(object)
    frame.loc[frame["country"].isna(), "country"] = null
    pipeline = encoded(encoder, LinearRegression()).fit(frame, target(frame))
    lowered = check_same(pipeline, frame)
    assert "" in lowered.known_texts["country"]
    spelt: Any = lowered.missing_texts["country"]
    assert spelt is None if null is None else pd.isna(spelt)


def test_missing_text_that_the_sample_lacks_is_spelt_as_the_encoder_knows_it() -> None:
    frame = build_frame()
    frame["country"] = frame["country"].replace("", None)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    pipeline = encoded(encoder, LinearRegression()).fit(frame, target(frame))
    lowered = lower(pipeline, frame[frame["country"].notna()])
    assert lowered.missing_texts["country"] is None
    assert "" in lowered.known_texts["country"]
    found = score(lowered, frame)["value"][:, 0]
    np.testing.assert_allclose(found, pipeline.predict(frame), rtol=1e-9)


def test_two_spellings_of_missing_text_are_refused() -> None:
    frame = build_frame()
    frame.loc[:20, "country"] = None
    pipeline = encoded(OneHotEncoder(handle_unknown="ignore"), LinearRegression()).fit(frame, target(frame))
    with pytest.raises(UnsupportedModelError, match="different categories") as refusal:
        lower(pipeline, frame)
    assert "fillna" in refusal.value.way_out


def test_text_dtypes_of_pandas_are_text() -> None:
    for dtype in ("str", "string", "category"):
        frame = build_frame()
        frame[TEXTS] = frame[TEXTS].astype(dtype)
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        pipeline = encoded(encoder, LinearRegression()).fit(frame, target(frame))
        assert check_same(pipeline, frame).known_texts["platform"]


def test_one_hot_of_booleans_and_integers() -> None:
    frame = build_frame()
    frame["flag"] = frame["ratio"] > 0.5
    frame["count"] = (frame["level"] * 2**30).astype(np.int64)
    columns = ColumnTransformer(
        [("hot", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["flag", "count"])]
    )
    pipeline = make_pipeline(columns, LogisticRegression()).fit(frame, classes(frame))
    lowered = check_same(pipeline, frame)
    assert [name for name, _ in lowered.features] == ["flag", "count"]


@pytest.mark.parametrize("fold", ["ascii_lower_strip", "none"])
def test_rates_score_as_the_fitted_model(fold: Any) -> None:
    frame = with_holes(build_frame())
    columns = ColumnTransformer(
        [
            ("rates", RateEncoder(count_columns=2, fold=fold), [*TEXTS, "level", "ratio"]),
            ("numbers", "passthrough", ["amount"]),
        ]
    )
    pipeline = make_pipeline(columns, LGBMRegressor(n_jobs=1, n_estimators=20, verbose=-1))
    pipeline.fit(frame, np.maximum(target(frame), 0.0))
    lowered = check_same(pipeline, hard_rows(frame, holes=True), sample=frame)
    assert [part.name for part in lowered.coding.inputs] == ["features"]
