"""Plans of explanations: weights of targets, sizes, and reasons that name the features."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from numpy.typing import NDArray
from sklearn import linear_model
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from scorewire_training.export import export_bundle
from scorewire_training.export.explanation import plan
from scorewire_training.export.explanation.errors import UnexplainedError
from scorewire_training.export.explanation.plan import diagonals

X = pd.DataFrame(np.random.default_rng(0).normal(size=(120, 6)), columns=list("abcdef"))
VALUE = X.a.to_numpy()


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        (np.eye(3) * 0.5, [(0, 0.5)]),
        (np.array([[2.0, 0.0, 3.0]]), [(0, 2.0), (2, 3.0)]),
        (np.array([[0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]), [(1, 4.0)]),
        (np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 2.0]]), [(0, 1.0), (1, 2.0)]),
    ],
)
def test_targets_count_towards_successive_margins(
    weights: NDArray[np.float64], wanted: list[tuple[int, float]]
) -> None:
    assert diagonals(weights) == wanted


@pytest.mark.parametrize(
    "weights",
    [np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.0], [1.0]])],
)
def test_targets_that_are_mixed_are_not_explained(weights: NDArray[np.float64]) -> None:
    with pytest.raises(UnexplainedError, match="mix the sums of several targets"):
        diagonals(weights)


def _reason(model: object, folder: Path) -> str:
    exported = export_bundle(model, sample=X, name="m", version="1.0.0", output_dir=folder)
    (output,) = exported.explanation.unexplained
    return output.reason


def test_a_reason_names_a_few_features_and_counts_the_others(tmp_path: Path) -> None:
    model = make_pipeline(Normalizer(), linear_model.Ridge()).fit(X, VALUE)
    assert _reason(model, tmp_path) == (
        "column 0 of what the linear function reads is computed from 'a', 'b', 'c', 'd' and 2 more together"
    )


def test_large_ensembles_are_not_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_MOST_NODES", 10)
    model = xgboost.XGBRegressor(n_estimators=3, max_depth=3).fit(X, VALUE)
    assert "nodes, and 10 at most are explained" in _reason(model, tmp_path)


def test_wide_linear_functions_are_not_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_MOST_WEIGHTS", 35)
    assert _reason(linear_model.Ridge().fit(X, VALUE), tmp_path) == (
        "it multiplies 6 columns of 6 features, too many to tell apart"
    )


def test_trees_without_covers_are_not_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorewire_training.export.trees.lightgbm._cover", lambda *_: None)
    model = lightgbm.LGBMRegressor(n_estimators=3, verbose=-1).fit(X, X.a * X.b)
    assert _reason(model, tmp_path) == "the model does not tell how many training rows reached each leaf"
