"""Metrics as people compare them: a model's figure with its interval, beside that of rules without a model.

The names say which belongs to which: `auc`, its 95 % interval `auc_low` and
`auc_high`, and `auc_recency_baseline`, the AUC of the rule "recency".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

_BASELINE = "_baseline"
_LOW, _HIGH = "_low", "_high"
# Name: what people call it, and what it says.
_MEANINGS = {
    "auc": ("AUC", "share of pairs of a positive and a negative row that are in the right order"),
    "average_precision": ("Average precision", "area under the curve of precision and recall"),
    "log_loss": ("Log loss", "how surprising the truth was to the forecast"),
    "brier": ("Brier score", "mean squared error of the probabilities"),
    "calibration_error": ("Calibration error", "mean distance of forecast and truth over ten groups"),
    "auc_lead": ("Lead in AUC", "AUC less that of the best rule alone"),
    "top_decile_lift": (
        "Lift of the top tenth",
        "positives among the highest tenth, as a multiple of those among all",
    ),
    "calibration_error_by_chance": (
        "Calibration error by chance",
        "what it would be were each forecast exact",
    ),
    "calibration_error_level_known": (
        "Calibration error, level known",
        "what is left of it once the mean forecast is set to the share of positives",
    ),
    "mean_probability": ("Mean forecast", "beside the share of positives it says how the level was met"),
    "decile_error": (
        "Decile error",
        "distance of predicted and true sums over ten groups, as a share of all",
    ),
    "positive_share": ("Positives", "share of the test rows with label 1"),
    "training_positive_share": ("Positives in training", "share of the training rows with label 1"),
    "mae": ("Mean absolute error", "how far off a prediction is on average"),
    "mae_lead": ("Difference in mean absolute error", "that of the model less that of the best rule alone"),
    "mae_ordinary_lead": (
        "Difference in mean absolute error, ordinary",
        "that of the model less that of the best rule alone",
    ),
    "median_ae": ("Median absolute error", "how far off the middle prediction is"),
    "rmse": ("RMSE", "root of the mean squared error, ruled by the largest amounts"),
    "r2": ("R²", "share of the variance explained, 0 for the mean, 1 for the truth"),
    "spearman": ("Spearman", "correlation of the ranks"),
    "gini": ("Normalised Gini", "how well the order finds the money: 0 by chance, 1 for the truth"),
    "zero_share": ("Zeros", "share of the test rows whose truth is zero"),
    "training_rows": ("Training rows", "rows that the model was fitted on"),
    "test_rows": ("Test rows", "rows held out from fitting and from every choice"),
}
# What a metric is measured on, where that is not all of the test as it is.
_ENDINGS = {"_ordinary": "ordinary", "_unseen": "unseen"}
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
    """Which figures of a metric are the better ones."""

    MAXIMIZE = "more"
    MINIMIZE = "less"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a rule without a model reaches."""

    rule: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric of the model, as people compare it.

    Attributes:
        name: the metric's.
        title: for people.
        meaning: what it says; empty where nobody wrote that down.
        value: the model's.
        interval: of 95 %, low and high; None where it was not computed.
        direction: whether more or less of it is better.
        baselines: of rules without a model, in the order of the metrics.
        lead: the 95 % interval of the lead over the best baseline, on the same rows;
            None where it was not computed.
        unit: of the amounts that it is measured in; empty for a pure number.
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
        """A value of the metric, as people read it: shares in percent, amounts with their unit."""
        if _stem(self.name) in _SHARES:
            return f"{value:.1%}"
        sign = "−" if value < 0 else ""
        return f"{sign}{self.unit}{format_number(abs(value))}"

    @property
    def best_baseline(self) -> Baseline | None:
        """The strongest of the rivals; None where there is none, or no better and worse."""
        if not self.baselines or self.direction is Direction.NEITHER:
            return None
        strongest = max if self.direction is Direction.MAXIMIZE else min
        return strongest(self.baselines, key=lambda baseline: baseline.value)

    def beats(self, baseline: Baseline) -> bool | None:
        """Whether the model is better; None where the interval does not tell them apart.

        Against the best baseline that is the lead's, which is narrower: both are
        measured on the same rows.
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
    """The metrics in their order, intervals and baselines with the metric that they belong to.

    Args:
        metrics: by name.
        unit: of amounts: "$".
    """
    bounds = {
        name
        for metric in metrics
        if {metric + _LOW, metric + _HIGH} <= metrics.keys()
        for name in (metric + _LOW, metric + _HIGH)
    }
    names = [name for name in metrics if name not in bounds and not name.endswith(_BASELINE)]
    rivals: dict[str, list[Baseline]] = {name: [] for name in names}
    for metric in metrics:
        if not metric.endswith(_BASELINE):
            continue
        # The longest name that fits: mae_ordinary_constant belongs to mae_ordinary, not mae.
        owner = max((name for name in names if metric.startswith(f"{name}_")), key=len, default=None)
        if owner is not None:
            rule = metric.removeprefix(f"{owner}_").removesuffix(_BASELINE)
            rivals[owner].append(Baseline(rule, metrics[metric]))
    return tuple(
        Metric(
            name=name,
            title=_title(name),
            meaning=_MEANINGS.get(_stem(name), ("", ""))[1],
            value=metrics[name],
            interval=(metrics[name + _LOW], metrics[name + _HIGH]) if name + _LOW in bounds else None,
            direction=_direction(_stem(name)),
            baselines=tuple(rivals[name]),
            lead=(metrics[f"{name}_lead_low"], metrics[f"{name}_lead_high"])
            if f"{name}_lead_low" in bounds
            else None,
            unit=unit if _stem(name) in _AMOUNTS else "",
        )
        for name in names
    )


def format_number(value: float) -> str:
    """A number as people read it: three significant digits, whole ones in full, thousands set apart."""
    if value.is_integer() and abs(value) < 1e15:
        text = f"{value:,.0f}"
    elif abs(value) < 1e-4:
        text = f"{value:.1e}"
    else:
        text = f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
    return text.replace("-", "−")


def _stem(name: str) -> str:
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name


def _title(name: str) -> str:
    stem = _stem(name)
    title = _MEANINGS[stem][0] if stem in _MEANINGS else stem.replace("_", " ").capitalize()
    ending = name.removeprefix(stem)
    return f"{title}, {_ENDINGS[ending]}" if ending else title


def _direction(stem: str) -> Direction:
    if stem in _MAXIMIZED:
        return Direction.MAXIMIZE
    return Direction.MINIMIZE if stem in _MINIMIZED else Direction.NEITHER
