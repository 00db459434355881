from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export import ExportError, export_bundle
from scorewire_training.export.bundle_writing import ExportedBundle

TABLE = np.random.default_rng(0).normal(size=(200, 3))
CLASSES = (TABLE[:, 0] + TABLE[:, 1] ** 2 > 0.5).astype(int)


def export(model: Any, sample: Any, path: Path) -> ExportedBundle:
    return export_bundle(model, sample=sample, name="array", version="1.0.0", output_dir=path)


def feature_names(bundle: ExportedBundle) -> list[str]:
    return [feature.name for feature in bundle.manifest.schema.features]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(5, max_depth=4, random_state=0),
        xgboost.XGBClassifier(n_estimators=5, n_jobs=1),
        lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_arrays_name_their_columns_by_place(model: Any, dtype: Any, tmp_path: Path) -> None:
    table = TABLE.astype(dtype)
    assert feature_names(export(model.fit(table, CLASSES), table, tmp_path)) == ["x0", "x1", "x2"]


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_boosters_take_arrays(library: str, tmp_path: Path) -> None:
    booster: Any
    if library == "xgboost":
        booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(TABLE, CLASSES), 5)
    else:
        settings = {"objective": "binary", "verbose": -1}
        booster = lightgbm.train(settings, lightgbm.Dataset(TABLE, CLASSES), 5)
    assert feature_names(export(booster, TABLE, tmp_path)) == ["x0", "x1", "x2"]


def test_arrays_take_the_names_that_the_model_was_fitted_on(tmp_path: Path) -> None:
    frame = pd.DataFrame(TABLE, columns=["age", "income", "score"])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, CLASSES)
    assert feature_names(export(model, TABLE, tmp_path)) == ["age", "income", "score"]
    named = xgboost.train({}, xgboost.DMatrix(frame, CLASSES), 2)
    assert feature_names(export(named, TABLE, tmp_path / "named")) == ["age", "income", "score"]


def test_arrays_of_texts_and_numbers(tmp_path: Path) -> None:
    table = np.empty((200, 2), dtype=object)
    table[:, 0] = np.random.default_rng(1).choice(["DE", "FR", "IT"], 200)
    table[:, 1] = TABLE[:, 0]
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), [0]), remainder="passthrough")
    model = make_pipeline(columns, LogisticRegression()).fit(table, CLASSES)
    features = export(model, table, tmp_path).manifest.schema.features
    assert [feature.kind for feature in features] == [
        schema_pb2.FEATURE_KIND_TEXT,
        schema_pb2.FEATURE_KIND_NUMBER,
    ]
    texts = table[:, :1].astype(str)
    encoded = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(texts, CLASSES)
    assert feature_names(export(encoded, texts, tmp_path / "texts")) == ["x0"]


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (TABLE[0], r"shape \(3,\)"),
        (TABLE[np.newaxis], r"shape \(1, 200, 3\)"),
        (TABLE[:0], "empty"),
        (TABLE[:, :2], "fitted on 3 columns"),
    ],
)
def test_arrays_that_are_no_rows_of_the_model_are_refused(sample: Any, message: str, tmp_path: Path) -> None:
    model = LogisticRegression().fit(TABLE, CLASSES)
    with pytest.raises(ExportError, match=message):
        export(model, sample, tmp_path)


TEXTS = ["Good Morning", "bad night", "good night", "a bad, bad morning", ""] * 4


@pytest.mark.parametrize(
    ("sample", "name"),
    [
        (pd.Series(TEXTS, name="greeting"), "greeting"),
        (pd.Series(TEXTS), "text"),
        (np.array(TEXTS), "text"),
        (pd.DataFrame({"greeting": TEXTS}), "greeting"),
    ],
    ids=["series", "series without a name", "array", "frame"],
)
def test_one_column_of_texts_is_a_table_of_one_feature(sample: Any, name: str, tmp_path: Path) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, np.arange(len(TEXTS)) % 2)
    exported = export(model, sample, tmp_path)
    assert feature_names(exported) == [name]
    assert exported.parity.rows_by_origin["odd_text"] > 50


def test_texts_of_a_sample_may_not_be_missing_where_the_model_takes_none(tmp_path: Path) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, np.arange(len(TEXTS)) % 2)
    with pytest.raises(ExportError, match="does not score the sample"):
        export(model, pd.Series([*TEXTS, None]), tmp_path)
