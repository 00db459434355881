from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from scorewire_training.export import ExportError
from scorewire_training.export.saved_models.categories import Categories
from scorewire_training.export.saved_models.model_file import read_model
from scorewire_training.export.saved_models.sample_file import read_sample
from scorewire_training.releases import XGBOOST_RELEASE

COUNT = 120
FRAME = pd.DataFrame(
    {
        "age": np.arange(COUNT) % 50 + 18,
        "score": np.where(np.arange(COUNT) % 7 == 0, np.nan, np.arange(COUNT) / 8),
        "country": pd.Categorical(np.tile(["de", "fr", "pe"], COUNT // 3)),
    }
)
TARGET = (FRAME["age"] > 40).astype(int)
# XGBoost stores categories from 3.1 on.
GIVEN: Categories = {} if XGBOOST_RELEASE >= (3, 1) else {"country": ["de", "fr", "pe"]}


@pytest.fixture(scope="module")
def classifier() -> xgboost.XGBClassifier:
    return xgboost.XGBClassifier(n_estimators=3, enable_categorical=True).fit(FRAME, TARGET)


@pytest.fixture(scope="module")
def booster() -> lightgbm.Booster:
    settings = {"objective": "binary", "verbose": -1, "min_data_per_group": 1, "cat_smooth": 0}
    return lightgbm.train(settings, lightgbm.Dataset(FRAME, TARGET), 3)


def _write_csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_xgboost_estimators_come_back_as_estimators(
    suffix: str, classifier: xgboost.XGBClassifier, tmp_path: Path
) -> None:
    path = tmp_path / f"model.{suffix}"
    classifier.save_model(path)
    # The content of the file decides, not its name.
    model = read_model(path.rename(tmp_path / "model.bin"))
    assert isinstance(model, xgboost.XGBClassifier)
    np.testing.assert_array_equal(model.predict_proba(FRAME), classifier.predict_proba(FRAME))


def test_early_stopping_counts_as_it_did(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, y = pd.DataFrame(rng.normal(size=(200, 3)), columns=list("abc")), rng.normal(size=200)
    model = xgboost.XGBRegressor(n_estimators=30, early_stopping_rounds=5)
    model.fit(X[:100], y[:100], eval_set=[(X[100:], y[100:])], verbose=False)
    assert model.best_iteration < model.get_booster().num_boosted_rounds() - 1
    model.save_model(tmp_path / "model.json")
    read: Any = read_model(tmp_path / "model.json")
    np.testing.assert_array_equal(read.predict(X), model.predict(X))


def test_native_boosters_come_back_as_boosters(booster: lightgbm.Booster, tmp_path: Path) -> None:
    booster.save_model(tmp_path / "model.txt")
    read: Any = read_model(tmp_path / "model.txt")
    assert isinstance(read, lightgbm.Booster)
    np.testing.assert_array_equal(read.predict(FRAME), booster.predict(FRAME))
    native = xgboost.train({}, xgboost.DMatrix(FRAME[["age"]], TARGET), 2)
    native.save_model(tmp_path / "model.ubj")
    assert isinstance(read_model(tmp_path / "model.ubj"), xgboost.Booster)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"a": 1}), "looks like a pickle.*export_bundle"),
        (b"", "neither an XGBoost nor a LightGBM model"),
        (b"PAR1...", "neither an XGBoost nor a LightGBM model"),
        (b'{"name": "tree"}', "not what XGBoost saves"),
        (b"CBM1...", "CatBoost's.*format='onnx'"),
        (b'{"features_info": {}, "oblivious_trees": []}', "CatBoost's.*format='onnx'"),
        (b"tree\nversion=v4\nnonsense", "damaged|neither"),
    ],
)
def test_files_of_no_known_model_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=message):
        read_model(path)


def test_a_model_file_that_is_cut_off_is_refused(booster: lightgbm.Booster, tmp_path: Path) -> None:
    text = booster.model_to_string()
    # LightGBM itself would abort the process.
    path = _write_csv(tmp_path / "model.txt", text[: text.index("end of trees") - 20])
    with pytest.raises(ExportError, match="its end is missing"):
        read_model(path)


def test_lightgbm_columns_are_found_by_the_names_that_they_had(tmp_path: Path) -> None:
    frame = FRAME.rename(columns={"age": "age in years", "country": "home country"})
    settings = {"objective": "binary", "verbose": -1, "min_data_per_group": 1, "cat_smooth": 0}
    model = lightgbm.train(settings, lightgbm.Dataset(frame, TARGET), 3)
    path = tmp_path / "rows.csv"
    frame.to_csv(path, index=False)
    sample = read_sample(path, model)
    pd.testing.assert_frame_equal(sample.frame, frame, check_categorical=False)
    np.testing.assert_array_equal(model.predict(sample.frame), model.predict(frame))
    # An equal name takes precedence over a name with white space that became the same.
    frame.assign(age_in_years=7)[["age_in_years", *frame]].to_csv(path, index=False)
    assert read_sample(path, model).frame["age_in_years"].unique().tolist() == [7]


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_sample_comes_back_with_the_models_columns_and_dtypes(
    library: str, suffix: str, classifier: xgboost.XGBClassifier, booster: lightgbm.Booster, tmp_path: Path
) -> None:
    table = FRAME.assign(country=FRAME["country"].astype(object), id=range(COUNT), target=TARGET)
    table = table[["target", "country", "id", "score", "age"]]
    path = tmp_path / f"rows.{suffix}"
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    model, given = (classifier, GIVEN) if library == "xgboost" else (booster, {})
    sample = read_sample(path, model, target_column="target", categories=given)
    assert sample.notes[0] == "Left out, since the model does not know them: id"
    pd.testing.assert_frame_equal(sample.frame, FRAME, check_categorical=False)
    assert isinstance(sample.frame["country"].dtype, pd.CategoricalDtype)
    assert list(sample.frame["country"].cat.categories) == ["de", "fr", "pe"]


def test_missing_and_unknown_cells_are_missing(classifier: xgboost.XGBClassifier, tmp_path: Path) -> None:
    path = _write_csv(
        tmp_path / "rows.csv", "age,score,country\n30,,de\n31,NA,\n32, 1.5 ,xx\n33,nan,NA\n34,inf,pe\n"
    )
    frame = read_sample(path, classifier, categories=GIVEN).frame
    np.testing.assert_array_equal(frame["score"], [np.nan, np.nan, 1.5, np.nan, np.inf])
    assert frame["country"].isna().tolist() == [False, True, True, True, False]
    assert frame["age"].dtype == np.int64


def test_numbers_are_read_exactly(tmp_path: Path) -> None:
    model = xgboost.train({}, xgboost.DMatrix(np.zeros((4, 2)), [0, 1, 0, 1]), 1)
    path = _write_csv(tmp_path / "rows.csv", "a,b\n9007199254740991,true\n-1,FALSE\n")
    frame = read_sample(path, model).frame
    assert frame["a"].tolist() == [9007199254740991, -1]
    assert frame["b"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("age,score,country\n30,1,de\nold,1,de\n", {}, "line 3: column 'age' has 'old'"),
        ("age,country\n30,de\n", {}, "lacks columns that the model was fitted on: 'score'"),
        ("age,score,country\n", {"target_column": "y"}, "has no column 'y': its columns are 'age'"),
    ],
)
def test_samples_that_do_not_fit_are_refused(
    text: str, arguments: Any, message: str, classifier: xgboost.XGBClassifier, tmp_path: Path
) -> None:
    path = _write_csv(tmp_path / "rows.csv", text)
    with pytest.raises(ExportError, match=message):
        read_sample(path, classifier, categories=GIVEN, **arguments)


def test_files_that_are_no_table_are_refused(classifier: xgboost.XGBClassifier, tmp_path: Path) -> None:
    for name in ("rows.parquet", "empty.csv"):
        with pytest.raises(ExportError, match="cannot be read as a table"):
            read_sample(_write_csv(tmp_path / name, ""), classifier)
    with pytest.raises(ExportError, match=r"neither \.csv nor \.parquet"):
        read_sample(_write_csv(tmp_path / "rows.xlsx", ""), classifier)
