from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from scorewire_training.estimators import LogOddsCalibrator
from scorewire_training.export import export_bundle
from scorewire_training.repurchase.candidates import build_candidates
from scorewire_training.repurchase.cutoffs import Observations, choose_cutoffs, observe_training
from scorewire_training.repurchase.data import clean_transactions
from scorewire_training.study.candidates import Candidate
from tests.scorewire_training.repurchase.shop import make_lines

NAMES = ("logistic regression", "random forest", "histogram gradient boosting", "LightGBM", "XGBoost")


@pytest.fixture(scope="module")
def rows() -> Observations:
    lines = clean_transactions(make_lines(120)).lines
    return observe_training(lines, choose_cutoffs(lines, None, 90), horizon_days=90, seed=0)


def _build(name: str, columns: pd.Index[str]) -> Pipeline:
    candidate: Candidate = next(
        candidate for candidate in build_candidates(columns, 0) if candidate.name == name
    )
    trial = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0)).ask()
    return candidate.build(dict(candidate.suggest(trial)))


def test_candidates_come_in_the_order_of_simplicity(rows: Observations) -> None:
    assert tuple(candidate.name for candidate in build_candidates(rows.features.columns, 0)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_candidate_is_exported_with_parity_when_calibrated(
    name: str, rows: Observations, tmp_path: Path
) -> None:
    # Missing numbers and texts, which a caller may send for any feature.
    features = rows.features.copy()
    rng = np.random.default_rng(0)
    for column in features.columns:
        missing = "" if features[column].dtype == object else np.nan
        features.loc[rng.random(len(features)) < 0.1, column] = missing
    fitted = _build(name, features.columns).fit(features, rows.labels)
    calibrator = LogOddsCalibrator(fitted[-1]).fit_probabilities(
        np.clip(fitted.predict_proba(features)[:, 1], 0.05, 0.9), rows.labels
    )
    exported = export_bundle(
        Pipeline([*fitted.steps[:-1], ("model", calibrator)]),
        sample=features,
        name="candidate",
        version="1.0.0",
        output_dir=tmp_path,
    )
    assert exported.parity.worst_share_of_tolerance <= 1
    (probabilities,) = (out for out in exported.manifest.schema.outputs if out.name == "probabilities")
    assert list(probabilities.class_labels) == ["0", "1"]


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_is_the_same_again(name: str, rows: Observations) -> None:
    once, again = (
        _build(name, rows.features.columns).fit(rows.features, rows.labels).predict_proba(rows.features)
        for _ in range(2)
    )
    np.testing.assert_array_equal(once, again)


def test_a_shop_without_texts_has_candidates_too(rows: Observations) -> None:
    numbers = rows.features.drop(columns=["segment", "country"])
    for name in NAMES:
        fitted = _build(name, numbers.columns).fit(numbers, rows.labels)
        assert fitted.predict_proba(numbers).shape == (len(numbers), 2)
