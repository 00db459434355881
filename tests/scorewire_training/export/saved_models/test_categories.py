"""The columns of categories, where a model's file does not store them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from scorewire_training.export import ExportError, export_bundle
from scorewire_training.export.saved_models.categories import Categories, find_categories, read_categories
from scorewire_training.export.saved_models.model_file import read_model
from scorewire_training.export.trees.xgboost_categories import stored_categories
from scorewire_training.releases import XGBOOST_RELEASE
from tests.scored_bundles import score_rows

COUNT = 240
STORES = [10, 20, 30]
SAVES_NAMES, CUTS_NAMES = XGBOOST_RELEASE >= (3, 1), XGBOOST_RELEASE < (3, 4)
saves_names = pytest.mark.skipif(not SAVES_NAMES, reason="this XGBoost saves no categories")
# Names whose number of characters differs from their number of bytes.
NAMES = {
    "Spanish": ["peña", "niño", "año", "zz"],
    "Chinese": ["北京", "上海", "广州", "x"],
    "emoji": ["😀", "😁a", "b"],
}


def _frame(categories: list[Any]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "kind": pd.Categorical(rng.choice(np.array(categories, object), COUNT), categories=categories),
            "size": rng.normal(size=COUNT),
        }
    )


def _xgboost(frame: pd.DataFrame) -> xgboost.Booster:
    data = xgboost.DMatrix(frame, frame["kind"].cat.codes % 2 + frame["size"], enable_categorical=True)
    return xgboost.train({"max_depth": 3, "nthread": 1}, data, 3)


def without_categories(booster: xgboost.Booster) -> xgboost.Booster:
    """A model as XGBoost before 3.1 saved it."""
    document = json.loads(bytes(booster.save_raw("json")))
    document["learner"]["gradient_booster"]["model"].pop("cats", None)
    document["version"] = [2, 1, 4]
    old = xgboost.Booster()
    old.load_model(bytearray(json.dumps(document).encode()))
    return old


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame as it is read from a CSV file."""
    return frame.astype(object).map(lambda value: "" if pd.isna(value) else str(value))


def _find(model: Any, frame: pd.DataFrame, given: Categories | None = None) -> Categories:
    stored = stored_categories(model) if isinstance(model, xgboost.Booster) else {}
    return find_categories(model, list(frame.columns), frame, stored, given or {})


def test_xgboost_without_categories_asks_for_them() -> None:
    frame = _frame(STORES)
    old = without_categories(_xgboost(frame))
    with pytest.raises(ExportError, match="no categories of 'kind'.*--categories"):
        _find(old, _texts(frame))
    assert _find(old, _texts(frame), {"kind": STORES}) == {"kind": STORES}
    assert _find(old, _texts(frame), {"kind": None}) == {"kind": None}
    # The column as a Parquet file stores it.
    assert _find(old, frame) == {"kind": STORES}


@saves_names
def test_xgboosts_categories_are_those_of_its_file() -> None:
    frame = _frame(STORES)
    assert _find(_xgboost(frame), _texts(frame)) == {"kind": STORES}


@saves_names
@pytest.mark.parametrize("names", NAMES.values(), ids=list(NAMES))
def test_xgboosts_names_that_are_not_ascii_are_right_or_asked_for(names: list[str]) -> None:
    frame = _frame(names)
    model = _xgboost(frame)
    assert _find(model, frame) == {"kind": names}
    assert _find(model, _texts(frame), {"kind": names}) == {"kind": names}
    if not CUTS_NAMES:
        assert _find(model, _texts(frame)) == {"kind": names}
        return
    with pytest.raises(ExportError, match="has cut the categories of 'kind'"):
        _find(model, _texts(frame))
    with pytest.raises(ExportError, match="has cut the categories of 'kind'"):
        _find(model, _texts(frame), {"kind": names[::-1]})


def _reload(model: Any, suffix: str, folder: Path) -> Any:
    model.save_model(folder / f"model.{suffix}")
    return read_model(folder / f"model.{suffix}")


@pytest.mark.parametrize("names", NAMES.values(), ids=list(NAMES))
@pytest.mark.parametrize("kind", ["estimator", "booster", "lightgbm"])
def test_names_that_are_not_ascii_are_scored_from_python_and_from_files(
    names: list[str], kind: str, tmp_path: Path
) -> None:
    frame = _frame(names)
    y = frame["kind"].cat.codes % 2 + frame["size"]
    model: Any
    if kind == "lightgbm":
        model, suffixes = _lightgbm(frame), ["txt"]
    else:
        estimator = xgboost.XGBRegressor(
            n_estimators=3, n_jobs=1, enable_categorical=True, tree_method="hist"
        )
        model = estimator.fit(frame, y) if kind == "estimator" else _xgboost(frame)
        suffixes = ["json", "ubj"]
    rows = xgboost.DMatrix(frame, enable_categorical=True) if kind == "booster" else frame
    wanted = np.asarray(model.predict(rows), np.float64)
    for i, one in enumerate([model, *(_reload(model, suffix, tmp_path) for suffix in suffixes)]):
        path = export_bundle(one, sample=frame, name="names", version=f"1.{i}.0", output_dir=tmp_path).path
        scores = score_rows(path, frame)
        np.testing.assert_allclose(scores.outputs[0][:, 0], wanted, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weight": ["a"]}, "'weight', which is not a column"),
        ({"size": ["a"]}, "'size', which the model takes as a number"),
        ({"kind": [30, 20, 10]}, "others for 'kind' than the file"),
        ({"kind": None}, "the file has its categories"),
    ],
)
@saves_names
def test_what_the_user_says_of_xgboost_is_held_against_the_file(given: Categories, message: str) -> None:
    frame = _frame(STORES)
    with pytest.raises(ExportError, match=message):
        _find(_xgboost(frame), _texts(frame), given)


def _lightgbm(frame: pd.DataFrame, categorical: Any = "auto") -> lightgbm.Booster:
    settings = {"verbose": -1, "min_data_per_group": 1, "cat_smooth": 0, "num_threads": 1}
    target = sum(
        column.cat.codes if isinstance(column.dtype, pd.CategoricalDtype) else column
        for _, column in frame.items()
    )
    data = lightgbm.Dataset(frame, target, categorical_feature=categorical)
    return lightgbm.train(settings, data, 3)


@pytest.mark.parametrize("categorical", ["auto", ["code"], ["code", "kind"]])
@pytest.mark.parametrize("categories", [STORES, ["a", "b", "c"]])
def test_lightgbms_lists_are_those_of_the_columns_that_hold_them(
    categorical: Any, categories: list[Any]
) -> None:
    frame = _frame(categories)
    frame.insert(0, "code", np.arange(COUNT) % 5)
    frame["nothing"] = 0.0
    model = _lightgbm(frame, categorical)
    assert _find(model, _texts(frame)) == {"kind": categories}
    assert _find(model, frame) == {"kind": categories}


def test_lightgbms_lists_that_two_columns_may_have_are_asked_for() -> None:
    frame = _frame([1, 2, 3])
    frame.insert(0, "code", np.arange(COUNT) % 3)
    frame["code"] = frame["code"].replace(0, 2)
    model = _lightgbm(frame, ["code", "kind"])
    with pytest.raises(ExportError, match=r"can be of more columns than one.*--categories"):
        _find(model, _texts(frame))
    assert _find(model, _texts(frame), {"kind": [1, 2, 3]}) == {"kind": [1, 2, 3]}
    assert _find(model, frame) == {"kind": [1, 2, 3]}
    with pytest.raises(ExportError, match="others for 'kind' than the file"):
        _find(model, _texts(frame), {"kind": [3, 2, 1]})
    with pytest.raises(ExportError, match="the categories of 1 columns, and 2 columns"):
        _find(model, _texts(frame), {"kind": [1, 2, 3], "code": [1, 2, 3]})


def test_lightgbms_lists_that_no_column_can_have_are_asked_for() -> None:
    frame = _frame(STORES)
    model = _lightgbm(frame)
    sample = frame.assign(kind="10").replace({"kind": {"10": "11"}})
    with pytest.raises(ExportError, match="are of no columns of this sample"):
        _find(model, _texts(sample))


def test_texts_that_are_new_do_not_hide_whose_the_categories_are() -> None:
    frame = _frame(["a", "b", "c"])
    model = _lightgbm(frame)
    sample = _texts(frame)
    sample.loc[3, "kind"] = "new"
    assert _find(model, sample) == {"kind": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "not a JSON object"),
        ('{"a": {}}', "neither a list"),
        ('{"a": []}', "neither a list"),
        ('{"a": [1, "b"]}', "not all texts, or all numbers"),
        ('{"a": ["b", "b"]}', "a category twice"),
    ],
)
def test_files_that_hold_no_categories_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "categories.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ExportError, match=message):
        read_categories(path)


def test_categories_are_read_from_json(tmp_path: Path) -> None:
    path = tmp_path / "categories.json"
    path.write_text('{"a": ["x", "北京"], "b": [1, 2], "c": "codes"}', encoding="utf-8")
    assert read_categories(path) == {"a": ["x", "北京"], "b": [1, 2], "c": None}
