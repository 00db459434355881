"""The outcome of a training run in plain sentences, for the top of the report and the model card."""

from __future__ import annotations

from scorewire_training.evaluation.metrics import Direction, Metric, read_metrics
from scorewire_training.training_result import PredictionKind, TrainingResult

# The metrics that a reader should see first, if they were measured.
_HEADLINES = {
    PredictionKind.PROBABILITY: ("auc", "brier", "log_loss", "calibration_error"),
    PredictionKind.AMOUNT: ("mae_ordinary", "mae", "spearman", "gini", "median_ae"),
}
_MAX_HEADLINES = 4


def headline_metrics(result: TrainingResult) -> tuple[Metric, ...]:
    """The most important metrics, at most four."""
    metrics = {metric.name: metric for metric in read_metrics(result.metrics, unit=result.unit)}
    wanted = [metrics[name] for name in _HEADLINES[result.kind] if name in metrics]
    return tuple(wanted[:_MAX_HEADLINES]) or tuple(metrics.values())[:_MAX_HEADLINES]


def summarize(result: TrainingResult) -> tuple[str, ...]:
    """The outcome of the test, one sentence for each point."""
    metrics = headline_metrics(result)
    sentences = [_sum_up(metrics)]
    for metric in metrics:
        if metric.name == "auc":
            sentences.append(
                f"Of a row with label 1 and one without, it gives the first the higher forecast in "
                f"{metric.value:.1%} of cases{_between(metric, share=True)}."
            )
        elif metric.name == "spearman":
            sentences.append(
                f"Its order of the rows agrees with the true one to {metric.show(metric.value)}"
                f"{_between(metric)}, where 1 is the same order and 0 is chance."
            )
        elif metric.name == "calibration_error":
            sentences.append(
                f"A forecast is off by {100 * metric.value:.1f} percentage points on average, group by group."
            )
        if comparison := describe_comparison(metric):
            sentences.append(comparison)
    return tuple(sentence for sentence in sentences if sentence)


def _sum_up(metrics: tuple[Metric, ...]) -> str:
    """How often the model beats its strongest baseline; empty without baselines."""
    found = [outcome_against_baseline(metric) for metric in metrics]
    compared = [outcome for outcome in found if outcome]
    if not compared:
        return ""
    for outcome in ("better", "worse"):
        if compared.count(outcome) == len(compared):
            return (
                f"It is {outcome} than the best rule without a model on every headline metric that both have."
            )
    counts = (
        (word, compared.count(outcome))
        for word, outcome in (("better", "better"), ("no clear difference", "equal"), ("worse", "worse"))
    )
    parts = ", ".join(f"{word} on {count}" for word, count in counts if count)
    shared = f"the {len(compared)} headline metrics that both have"
    return f"Against the best rule without a model, on {shared}: {parts}."


def describe_comparison(metric: Metric) -> str:
    """The model compared with the strongest baseline; empty without baselines."""
    baseline = metric.best_baseline
    if baseline is None:
        return ""
    value, other = metric.show(metric.value), metric.show(baseline.value)
    rule = baseline.rule.replace("_", " ")
    beats = metric.beats(baseline)
    if beats is None and (metric.interval or metric.lead):
        measured = f"{metric.title}: {value}{_between(metric)}"
        return f"{measured}, no clear difference from the {other} of {rule} alone."
    relation = "better than" if beats else "worse than"
    if beats is None:
        relation = "equal to"
    beyond = " by more than the interval" if (metric.interval or metric.lead) and beats is not None else ""
    return f"{metric.title}: {value}, {relation} the {other} of {rule} alone{beyond}."


def _between(metric: Metric, *, share: bool = False) -> str:
    if metric.interval is None:
        return ""
    low, high = metric.interval
    if share:
        return f" ({low:.1%} to {high:.1%})"
    return f" ({metric.show(low)} to {metric.show(high)})"


def as_sentence(text: str) -> str:
    """A text with a capital first letter and a full stop."""
    sentence = text[:1].upper() + text[1:]
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def outcome_against_baseline(metric: Metric) -> str:
    """The model against its strongest baseline: "better", "worse", "equal"; "" without baselines."""
    baseline = metric.best_baseline
    if baseline is None or metric.direction is Direction.NEITHER:
        return ""
    return {True: "better", False: "worse", None: "equal"}[metric.beats(baseline)]
