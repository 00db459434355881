from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from scorewire_training.estimators.calibration import SMALLEST, LogOddsCalibrator, log_odds


def _logistic(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-odds)))


def _fitted() -> tuple[LogisticRegression, NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4_000, 1))
    labels = (rng.random(4_000) < _logistic(1.5 * rows[:, 0] - 0.5)).astype(np.int64)
    return LogisticRegression().fit(rows[:2_000], labels[:2_000]), rows[2_000:], labels[2_000:]


def test_what_is_right_is_hardly_changed() -> None:
    model, rows, labels = _fitted()
    calibrated = LogOddsCalibrator(model).fit(rows, labels)
    assert calibrated.slope_ == pytest.approx(1, abs=0.15)
    assert calibrated.offset_ == pytest.approx(0, abs=0.15)
    np.testing.assert_allclose(calibrated.predict_proba(rows), model.predict_proba(rows), atol=0.04)


def test_what_is_too_sure_and_too_high_is_set_right() -> None:
    model, rows, labels = _fitted()
    said = _logistic(3 * log_odds(model.predict_proba(rows)[:, 1]) + 1)
    calibrated = LogOddsCalibrator(model).fit_probabilities(said, labels)
    assert calibrated.slope_ == pytest.approx(1 / 3, abs=0.06)
    corrected = calibrated.calibrate(said)
    assert corrected.mean() == pytest.approx(labels.mean(), abs=1e-3)
    assert abs(said.mean() - labels.mean()) > 0.02


def test_the_order_of_rows_and_the_classes_stay() -> None:
    _, rows, labels = _fitted()
    named = LogisticRegression().fit(rows, np.array(["no", "yes"])[labels])
    calibrated = LogOddsCalibrator(named).fit(rows, np.array(["no", "yes"])[labels])
    before, after = named.predict_proba(rows)[:, 1], calibrated.predict_proba(rows)[:, 1]
    np.testing.assert_array_equal(np.argsort(before, kind="stable"), np.argsort(after, kind="stable"))
    assert set(calibrated.predict(rows)) == {"no", "yes"}
    assert (calibrated.predict(rows) == np.where(after > 0.5, "yes", "no")).all()


def test_certainty_is_cut_off() -> None:
    odds = log_odds(np.array([0.0, SMALLEST, 0.5, 1.0]))
    assert odds[0] == odds[1] == pytest.approx(-odds[3])
    assert odds[2] == 0
