from __future__ import annotations

import pytest

from scorewire_training.evaluation.metrics import Better, format_figure, read_figures

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
    figures = {figure.name: figure for figure in read_figures(METRICS, unit="$")}
    assert list(figures) == ["auc", "mae", "mae_ordinary", "test_rows"]
    auc = figures["auc"]
    assert auc.interval == (0.75, 0.81)
    assert [(rival.rule, rival.value) for rival in auc.baselines] == [("recency", 0.70), ("frequency", 0.76)]
    assert [rival.rule for rival in figures["mae"].baselines] == ["constant"]
    assert figures["mae_ordinary"].title == "Mean absolute error, ordinary"
    assert figures["mae_ordinary"].show(0.5) == "$0.500"
    assert figures["test_rows"].better is Better.NEITHER


def test_a_baseline_inside_the_interval_is_not_told_apart() -> None:
    auc, mae, ordinary, _ = read_figures(METRICS)
    assert auc.best_baseline is not None
    assert auc.best_baseline.rule == "frequency"
    assert auc.beats(auc.best_baseline) is None
    assert auc.beats(auc.baselines[0]) is True
    assert mae.beats(mae.baselines[0]) is True
    assert ordinary.beats(ordinary.baselines[0]) is False


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.70312, "0.703"),
        (2.959, "2.96"),
        (-0.066, "−0.0660"),
        (225.93, "226"),
        (68_838.4, "68,838"),
        (20_000.0, "20,000"),
        (0.000012, "1.2e−05"),
        (0.9999, "1.000"),
    ],
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert format_figure(value) == text
