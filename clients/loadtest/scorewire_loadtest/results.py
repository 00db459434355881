"""Gathers the outcomes of calls: latencies, errors, and their course over time.

The rules:

1. Latency counts from the time at which a call was due, not from the time at
   which it was sent. If a server stalls, later calls are sent late, and their
   wait counts. This avoids coordinated omission.
2. Latency covers calls that were answered and calls that timed out, which count
   with the time that they waited. A call that the server refused is not covered:
   refusals are fast, and would improve the percentiles. It counts as an error.
3. The error rate is the share of due calls without a right answer: they failed,
   got a wrong answer, or were never sent because `max_outstanding` calls were in
   flight.
4. Latencies are kept in an HDR histogram, in microseconds, with 3 digits.
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
# Points of the latency distribution for each halving of the share above the percentile.
_TICKS = 5
_MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one call ended. Times are readings of one clock, in nanoseconds.

    Attributes:
        due_ns: when the call was due.
        sent_ns: when the call was sent.
        done_ns: when the call ended.
        code: the name of its gRPC status code.
        reason: the reason in its ErrorInfo, or "".
        problem: what was wrong with the answer; "" if it was right.
        message: the message of its status.
        row_count: the number of its rows.
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
    """The calls that ended in one second of the run. Latencies are exact."""

    second: int
    answered: int
    failed: int
    p50_us: float | None
    p99_us: float | None
    max_us: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallErrors:
    """The calls that failed with one status code and reason, and the message of the first."""

    code: str
    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """How well the load generator kept up with its schedule.

    Attributes:
        lag_us: by percentile: in an open loop, how late the generator sent calls
            through its own fault; in a closed loop, how late one of its timers fired.
        max_lag_us: the largest lag.
        late: calls that were sent more than 1 ms after they were due.
        held: calls that were sent late because `max_outstanding` calls were in flight.
        unsent: calls that were never sent for the same reason.
        busy: 0 to 1: the share of time in which the event loop was busy, or the share
            of its cores that all threads used, whichever is larger.
    """

    lag_us: dict[float, float]
    max_lag_us: float
    late: int
    held: int
    unsent: int
    busy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The results of a run. Latencies are in microseconds.

    Attributes:
        elapsed_s: seconds from the first time at which a call was due to the end of the last call.
        calls: calls that ended.
        answered: calls that got an answer.
        wrong: answers that were not as expected.
        rows: rows of the answered calls.
        row_errors: rows that got an error instead of a score.
        latency_us: latency by percentile; empty if no call was answered or timed out.
        mean_us: mean latency.
        min_us: smallest latency.
        max_us: largest latency.
        errors: the calls that failed, by status code and reason.
        wrong_examples: what was wrong with the first wrong answers.
        generator: how well the generator kept up.
        seconds: the course of the run, second by second.
        distribution: pairs of percentile and latency.
        histogram: the HDR histogram, encoded (V2, base64).
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
        """The number of calls that ended without an answer."""
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
        """The share of due calls without a right answer, 0 to 1; 1 if no call was due."""
        due = self.calls + self.generator.unsent
        return (self.failed + self.wrong + self.generator.unsent) / due if due else 1.0


class Recorder:
    """Gathers outcomes, and summarizes them as `Results`.

    Args:
        begin_ns: the end of the warm-up; calls that were due earlier do not count.
        end_ns: the end of the measured part; no call is due at or after this time.
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
        # The current second: its number, its latencies, and its counts of answered and failed calls.
        self._second = 0
        self._second_us = array("q")
        self._second_counts = [0, 0]

    @property
    def failed(self) -> int:
        """The number of calls that ended without an answer."""
        return self.calls - self.answered

    def record(self, outcome: Outcome, row_errors: int = 0) -> None:
        """Add the outcome of one call."""
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
        """Add one measurement of the generator's lag, in nanoseconds."""
        lag_us = min(max(lag_ns, 0) // _NS_PER_US, _HIGHEST_US)
        self._max_lag_us = max(self._max_lag_us, lag_us)
        self._lags.record_value(lag_us)

    def results(self, *, busy: float) -> Results:
        """Summarize the outcomes; `busy` as in `Generator`."""
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
        """Summarize the current second and begin the next one."""
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
    """Latency by percentile. The upper end of a histogram bucket is capped at the maximum."""
    if not histogram.get_total_count():
        return {}
    found = histogram.get_percentile_to_value_dict(list(wanted))
    return {percentile: float(min(found[percentile], max_us)) for percentile in wanted}
