from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from scorewire_training.evaluation import (
    calibration_error,
    evaluate_probabilities,
    tabulate_reliability,
)


def test_probabilities_are_measured_beside_their_baselines() -> None:
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
    assert metrics["positive_share"] == metrics["mean_probability"] == 0.5
    assert metrics["auc_lead"] == -0.25
    assert metrics["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert metrics["average_precision_height_baseline"] == 1.0


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


def _draw(count: int, *, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(2, 3, count)
    return (rng.random(count) < probabilities).astype(np.int64), probabilities


def test_the_lead_is_paired_and_so_narrower_than_the_auc_itself() -> None:
    labels, probabilities = _draw(2_000)
    near = probabilities + np.random.default_rng(1).normal(0, 0.05, len(labels))
    metrics = evaluate_probabilities(
        labels, probabilities, baselines={"near": near, "blind": np.zeros(len(labels))}, seed=0
    )
    assert metrics["auc_blind_baseline"] == 0.5
    assert metrics["auc_lead"] == pytest.approx(metrics["auc"] - metrics["auc_near_baseline"])
    assert metrics["auc_lead_low"] < metrics["auc_lead"] < metrics["auc_lead_high"]
    width = metrics["auc_lead_high"] - metrics["auc_lead_low"]
    assert width < (metrics["auc_high"] - metrics["auc_low"]) / 2


def test_the_interval_agrees_with_theory() -> None:
    labels, probabilities = _draw(3_000)
    metrics = evaluate_probabilities(labels, probabilities, baselines={}, seed=0)
    assert "auc_lead" not in metrics
    # Hanley and McNeil 1982.
    area, positive = metrics["auc"], labels.sum()
    negative = len(labels) - positive
    alike, beaten = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (
        area * (1 - area) + (positive - 1) * (alike - area**2) + (negative - 1) * (beaten - area**2)
    ) / (positive * negative)
    width = metrics["auc_high"] - metrics["auc_low"]
    assert width == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.15)


def test_exact_probabilities_show_the_calibration_error_of_chance() -> None:
    labels, probabilities = _draw(3_000)
    metrics = evaluate_probabilities(labels, probabilities, baselines={}, seed=0)
    assert metrics["calibration_error"] == pytest.approx(metrics["calibration_error_by_chance"], abs=0.01)
    shifted = evaluate_probabilities(labels, (probabilities + 1) / 2, baselines={}, seed=0)
    assert shifted["calibration_error_low"] > 2 * shifted["calibration_error_by_chance"]


def test_what_a_wrong_level_alone_does_to_the_calibration_is_told_apart() -> None:
    labels, probabilities = _draw(3_000)
    odds = np.log(probabilities / (1 - probabilities))
    high = evaluate_probabilities(labels, 1 / (1 + np.exp(-odds - 1)), baselines={}, seed=0)
    assert high["calibration_error"] > 0.15
    assert high["calibration_error_level_known"] == pytest.approx(
        high["calibration_error_by_chance"], abs=0.015
    )
    sharp = evaluate_probabilities(labels, 1 / (1 + np.exp(-3 * odds)), baselines={}, seed=0)
    assert sharp["calibration_error_level_known"] > 0.05


def test_lift_is_of_the_tenth_with_the_highest_scores_and_ties_count_in_part() -> None:
    labels = np.repeat([0, 1], [80, 20])
    metrics = evaluate_probabilities(
        labels,
        np.linspace(0.01, 0.99, 100),
        baselines={"same": np.zeros(100), "rough": np.r_[np.zeros(60), np.ones(40)]},
        seed=0,
    )
    assert metrics["top_decile_lift"] == 5.0
    assert metrics["top_decile_lift_same_baseline"] == pytest.approx(1.0)
    assert metrics["top_decile_lift_rough_baseline"] == pytest.approx(2.5)


def test_reliability_has_forecast_and_truth_of_each_group() -> None:
    labels, probabilities = _draw(1_005)
    table = tabulate_reliability(labels, probabilities)
    assert table.index.tolist() == list(range(1, 11))
    assert table["rows"].sum() == 1_005
    assert table["mean_probability"].is_monotonic_increasing
    error = (table["mean_probability"] - table["positive_share"]).abs() @ table["rows"] / 1_005
    assert error == pytest.approx(calibration_error(labels, probabilities))
