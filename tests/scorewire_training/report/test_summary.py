from __future__ import annotations

from scorewire_training.report.summary import summarize
from scorewire_training.training_result import PredictionKind
from tests.scorewire_training.results import make_result


def _summarize(kind: PredictionKind, metrics: dict[str, float]) -> tuple[str, ...]:
    return summarize(make_result(kind, rows=300, metrics=metrics))


def test_a_model_that_is_better_beyond_the_interval_is_called_better() -> None:
    found = _summarize(
        PredictionKind.PROBABILITY,
        {"auc": 0.8, "auc_low": 0.77, "auc_high": 0.83, "auc_recency_baseline": 0.7},
    )
    assert "better than the best rule" in found[0]
    assert "80.0% of cases (77.0% to 83.0%)" in found[1]
    assert found[2] == "AUC: 0.800, better than the 0.700 of recency alone by more than the interval."


def test_a_model_within_the_interval_of_a_rule_is_not_called_better() -> None:
    found = _summarize(
        PredictionKind.PROBABILITY,
        {"auc": 0.8, "auc_low": 0.77, "auc_high": 0.83, "auc_recency_baseline": 0.79},
    )
    assert "no clear difference on 1" in found[0]
    assert "no clear difference from the 0.790 of recency alone" in found[-1]


def test_a_model_that_is_worse_is_called_worse() -> None:
    found = _summarize(PredictionKind.AMOUNT, {"mae": 16.46, "mae_constant_baseline": 12.1})
    assert found == (
        "It is worse than the best rule without a model on every headline metric that both have.",
        "Mean absolute error: $16.5, worse than the $12.1 of constant alone.",
    )


def test_without_a_baseline_there_is_no_comparison() -> None:
    assert _summarize(PredictionKind.AMOUNT, {"mae": 16.46}) == ()


def test_the_interval_of_the_lead_tells_apart_what_that_of_the_metric_does_not() -> None:
    metrics = {"auc": 0.8, "auc_low": 0.77, "auc_high": 0.83, "auc_recency_baseline": 0.79}
    lead = {"auc_lead": 0.01, "auc_lead_low": 0.002, "auc_lead_high": 0.018}
    assert "better than the best rule" in _summarize(PredictionKind.PROBABILITY, {**metrics, **lead})[0]
