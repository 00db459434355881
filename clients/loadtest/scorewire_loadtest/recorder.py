"""Gathers the outcomes of calls, one after another, by the rules of `results`."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass

import numpy as np

from scorewire_loadtest.results import (
    HIGHEST_US,
    LATE_NS,
    MAX_EXAMPLES,
    CallErrors,
    Results,
    Second,
    Totals,
)

_NS_PER_US = 1_000
_NS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one call ended. Times are readings of one clock, in nanoseconds.

    Attributes:
        due_ns: when the call was due.
        done_ns: when the call ended.
        code: the name of its gRPC status code.
        reason: the reason in its ErrorInfo, or "".
        problem: what was wrong with the answer; "" if it was right.
        message: the message of its status.
        row_count: the number of its rows.
    """

    due_ns: int
    done_ns: int
    code: str
    reason: str
    problem: str
    message: str
    row_count: int


class Recorder:
    """Gathers outcomes, and summarizes them as `Results`.

    Args:
        begin_ns: the end of the warm-up; calls that were due earlier do not count.
        end_ns: the end of the measured part; no call is due at or after this time.
    """

    def __init__(self, *, begin_ns: int, end_ns: int) -> None:
        self.begin_ns = begin_ns
        self.end_ns = end_ns
        self.totals = Totals()
        self._last_ns = 0
        self._errors: Counter[tuple[str, str]] = Counter()
        self._messages: dict[tuple[str, str], str] = {}
        # The current second: its number, its latencies, and its counts of answered and failed calls.
        self._second = 0
        self._second_us = array("q")
        self._second_counts = [0, 0]

    def record(self, outcome: Outcome, row_errors: int = 0) -> None:
        """Add the outcome of one call."""
        if outcome.due_ns < self.begin_ns:
            return
        totals = self.totals
        totals.calls += 1
        self._last_ns = max(self._last_ns, outcome.done_ns)
        second = (outcome.done_ns - self.begin_ns) // _NS_PER_SECOND
        while self._second < second:
            self._close_second()
        answered = outcome.code == "OK"
        if answered:
            totals.answered += 1
            totals.rows += outcome.row_count
            totals.row_errors += row_errors
            if outcome.problem:
                totals.wrong += 1
                if len(totals.wrong_examples) < MAX_EXAMPLES:
                    totals.wrong_examples.append(outcome.problem)
        else:
            key = (outcome.code, outcome.reason)
            self._errors[key] += 1
            self._messages.setdefault(key, outcome.message)
        self._second_counts[not answered] += 1
        if answered or outcome.code == "DEADLINE_EXCEEDED":
            latency_us = min(max(outcome.done_ns - outcome.due_ns, 0) // _NS_PER_US, HIGHEST_US)
            totals.max_us = max(totals.max_us, latency_us)
            totals.latencies.record_value(latency_us)
            self._second_us.append(latency_us)

    def record_send(self, lag_ns: int) -> None:
        """Add a call of an open loop that was sent so late through the generator's own fault."""
        self.record_lag(lag_ns)
        self.totals.late += lag_ns > LATE_NS

    def record_lag(self, lag_ns: int) -> None:
        """Add one measurement of the generator's lag, in nanoseconds."""
        lag_us = min(max(lag_ns, 0) // _NS_PER_US, HIGHEST_US)
        self.totals.max_lag_us = max(self.totals.max_lag_us, lag_us)
        self.totals.lags.record_value(lag_us)

    def results(self, *, busy: float, queued: float | None = None) -> Results:
        """Summarize the outcomes; `busy` and `queued` as in `results.Generator`."""
        if any(self._second_counts):
            self._close_second()
        end_ns = max(self.end_ns, self._last_ns)
        self.totals.elapsed_s = max(end_ns - self.begin_ns, 0) / _NS_PER_SECOND
        self.totals.errors = [
            CallErrors(code=code, reason=reason, count=number, example=self._messages[code, reason])
            for (code, reason), number in self._errors.items()
        ]
        return self.totals.results(name="python", busy=busy, queued=queued)

    def _close_second(self) -> None:
        """Summarize the current second and begin the next one."""
        p50 = p99 = worst = None
        if self._second_us:
            p50, p99, worst = (float(v) for v in np.percentile(self._second_us, [50, 99, 100]))
        answered, failed = self._second_counts
        self.totals.seconds.append(
            Second(
                second=self._second, answered=answered, failed=failed, p50_us=p50, p99_us=p99, max_us=worst
            )
        )
        self._second += 1
        self._second_us = array("q")
        self._second_counts = [0, 0]
