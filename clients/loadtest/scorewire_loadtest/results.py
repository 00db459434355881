"""The results of a run: latencies, errors, and their course over time.

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

from collections.abc import Iterable
from dataclasses import dataclass, field

from hdrh.histogram import HdrHistogram

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9, 99.99)
LAG_PERCENTILES = (50.0, 99.0)
LATE_NS = 1_000_000
HIGHEST_US = 3_600_000_000
_DIGITS = 3
# Points of the latency distribution for each halving of the share above the percentile.
_TICKS = 5
MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """The calls that ended in one second of the run. Latencies have at least 3 digits."""

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
        name: which generator it was: "native" or "python".
        lag_us: by percentile: in an open loop, how late the generator sent calls
            through its own fault; in a closed loop, how late one of its timers fired.
        max_lag_us: the largest lag.
        late: calls that the generator sent more than 1 ms late through its own fault.
        held: calls that were sent late because `max_outstanding` calls were in flight.
        unsent: calls that were never sent for the same reason.
        busy: 0 to 1: the time of the generator's threads on a core, as a share of one core's.
        queued: 0 to 1: the largest share of time in which one of its threads was ready to
            run and had no core; None if the system does not tell.
    """

    name: str
    lag_us: dict[float, float]
    max_lag_us: float
    late: int
    held: int
    unsent: int
    busy: float
    queued: float | None


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


def histogram(buckets: Iterable[tuple[int, int]] = ()) -> HdrHistogram:
    """An HDR histogram of microseconds, with pairs of a value and its count."""
    made = HdrHistogram(1, HIGHEST_US, _DIGITS)
    for value, count in buckets:
        made.record_value(value, count)
    return made


@dataclass(slots=True, kw_only=True)
class Totals:
    """What a generator counted in the measured part of a run.

    Attributes are as in `Results` and `Generator`, apart from these:
        latencies: of calls that were answered or timed out, in microseconds.
        lags: of the generator, in microseconds.
    """

    elapsed_s: float = 0.0
    calls: int = 0
    answered: int = 0
    wrong: int = 0
    rows: int = 0
    row_errors: int = 0
    late: int = 0
    held: int = 0
    unsent: int = 0
    max_us: int = 0
    max_lag_us: int = 0
    latencies: HdrHistogram = field(default_factory=histogram)
    lags: HdrHistogram = field(default_factory=histogram)
    errors: list[CallErrors] = field(default_factory=list)
    wrong_examples: list[str] = field(default_factory=list)
    seconds: list[Second] = field(default_factory=list)

    def results(self, *, name: str, busy: float, queued: float | None) -> Results:
        """Summarize them; the name of the generator, `busy` and `queued` as in `Generator`."""
        latencies, count = self.latencies, self.latencies.get_total_count()
        return Results(
            elapsed_s=self.elapsed_s,
            calls=self.calls,
            answered=self.answered,
            wrong=self.wrong,
            rows=self.rows,
            row_errors=self.row_errors,
            latency_us=_percentiles(latencies, PERCENTILES, self.max_us),
            mean_us=float(latencies.get_mean_value()),
            min_us=float(latencies.get_min_value()) if count else 0.0,
            max_us=float(self.max_us),
            errors=sorted(self.errors, key=lambda error: -error.count),
            wrong_examples=list(self.wrong_examples),
            generator=Generator(
                name=name,
                lag_us=_percentiles(self.lags, LAG_PERCENTILES, self.max_lag_us),
                max_lag_us=float(self.max_lag_us),
                late=self.late,
                held=self.held,
                unsent=self.unsent,
                busy=busy,
                queued=queued,
            ),
            seconds=list(self.seconds),
            distribution=[
                (step.percentile_level_iterated_to, float(min(step.value_iterated_to, self.max_us)))
                for step in (latencies.get_percentile_iterator(_TICKS) if count else ())
            ],
            histogram=latencies.encode().decode("ascii"),
        )


def _percentiles(histogram: HdrHistogram, wanted: tuple[float, ...], max_us: int) -> dict[float, float]:
    """Latency by percentile. The upper end of a histogram bucket is capped at the maximum."""
    if not histogram.get_total_count():
        return {}
    found = histogram.get_percentile_to_value_dict(list(wanted))
    return {percentile: float(min(found[percentile], max_us)) for percentile in wanted}
