"""Sparse matrices before trees: entries that are left out, and stored entries that became 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)

from scorewire_training.export import export_bundle
from tests.scored_bundles import score_rows

COUNT = 200
WORDS = {"token_pattern": "[^ ]+", "lowercase": False}
# Numbers that XGBoost and LightGBM read as 0, and numbers so small that a scaler turns them into 0.
NEAR_ZERO = [0.0, -0.0, 5e-324, -5e-324, 1e-45, float(np.float32(1e-35)), -float(np.float32(1e-35)), -2e-35]
MODELS = {
    "XGBoost": xgboost.XGBClassifier(n_estimators=5, max_depth=4, n_jobs=1),
    "LightGBM": lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1),
}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": rng.integers(0, 4, COUNT).astype(np.float64),
            "b": np.round(rng.normal(size=COUNT), 1),
            "kind": rng.choice(["x", "y", "z"], COUNT),
            "text": rng.choice(["one two", "two three three", "four one", ""], COUNT),
        }
    )
    frame.loc[::7, "a"] = np.nan
    return frame


def stack(*more: Any, numbers: Any = "passthrough", dense: bool = False) -> Any:
    return make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["kind"]),
        *more,
        (numbers, ["a", "b"]),
        sparse_threshold=0.0 if dense else 1.0,
    )


STEPS: dict[str, list[Any]] = {
    "zeros of numbers are left out": [stack()],
    "a dense stack has them": [stack(dense=True)],
    "scaled before": [stack(numbers=StandardScaler())],
    "filled with 0 before": [stack(numbers=SimpleImputer(strategy="constant", fill_value=0))],
    "bins": [stack(numbers=make_pipeline(SimpleImputer(), KBinsDiscretizer(3)))],
    "words": [stack((TfidfVectorizer(**WORDS), "text"))],
    "counted words, weighed after": [
        make_column_transformer((CountVectorizer(**WORDS), "text"), remainder="drop"),
        TfidfTransformer(),
    ],
    "scaled by the largest": [stack(), MaxAbsScaler()],
    "scaled by the deviation": [stack(), StandardScaler(with_mean=False)],
    "over the norm": [stack(numbers=SimpleImputer()), Normalizer()],
    "filled with 0": [stack(), SimpleImputer(strategy="constant", fill_value=0)],
    "filled, with indicators": [stack(), SimpleImputer(add_indicator=True)],
    "magnitudes": [stack(), FunctionTransformer(np.abs)],
    "chosen": [stack(), MaxAbsScaler(), VarianceThreshold()],
    "products": [stack(numbers=SimpleImputer()), PolynomialFeatures(2)],
}


@pytest.mark.parametrize("library", list(MODELS))
@pytest.mark.parametrize("steps", list(STEPS))
def test_trees_read_a_sparse_matrix_as_their_library_does(
    steps: str, library: str, frame: pd.DataFrame, tmp_path: Path
) -> None:
    target = (frame["a"].fillna(1) + (frame["kind"] == "x") * 2 - frame["b"] > 1.2).astype(int)
    model = make_pipeline(*STEPS[steps], MODELS[library]).fit(frame, target)
    path = export_bundle(model, sample=frame, name="m", version="1.0.0", output_dir=tmp_path).path
    rows = pd.concat([frame] * 2, ignore_index=True).iloc[: COUNT + len(NEAR_ZERO) ** 2]
    rows.loc[COUNT:, ["a", "b"]] = [[a, b] for a in NEAR_ZERO for b in NEAR_ZERO]
    scores = score_rows(path, rows)
    assert not scores.errors
    np.testing.assert_allclose(scores.outputs[0], model.predict_proba(rows), rtol=5e-6, atol=5e-6)
