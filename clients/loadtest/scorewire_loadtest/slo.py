"""Service level objectives such as `p99=5ms` or `error-rate=0.1%`."""

from __future__ import annotations

from dataclasses import dataclass

from scorewire_loadtest.quantities import parse_duration, parse_share, show_duration
from scorewire_loadtest.results import PERCENTILES, Results

ERROR_RATE = "error-rate"
MAXIMUM = "max"
_PERCENTILES = {f"p{percentile:g}": percentile for percentile in PERCENTILES}
METRICS = (*_PERCENTILES, MAXIMUM, ERROR_RATE)


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric and its limit: in microseconds for a latency, a share for the error rate."""

    metric: str
    limit: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """An objective, the measured value (None if no call was answered), and whether the objective is met."""

    objective: Objective
    measured: float | None
    met: bool


def parse_objective(text: str) -> Objective:
    """Parse an objective such as p99=5ms, max=1s or error-rate=0.1%.

    Raises:
        ValueError: the text is not an objective.
    """
    metric, equals, limit = text.partition("=")
    metric = metric.strip().lower()
    if not equals or metric not in METRICS:
        raise ValueError(f"{text!r} is not an objective: write METRIC=LIMIT with one of {', '.join(METRICS)}")
    if metric == ERROR_RATE:
        return Objective(metric, parse_share(limit))
    return Objective(metric, parse_duration(limit) * 1e6)


def judge(results: Results, objectives: list[Objective]) -> list[Verdict]:
    """Check each objective. If no call was answered, no latency objective is met."""
    verdicts = []
    for objective in objectives:
        measured: float | None
        if objective.metric == ERROR_RATE:
            measured = results.error_rate
        elif not results.latency_us:
            measured = None
        elif objective.metric == MAXIMUM:
            measured = results.max_us
        else:
            measured = results.latency_us[_PERCENTILES[objective.metric]]
        met = measured is not None and measured <= objective.limit
        verdicts.append(Verdict(objective, measured, met))
    return verdicts


def show(objective: Objective, value: float | None) -> str:
    """Format a value in the unit of an objective."""
    if value is None:
        return "-"
    return f"{value:.4%}" if objective.metric == ERROR_RATE else show_duration(value)
