"""Metrics as people compare them: the model's value with its interval, next to those of the baselines.

A training run stores metrics as numbers by name, and the names show what belongs
together: `auc`, its 95 % interval `auc_low` and `auc_high`, and
`auc_recency_baseline`, the AUC of the baseline "recency".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from scorewire_training.evaluation.formats import SHARE, format_value

_BASELINE = "_baseline"
_LOW, _HIGH = "_low", "_high"
# By name: the title for people, and what the metric means.
_MEANINGS = {
    "auc": ("AUC", "share of pairs of a positive and a negative row that are in the right order"),
    "average_precision": ("Average precision", "area under the curve of precision and recall"),
    "log_loss": ("Log loss", "mean negative log likelihood of the labels"),
    "brier": ("Brier score", "mean squared error of the probabilities"),
    "calibration_error": (
        "Calibration error",
        "mean difference of probability and share of positives over ten groups",
    ),
    "auc_lead": ("Lead in AUC", "AUC less that of the best rule alone"),
    "top_decile_lift": (
        "Lift of the top tenth",
        "positives among the highest tenth, as a multiple of those among all",
    ),
    "calibration_error_by_chance": (
        "Calibration error by chance",
        "the calibration error if every probability were exact",
    ),
    "calibration_error_level_known": (
        "Calibration error, level known",
        "the error that is left once the mean probability equals the share of positives",
    ),
    "mean_probability": (
        "Mean forecast",
        "compared with the share of positives, it shows whether the level is right",
    ),
    "decile_error": (
        "Decile error",
        "distance of predicted and true sums over ten groups, as a share of all",
    ),
    "positive_share": ("Positives", "share of the test rows with label 1"),
    "training_positive_share": ("Positives in training", "share of the training rows with label 1"),
    "mae": ("Mean absolute error", "the mean distance of prediction and truth"),
    "mae_lead": ("Difference in mean absolute error", "that of the model less that of the best rule alone"),
    "mae_ordinary_lead": (
        "Difference in mean absolute error, ordinary",
        "that of the model less that of the best rule alone; over rows with ordinary amounts",
    ),
    "median_ae": ("Median absolute error", "the median distance of prediction and truth"),
    "rmse": ("RMSE", "root of the mean squared error, dominated by the largest amounts"),
    "r2": ("R²", "share of the variance explained, 0 for the mean, 1 for the truth"),
    "spearman": ("Spearman", "correlation of the ranks"),
    "gini": (
        "Normalised Gini",
        "how well the predictions sort the amounts: 0 by chance, 1 for the true order",
    ),
    "zero_share": ("Zeros", "share of the test rows whose truth is zero"),
    "training_rows": ("Training rows", "rows that the model was fitted on"),
    "test_rows": ("Test rows", "rows that were used neither to fit nor to choose the model"),
}
# Endings of the names of metrics that are not measured on all test rows as they are.
# The title and the meaning of each.
_ENDINGS = {
    "_ordinary": ("ordinary", "over rows with ordinary amounts"),
    "_unseen": ("unseen", "by models fitted on other customers only"),
}
_MAXIMIZED = {
    "auc",
    "auc_lead",
    "average_precision",
    "top_decile_lift",
    "r2",
    "spearman",
    "gini",
}
_MINIMIZED = {
    *("log_loss", "decile_error", "brier", "calibration_error"),
    *("mae", "mae_lead", "mae_ordinary_lead", "median_ae", "rmse"),
}
_SHARES = {"mean_probability", "positive_share", "training_positive_share", "zero_share"}
_AMOUNTS = {"mae", "mae_lead", "mae_ordinary_lead", "median_ae", "rmse"}


class Direction(Enum):
    """Whether larger or smaller values of a metric are better."""

    MAXIMIZE = "more"
    MINIMIZE = "less"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Baseline:
    """The value of a metric for a simple rule without a model."""

    rule: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric of the model with its interval and its baselines.

    Attributes:
        name: the name of the metric.
        title: its title for people.
        meaning: what it means; empty for an unknown metric.
        value: the model's value.
        interval: the 95 % interval, low and high; None where it was not computed.
        direction: whether larger or smaller values are better.
        baselines: the values of the baselines, in the order of the metrics.
        lead: the 95 % interval of the lead over the best baseline on the same rows;
            None where it was not computed.
        unit: the unit of an amount; empty for a pure number.
    """

    name: str
    title: str
    meaning: str
    value: float
    interval: tuple[float, float] | None
    direction: Direction
    baselines: tuple[Baseline, ...]
    lead: tuple[float, float] | None
    unit: str

    def show(self, value: float) -> str:
        """A value of the metric as text: shares in percent, amounts with their unit."""
        return format_value(value, SHARE if _stem(self.name) in _SHARES else self.unit)

    @property
    def best_baseline(self) -> Baseline | None:
        """The strongest baseline; None without baselines or without a direction."""
        if not self.baselines or self.direction is Direction.NEITHER:
            return None
        strongest = max if self.direction is Direction.MAXIMIZE else min
        return strongest(self.baselines, key=lambda baseline: baseline.value)

    def beats(self, baseline: Baseline) -> bool | None:
        """Whether the model is better than a baseline; None where the interval does not decide.

        Against the best baseline the interval of the lead decides. It is narrower,
        because both are measured on the same rows.
        """
        if self.lead is not None and baseline == self.best_baseline:
            low, high = self.lead
            return None if low <= 0 <= high else (low > 0) == (self.direction is Direction.MAXIMIZE)
        if self.interval is not None and self.interval[0] <= baseline.value <= self.interval[1]:
            return None
        if self.value == baseline.value:
            return None
        return (self.value > baseline.value) == (self.direction is Direction.MAXIMIZE)


def read_metrics(metrics: Mapping[str, float], *, unit: str = "") -> tuple[Metric, ...]:
    """Join each metric with its interval and baselines; the metrics keep their order.

    Args:
        metrics: the numbers of a training run, by name.
        unit: the unit of amounts, such as "$".
    """
    bounds = {
        name
        for metric in metrics
        if {metric + _LOW, metric + _HIGH} <= metrics.keys()
        for name in (metric + _LOW, metric + _HIGH)
    }
    names = [name for name in metrics if name not in bounds and not name.endswith(_BASELINE)]
    baselines: dict[str, list[Baseline]] = {name: [] for name in names}
    for metric in metrics:
        if not metric.endswith(_BASELINE):
            continue
        # The longest name that matches: mae_ordinary_constant belongs to mae_ordinary, not to mae.
        owner = max((name for name in names if metric.startswith(f"{name}_")), key=len, default=None)
        if owner is not None:
            rule = metric.removeprefix(f"{owner}_").removesuffix(_BASELINE)
            baselines[owner].append(Baseline(rule, metrics[metric]))
    return tuple(
        Metric(
            name=name,
            title=_title(name),
            meaning=_meaning(name),
            value=metrics[name],
            interval=(metrics[name + _LOW], metrics[name + _HIGH]) if name + _LOW in bounds else None,
            direction=_direction(_stem(name)),
            baselines=tuple(baselines[name]),
            lead=(metrics[f"{name}_lead_low"], metrics[f"{name}_lead_high"])
            if f"{name}_lead_low" in bounds
            else None,
            unit=unit if _stem(name) in _AMOUNTS else "",
        )
        for name in names
    )


def _stem(name: str) -> str:
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name


def _title(name: str) -> str:
    stem = _stem(name)
    title = _MEANINGS[stem][0] if stem in _MEANINGS else stem.replace("_", " ").capitalize()
    ending = name.removeprefix(stem)
    return f"{title}, {_ENDINGS[ending][0]}" if ending else title


def _meaning(name: str) -> str:
    stem = _stem(name)
    meaning = _MEANINGS.get(stem, ("", ""))[1]
    ending = name.removeprefix(stem)
    return f"{meaning}; {_ENDINGS[ending][1]}" if meaning and ending else meaning


def _direction(stem: str) -> Direction:
    if stem in _MAXIMIZED:
        return Direction.MAXIMIZE
    return Direction.MINIMIZE if stem in _MINIMIZED else Direction.NEITHER
