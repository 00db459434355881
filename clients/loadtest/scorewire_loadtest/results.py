"""What came back of a run: latencies, errors and their course, gathered call by call.

Rules:

1. Latency runs from the time a call was due, not from when it left. A server
   that stalls delays the sends behind it, and their waiting counts.
2. Latency is that of calls that were answered, and of those that timed out,
   which count with the time they waited. A refusal is quick and scores
   nothing; it would only flatter the percentiles, so it counts as an error.
3. The error rate is the share of due calls without a right answer: failed,
   answered wrong, or never sent because too many were outstanding.
4. Latencies are kept in an HDR histogram, in microseconds, to 3 digits.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass

import numpy as np
from hdrh.histogram import HdrHistogram

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9, 99.99)
LAG_PERCENTILES = (50.0, 99.0)
LATE_NS = 1_000_000
_HIGHEST_US = 3_600_000_000
_DIGITS = 3
_NS_PER_US = 1_000
_NS_PER_SECOND = 1_000_000_000
# How finely the distribution is told: points for each halving of what lies above.
_TICKS = 5
_MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one call ended. Times are readings of one clock, in nanoseconds.

    `code` is the name of a gRPC status, `reason` that of its ErrorInfo.
    `problem` says what was wrong with an answer, and is empty where it was right.
    """

    due_ns: int
    sent_ns: int
    done_ns: int
    code: str
    reason: str
    problem: str
    message: str
    row_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """One second of the run, by when the calls ended. Latencies are exact."""

    second: int
    answered: int
    failed: int
    p50_us: float | None
    p99_us: float | None
    max_us: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallErrors:
    """Failed calls of one status and reason, with the first one's message."""

    code: str
    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """How well the load generator itself kept up.

    `lag_us` by percentile and `max_lag_us`: in an open loop by how much sends
    left late through the generator's own doing; in a closed loop by how much a
    timer of its own fired late. `late` sends left more than 1 ms after they
    were due. `held` sends left late because `max_outstanding` calls were under
    way, and `unsent` ones never left. `busy` is the share of the time in which
    the generator's event loop was at work, or that of its cores which all its
    threads took, whichever is larger.
    """

    lag_us: dict[float, float]
    max_lag_us: float
    late: int
    held: int
    unsent: int
    busy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All of a run. Latencies are in microseconds; their dicts are empty where nothing was answered.

    `calls` counts calls that ended. Of these `answered` got an answer, and
    `wrong` of the answered were not what was expected. `elapsed_s` runs from
    the first due time to the last end. `distribution` has pairs of percentile
    and latency. `histogram` is the HDR histogram, encoded (V2, base64).
    """

    elapsed_s: float
    calls: int
    answered: int
    wrong: int
    rows: int
    row_errors: int
    latency_us: dict[float, float]
    mean_us: float
    min_us: float
    max_us: float
    errors: list[CallErrors]
    wrong_examples: list[str]
    generator: Generator
    seconds: list[Second]
    distribution: list[tuple[float, float]]
    histogram: str

    @property
    def failed(self) -> int:
        """Calls that ended without an answer."""
        return self.calls - self.answered

    @property
    def calls_per_second(self) -> float:
        """Answered calls per second."""
        return self.answered / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def rows_per_second(self) -> float:
        """Rows of answered calls per second."""
        return self.rows / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def error_rate(self) -> float:
        """Share of due calls without a right answer, 0 to 1; 1 where there were none."""
        due = self.calls + self.generator.unsent
        return (self.failed + self.wrong + self.generator.unsent) / due if due else 1.0


class Recorder:
    """Gathers outcomes; `results` says what they come to.

    Args:
        begin_ns: outcomes of calls that were due earlier are warm-up, and are left out.
        end_ns: when the last call is due, exclusive.
    """

    def __init__(self, *, begin_ns: int, end_ns: int) -> None:
        self.begin_ns = begin_ns
        self.end_ns = end_ns
        self.calls = 0
        self.answered = 0
        self.wrong = 0
        self.held = 0
        self.unsent = 0
        self.seconds: list[Second] = []
        self._rows = 0
        self._row_errors = 0
        self._late = 0
        self._max_us = 0
        self._last_ns = begin_ns
        self._latencies = HdrHistogram(1, _HIGHEST_US, _DIGITS)
        self._lags = HdrHistogram(1, _HIGHEST_US, _DIGITS)
        self._max_lag_us = 0
        self._errors: Counter[tuple[str, str]] = Counter()
        self._messages: dict[tuple[str, str], str] = {}
        self._wrong_examples: list[str] = []
        # The running second: its number, latencies, answers and failures.
        self._second = 0
        self._second_us = array("q")
        self._second_counts = [0, 0]

    @property
    def failed(self) -> int:
        """Calls that ended without an answer."""
        return self.calls - self.answered

    def record(self, outcome: Outcome, row_errors: int = 0) -> None:
        """Take in one ended call."""
        if outcome.due_ns < self.begin_ns:
            return
        self.calls += 1
        self._last_ns = max(self._last_ns, outcome.done_ns)
        second = (outcome.done_ns - self.begin_ns) // _NS_PER_SECOND
        while self._second < second:
            self._close_second()
        answered = outcome.code == "OK"
        if answered:
            self.answered += 1
            self._rows += outcome.row_count
            self._row_errors += row_errors
            if outcome.problem:
                self.wrong += 1
                if len(self._wrong_examples) < _MAX_EXAMPLES:
                    self._wrong_examples.append(outcome.problem)
        else:
            key = (outcome.code, outcome.reason)
            self._errors[key] += 1
            self._messages.setdefault(key, outcome.message)
        self._second_counts[not answered] += 1
        if answered or outcome.code == "DEADLINE_EXCEEDED":
            latency_us = min(max(outcome.done_ns - outcome.due_ns, 0) // _NS_PER_US, _HIGHEST_US)
            self._max_us = max(self._max_us, latency_us)
            self._latencies.record_value(latency_us)
            self._second_us.append(latency_us)
        if outcome.sent_ns - outcome.due_ns > LATE_NS:
            self._late += 1

    def record_lag(self, lag_ns: int) -> None:
        """Take in by how much the generator itself was late once, in nanoseconds."""
        lag_us = min(max(lag_ns, 0) // _NS_PER_US, _HIGHEST_US)
        self._max_lag_us = max(self._max_lag_us, lag_us)
        self._lags.record_value(lag_us)

    def results(self, *, busy: float) -> Results:
        """What the outcomes come to; `busy` as in `Generator`."""
        if any(self._second_counts):
            self._close_second()
        latencies, count = self._latencies, self._latencies.get_total_count()
        end_ns = max(self.end_ns, self._last_ns)
        return Results(
            elapsed_s=max(end_ns - self.begin_ns, 0) / _NS_PER_SECOND,
            calls=self.calls,
            answered=self.answered,
            wrong=self.wrong,
            rows=self._rows,
            row_errors=self._row_errors,
            latency_us=_percentiles(latencies, PERCENTILES, self._max_us),
            mean_us=float(latencies.get_mean_value()),
            min_us=float(latencies.get_min_value()) if count else 0.0,
            max_us=float(self._max_us),
            errors=[
                CallErrors(code=code, reason=reason, count=number, example=self._messages[code, reason])
                for (code, reason), number in self._errors.most_common()
            ],
            wrong_examples=list(self._wrong_examples),
            generator=Generator(
                lag_us=_percentiles(self._lags, LAG_PERCENTILES, self._max_lag_us),
                max_lag_us=float(self._max_lag_us),
                late=self._late,
                held=self.held,
                unsent=self.unsent,
                busy=busy,
            ),
            seconds=list(self.seconds),
            distribution=[
                (step.percentile_level_iterated_to, float(min(step.value_iterated_to, self._max_us)))
                for step in (latencies.get_percentile_iterator(_TICKS) if count else ())
            ],
            histogram=latencies.encode().decode("ascii"),
        )

    def _close_second(self) -> None:
        """Sum the running second up and begin the next."""
        p50 = p99 = worst = None
        if self._second_us:
            p50, p99, worst = (float(v) for v in np.percentile(self._second_us, [50, 99, 100]))
        answered, failed = self._second_counts
        self.seconds.append(
            Second(
                second=self._second, answered=answered, failed=failed, p50_us=p50, p99_us=p99, max_us=worst
            )
        )
        self._second += 1
        self._second_us = array("q")
        self._second_counts = [0, 0]


def _percentiles(histogram: HdrHistogram, wanted: tuple[float, ...], max_us: int) -> dict[float, float]:
    """Latency by percentile. The histogram tells the upper end of a cell; no value was above the largest."""
    if not histogram.get_total_count():
        return {}
    found = histogram.get_percentile_to_value_dict(list(wanted))
    return {percentile: float(min(found[percentile], max_us)) for percentile in wanted}
