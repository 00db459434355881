from __future__ import annotations

import numpy as np
import pytest

from scorewire_training.evaluation import calibration_error, evaluate_amounts, evaluate_probabilities


def test_probabilities_are_measured_beside_their_rivals() -> None:
    labels = [0, 0, 1, 1]
    metrics = evaluate_probabilities(
        labels, [0.1, 0.6, 0.4, 0.9], baselines={"height": [1, 2, 3, 4], "depth": [4, 3, 2, 1]}, seed=0
    )
    assert metrics["auc"] == 0.75
    assert metrics["auc_height_baseline"] == 1.0
    assert metrics["auc_depth_baseline"] == 0.0
    assert metrics["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert metrics["brier_constant_baseline"] == 0.25
    assert metrics["log_loss"] == pytest.approx(-np.mean(np.log([0.9, 0.4, 0.4, 0.9])))
    assert metrics["log_loss_constant_baseline"] == pytest.approx(np.log(2))
    assert metrics["positive_share"] == 0.5


def test_the_interval_of_the_auc_narrows_with_more_rows() -> None:
    rng = np.random.default_rng(0)

    def width(count: int) -> float:
        labels = np.arange(count) % 2
        metrics = evaluate_probabilities(labels, 1 / (1 + np.exp(-rng.normal(labels))), baselines={}, seed=1)
        assert metrics["auc_low"] < metrics["auc"] < metrics["auc_high"]
        return metrics["auc_high"] - metrics["auc_low"]

    assert width(4_000) < width(200) / 2


def test_calibration_error_is_the_mean_distance_of_forecast_and_truth() -> None:
    forecast = np.repeat(np.arange(10) / 10 + 0.05, 10)
    positive = [0, 1, 2, 3, 4, 5, 6, 9, 10, 10]
    labels = np.concatenate([np.repeat([0, 1], [10 - count, count]) for count in positive])
    distances = [abs(level / 10 + 0.05 - count / 10) for level, count in enumerate(positive)]
    assert calibration_error(labels, forecast) == pytest.approx(np.mean(distances))
    order = np.random.default_rng(0).permutation(100)
    assert calibration_error(labels, forecast[order]) > 2 * np.mean(distances)


def test_amounts_are_measured_over_all_rows_and_over_ordinary_ones() -> None:
    metrics = evaluate_amounts([0, 1, 2, 5_000], [0, 2, 2, 4_000], constant=1.5, ordinary_limit=1_000)
    assert metrics["mae"] == pytest.approx(1_001 / 4)
    assert metrics["mae_constant_baseline"] == pytest.approx((1.5 + 0.5 + 0.5 + 4_998.5) / 4)
    assert metrics["mae_ordinary"] == pytest.approx(1 / 3)
    assert metrics["mae_ordinary_constant_baseline"] == pytest.approx(2.5 / 3)
    assert metrics["median_ae_ordinary"] == 0
    assert metrics["rmse_ordinary"] == pytest.approx(np.sqrt(1 / 3))
    assert metrics["r2_ordinary"] == pytest.approx(0.5)
    assert metrics["spearman"] == pytest.approx(0.9486833)


def test_a_metric_that_is_not_defined_is_left_out() -> None:
    metrics = evaluate_amounts([1, 2], [3, 3], constant=0, ordinary_limit=10)
    assert "spearman" not in metrics
    assert all(np.isfinite(value) for value in metrics.values())


def test_no_ordinary_amount_is_refused() -> None:
    with pytest.raises(ValueError, match="no amount is up to 10"):
        evaluate_amounts([50], [3], constant=0, ordinary_limit=10)
