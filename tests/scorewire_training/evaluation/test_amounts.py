from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from scorewire_training.evaluation import evaluate_amounts, tabulate_deciles
from scorewire_training.evaluation.amounts import decile_error, normalized_gini


def _evaluate(truth: object, predictions: object, **baselines: float) -> dict[str, float]:
    return evaluate_amounts(truth, predictions, baselines=baselines, ordinary_limit=1_000, seed=0)  # type: ignore[arg-type]  # lists


def test_amounts_are_measured_over_all_rows_and_over_ordinary_ones() -> None:
    metrics = _evaluate([0, 1, 2, 5_000], [0, 2, 2, 4_000], constant=1.5, mean=10.0)
    assert metrics["mae"] == pytest.approx(1_001 / 4)
    assert metrics["mae_constant_baseline"] == pytest.approx((1.5 + 0.5 + 0.5 + 4_998.5) / 4)
    assert metrics["mae_ordinary"] == pytest.approx(1 / 3)
    assert metrics["mae_ordinary_constant_baseline"] == pytest.approx(2.5 / 3)
    assert metrics["rmse_ordinary_mean_baseline"] == pytest.approx(np.sqrt((100 + 81 + 64) / 3))
    assert metrics["median_ae_ordinary"] == 0
    assert metrics["rmse_ordinary"] == pytest.approx(np.sqrt(1 / 3))
    assert metrics["r2_ordinary"] == pytest.approx(0.5)
    assert metrics["spearman"] == pytest.approx(0.9486833)
    assert "gini_constant_baseline" not in metrics


def test_the_lead_is_over_the_best_baseline_and_its_interval_is_that_of_pairs() -> None:
    rng = np.random.default_rng(0)
    truth = rng.lognormal(0, 2, 500)
    metrics = _evaluate(truth, truth * 0.9, median=1.0, far=1e4)
    assert metrics["mae_lead"] == pytest.approx(metrics["mae"] - metrics["mae_median_baseline"])
    assert metrics["mae_lead_low"] < metrics["mae_lead"] < metrics["mae_lead_high"] < 0
    # Better by the same amount on every row: the paired interval is clear, the separate intervals overlap.
    paired = _evaluate(truth, np.zeros(500), median=-0.5)
    assert paired["mae_lead_low"] == pytest.approx(paired["mae_lead_high"]) == pytest.approx(-0.5)
    assert paired["mae_low"] < paired["mae_median_baseline"] < paired["mae_high"]
    assert "mae_ordinary_lead" in metrics
    assert "mae_lead" not in _evaluate(truth, truth)


def test_metrics_are_those_of_the_libraries() -> None:
    rng = np.random.default_rng(0)
    truth = np.round(rng.lognormal(0, 1, 300), 1)
    predictions = np.round(truth * rng.lognormal(0, 0.5, 300), 1)
    metrics = _evaluate(truth, predictions)
    assert metrics["r2"] == pytest.approx(r2_score(truth, predictions))
    assert metrics["spearman"] == pytest.approx(spearmanr(truth, predictions).statistic)


def test_intervals_hold_the_metric_and_follow_the_seed() -> None:
    rng = np.random.default_rng(0)
    truth = rng.lognormal(0, 1, 400) * (rng.random(400) < 0.6)
    predictions = truth * rng.lognormal(0, 0.4, 400) + 0.01
    metrics = _evaluate(truth, predictions)
    for metric in ("mae", "median_ae", "rmse", "r2", "spearman", "gini"):
        assert metrics[f"{metric}_low"] < metrics[metric] < metrics[f"{metric}_high"], metric
    # Resampling only increases this error, so its interval lies to the right.
    assert 0 < metrics["decile_error_low"] < metrics["decile_error_high"]
    errors = np.abs(truth - predictions)
    half = 1.96 * errors.std() / np.sqrt(400)
    assert metrics["mae_high"] - metrics["mae"] == pytest.approx(half, rel=0.3)
    assert _evaluate(truth, predictions) == metrics


def test_gini_is_one_for_the_right_order_and_minus_one_for_the_reverse() -> None:
    truth = np.array([0.0, 0.0, 1.0, 5.0, 100.0])
    assert normalized_gini(truth, truth**2) == pytest.approx(1.0)
    assert normalized_gini(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1.0)
    assert normalized_gini(truth, np.ones(5)) == pytest.approx(0.0)
    # Computed by hand: cumulative shares of the truth by descending prediction, minus the diagonal.
    truth, predictions = np.array([4.0, 0.0, 6.0]), np.array([3.0, 2.0, 1.0])
    area = (0.4 - 1 / 3) + (0.4 - 2 / 3)
    ideal = (0.6 - 1 / 3) + (1.0 - 2 / 3)
    assert normalized_gini(truth, predictions) == pytest.approx(area / ideal)
    assert np.isnan(normalized_gini(np.ones(3), predictions))


def test_deciles_show_where_sums_are_off() -> None:
    truth = np.arange(20.0)
    table = tabulate_deciles(truth, truth * 2.0)
    assert table["rows"].tolist() == [2] * 10
    assert table["predicted"].tolist() == [(4 * i + 1) for i in range(10)]
    assert table["actual"].tolist() == [2 * i + 0.5 for i in range(10)]
    assert decile_error(truth, truth * 2.0) == pytest.approx(1.0)
    assert decile_error(truth, truth) == 0
    # The total is right but spread evenly, so every group is too high or too low.
    assert decile_error(np.array([0.0, 4.0]), np.array([1.9, 2.1])) == pytest.approx(0.95)
    assert np.isnan(decile_error(np.zeros(3), np.ones(3)))


def test_a_metric_that_is_not_defined_is_left_out() -> None:
    metrics = _evaluate([1, 2], [3, 3], constant=0.0)
    assert not {"spearman", "gini", "spearman_low"} & metrics.keys()
    assert all(np.isfinite(value) for value in metrics.values())
    nothing = _evaluate([0, 0], [1, 2])
    assert not {"r2", "decile_error", "gini"} & nothing.keys()


def test_over_no_ordinary_rows_nothing_is_defined() -> None:
    metrics = _evaluate([5_000, 6_000], [3, 4], constant=1.0)
    assert metrics["mae"] == pytest.approx(5_496.5)
    assert not [name for name in metrics if "ordinary" in name]
