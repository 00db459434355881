from __future__ import annotations

from scorewire_training.evaluation.metrics import Direction, read_metrics

METRICS = {
    "auc": 0.78,
    "auc_low": 0.75,
    "auc_high": 0.81,
    "auc_recency_baseline": 0.70,
    "auc_frequency_baseline": 0.76,
    "mae": 12.0,
    "mae_constant_baseline": 13.0,
    "mae_ordinary": 0.5,
    "mae_ordinary_constant_baseline": 0.4,
    "test_rows": 1_200.0,
}


def test_intervals_and_baselines_go_with_their_metric() -> None:
    metrics = {metric.name: metric for metric in read_metrics(METRICS, unit="$")}
    assert list(metrics) == ["auc", "mae", "mae_ordinary", "test_rows"]
    auc = metrics["auc"]
    assert auc.interval == (0.75, 0.81)
    assert [(baseline.rule, baseline.value) for baseline in auc.baselines] == [
        ("recency", 0.70),
        ("frequency", 0.76),
    ]
    assert [baseline.rule for baseline in metrics["mae"].baselines] == ["constant"]
    assert metrics["mae_ordinary"].title == "Mean absolute error, ordinary"
    assert metrics["mae_ordinary"].meaning == (
        "the mean distance of prediction and truth; over rows with ordinary amounts"
    )
    assert metrics["mae_ordinary"].show(0.5) == "$0.500"
    assert metrics["test_rows"].direction is Direction.NEITHER


def test_a_baseline_inside_the_interval_is_not_told_apart() -> None:
    auc, mae, ordinary, _ = read_metrics(METRICS)
    assert auc.best_baseline is not None
    assert auc.best_baseline.rule == "frequency"
    assert auc.beats(auc.best_baseline) is None
    assert auc.beats(auc.baselines[0]) is True
    assert mae.beats(mae.baselines[0]) is True
    assert ordinary.beats(ordinary.baselines[0]) is False
