"""Models of the installed libraries, from the fit to the score of a typed row, on both engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from scorewire import Client
from scorewire_training import export_bundle
from tests.conformance.engines import ENGINES
from tests.processes import serving

ROWS = 200


def _frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(ROWS, 2)), columns=["age", "spend"])
    frame.loc[::9, "age"] = np.nan
    frame["city"] = rng.choice(["Lima", "Logroño", "北京", ""], ROWS)
    return frame


def _categorical(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(city=pd.Categorical(frame["city"].replace("", None)))


def _forest(frame: pd.DataFrame, y: Any) -> Any:
    hot = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough")
    forest = RandomForestClassifier(8, random_state=0)
    return make_pipeline(hot, forest).fit(frame, y)


MODELS: dict[str, tuple[Callable[[pd.DataFrame, Any], Any], Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "xgboost": (
        lambda frame, y: xgboost.XGBClassifier(
            n_estimators=8, n_jobs=1, enable_categorical=True, tree_method="hist"
        ).fit(frame, y),
        _categorical,
    ),
    "lightgbm": (
        lambda frame, y: lightgbm.LGBMClassifier(n_estimators=8, n_jobs=1, verbose=-1).fit(frame, y),
        _categorical,
    ),
    "scikit-learn": (_forest, lambda frame: frame.fillna({"age": -9.0})),
}


@pytest.mark.parametrize("engine", ENGINES)
def test_models_of_every_library_are_exported_and_served(engine: str, tmp_path: Path) -> None:
    frame = _frame()
    y = (frame["spend"] + (frame["city"] == "Lima") > 0.3).astype(int)
    wanted, sent = {}, {}
    for name, (fit, prepare) in MODELS.items():
        rows = prepare(frame)
        model = fit(rows, y)
        export_bundle(model, sample=rows, name=name, version="1.0.0", output_dir=tmp_path / "models")
        wanted[name] = model.predict_proba(rows)[:, 1]
        sent[name] = rows.astype(object).where(rows.notna(), None).to_dict("records")
    with (
        serving(tmp_path / "server", tmp_path / "models", "--engine", engine) as server,
        Client(server.address) as client,
    ):
        for name, rows in sent.items():
            predictions = client.predict(name, rows)
            np.testing.assert_allclose(predictions.scores, wanted[name], rtol=2e-6, atol=1e-6)
