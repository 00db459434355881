"""The number that means missing in XGBoost's data, and settings that only affect predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.linear_model import LinearRegression

from scorewire_training.export import ExportError, UnsupportedModelError, export_bundle
from tests.scored_bundles import score_rows

COUNT = 200


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.integers(0, 4, COUNT).astype(np.float64), "b": rng.normal(size=COUNT)})


def target_of(frame: pd.DataFrame) -> Any:
    return (frame["a"] == 0) * 2 - frame["b"]


@pytest.mark.parametrize("missing", [0.0, 2.0, -999.0, 0.1, np.inf])
def test_a_boosters_number_for_missing_is_missing_in_the_bundle(
    missing: float, frame: pd.DataFrame, tmp_path: Path
) -> None:
    target = target_of(frame)
    sample = frame.copy()
    sample.loc[::5, "b"] = missing
    data = xgboost.DMatrix(sample, target, missing=missing)
    booster = xgboost.train({"nthread": 1}, data, 4)
    path = export_bundle(
        booster, sample=sample, name="m", version="1.0.0", output_dir=tmp_path, missing=missing
    ).path
    scores = score_rows(path, sample)
    assert not scores.errors
    np.testing.assert_allclose(scores.outputs[0].ravel(), booster.predict(data), rtol=5e-6, atol=5e-6)


def test_categories_have_no_number_for_missing_but_their_codes(frame: pd.DataFrame, tmp_path: Path) -> None:
    sample = frame.assign(kind=pd.Categorical(np.resize(["x", "y", "z"], COUNT)))
    target = target_of(frame) + sample["kind"].cat.codes
    data = xgboost.DMatrix(sample, target, missing=1.0, enable_categorical=True)
    booster = xgboost.train({"nthread": 1}, data, 4)
    # The parity gate compares every category and missing ones.
    exported = export_bundle(
        booster, sample=sample, name="m", version="1.0.0", output_dir=tmp_path, missing=1.0
    )
    assert exported.parity.rows_compared > COUNT


def test_a_number_for_missing_that_is_not_the_models_is_refused(frame: pd.DataFrame, tmp_path: Path) -> None:
    model = xgboost.XGBRegressor(n_estimators=2, missing=-1).fit(frame, target_of(frame))
    arguments: dict[str, Any] = {"sample": frame, "name": "m", "output_dir": tmp_path}
    export_bundle(model, version="1.0.0", missing=-1, **arguments)
    with pytest.raises(ExportError, match="missing=-2 is given for a XGBRegressor of missing=-1"):
        export_bundle(model, version="1.1.0", missing=-2, **arguments)
    line = LinearRegression().fit(frame, target_of(frame))
    with pytest.raises(ExportError, match="for a LinearRegression; only XGBoost takes it"):
        export_bundle(line, version="1.1.0", missing=-2, **arguments)


def test_a_model_that_leaves_trees_out_is_refused_and_its_booster_exported(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    model = lightgbm.LGBMClassifier(
        n_estimators=30, verbose=-1, pred_early_stop=True, pred_early_stop_freq=2, pred_early_stop_margin=0.1
    ).fit(frame, target_of(frame) > 0)
    arguments: dict[str, Any] = {"sample": frame, "name": "m", "version": "1.0.0", "output_dir": tmp_path}
    with pytest.raises(
        UnsupportedModelError, match=r"pred_early_stop=True leaves trees out.*model\.booster_"
    ):
        export_bundle(model, **arguments)
    export_bundle(model.booster_, **arguments)
