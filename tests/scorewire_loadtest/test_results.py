from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from scorewire_loadtest.recorder import Outcome, Recorder
from scorewire_loadtest.results import HIGHEST_US, LATE_NS, PERCENTILES
from scorewire_loadtest.transport import MAX_MESSAGE_CHARS

SECOND = 1_000_000_000
CRATE = Path(__file__).parents[2] / "clients/loadtest/native/src"


def outcome(
    due_ns: int, latency_us: int, *, code: str = "OK", reason: str = "", problem: str = ""
) -> Outcome:
    return Outcome(
        due_ns=due_ns,
        done_ns=due_ns + latency_us * 1000,
        code=code,
        reason=reason,
        problem=problem,
        message="m",
        row_count=3,
    )


def neighbours(values: Sequence[float], percentile: float) -> tuple[float, float]:
    """The value at a percentile by numpy, and the value before it, because the library rounds ranks."""
    upper = float(np.percentile(values, percentile, method="inverted_cdf"))
    rank = int(np.searchsorted(np.sort(values), upper))
    return float(np.sort(values)[max(rank - 1, 0)]), upper


@settings(max_examples=50, deadline=None)
@given(latencies=st.lists(st.integers(0, 60_000_000), min_size=1, max_size=300))
def test_percentiles_agree_with_numpy_to_three_digits(latencies: list[int]) -> None:
    # All calls end at the same time: this does not test the course over time.
    recorder = Recorder(begin_ns=-60 * SECOND, end_ns=SECOND)
    for latency in latencies:
        recorder.record(outcome(-latency * 1000, latency))
    results = recorder.results(busy=0.0)
    for percentile, value in results.latency_us.items():
        lower, upper = neighbours(latencies, percentile)
        assert lower <= value <= upper * 1.001
    assert results.max_us == max(latencies)
    assert results.min_us <= min(latencies) <= results.min_us * 1.001 + 1
    assert results.mean_us == pytest.approx(np.mean(latencies), rel=1e-3, abs=1)


def test_the_encoded_histogram_can_be_read_back() -> None:
    recorder = Recorder(begin_ns=0, end_ns=SECOND)
    for latency in (100, 200, 300):
        recorder.record(outcome(0, latency))
    found = HdrHistogram.decode(recorder.results(busy=0.0).histogram)
    assert found.get_total_count() == 3
    assert found.get_value_at_percentile(50) == 200


def test_calls_that_were_due_in_the_warm_up_do_not_count() -> None:
    recorder = Recorder(begin_ns=SECOND, end_ns=2 * SECOND)
    recorder.record(outcome(SECOND - 1, 5_000_000))
    recorder.record(outcome(SECOND, 10))
    results = recorder.results(busy=0.0)
    assert (results.calls, results.max_us) == (1, 10)


def test_refusals_count_as_errors_and_leave_the_latency_alone() -> None:
    recorder = Recorder(begin_ns=0, end_ns=SECOND)
    recorder.record(outcome(0, 1_000))
    for _ in range(3):
        recorder.record(outcome(0, 10, code="RESOURCE_EXHAUSTED", reason="TOO_MANY_IN_FLIGHT"))
    recorder.record(outcome(0, 10, code="UNAVAILABLE"))
    results = recorder.results(busy=0.0)
    assert (results.answered, results.failed, results.error_rate) == (1, 4, 0.8)
    assert results.min_us == results.max_us == 1_000
    assert [(e.code, e.reason, e.count, e.example) for e in results.errors] == [
        ("RESOURCE_EXHAUSTED", "TOO_MANY_IN_FLIGHT", 3, "m"),
        ("UNAVAILABLE", "", 1, "m"),
    ]


def test_calls_that_time_out_count_with_the_time_they_waited() -> None:
    recorder = Recorder(begin_ns=0, end_ns=SECOND)
    recorder.record(outcome(0, 1_000))
    recorder.record(outcome(0, 5_000_000, code="DEADLINE_EXCEEDED"))
    assert recorder.results(busy=0.0).max_us == 5_000_000


def test_wrong_answers_are_counted_and_the_first_are_shown() -> None:
    recorder = Recorder(begin_ns=0, end_ns=SECOND)
    for index in range(20):
        recorder.record(outcome(0, 10, problem=f"wrong {index}"))
    recorder.record(outcome(0, 10))
    results = recorder.results(busy=0.0)
    assert (results.wrong, results.answered) == (20, 21)
    assert results.error_rate == pytest.approx(20 / 21)
    assert results.wrong_examples == [f"wrong {index}" for index in range(5)]


def test_the_course_has_a_second_for_every_second_even_a_silent_one() -> None:
    recorder = Recorder(begin_ns=0, end_ns=4 * SECOND)
    recorder.record(outcome(0, 100))
    recorder.record(outcome(0, 300))
    recorder.record(outcome(2 * SECOND, 1_000_000 + 7))
    recorder.record(outcome(3 * SECOND + 1, 50, code="INTERNAL"))
    seconds = recorder.results(busy=0.0).seconds
    assert [(s.second, s.answered, s.failed) for s in seconds] == [(0, 2, 0), (1, 0, 0), (2, 0, 0), (3, 1, 1)]
    assert (seconds[0].p50_us, seconds[0].max_us) == (200.0, 300.0)
    assert (seconds[1].p50_us, seconds[1].p99_us, seconds[1].max_us) == (None, None, None)
    assert seconds[3].max_us == 1_000_007


def test_throughput_is_over_the_time_until_the_last_answer() -> None:
    recorder = Recorder(begin_ns=0, end_ns=SECOND)
    recorder.record(outcome(0, 10))
    recorder.record(outcome(SECOND // 2, 1_500_000))
    results = recorder.results(busy=0.0)
    assert results.elapsed_s == 2.0
    assert (results.calls_per_second, results.rows_per_second) == (1.0, 3.0)


def test_calls_that_were_never_sent_count_against_the_error_rate() -> None:
    recorder = Recorder(begin_ns=0, end_ns=SECOND)
    recorder.record(outcome(0, 10))
    recorder.totals.unsent = 3
    assert recorder.results(busy=0.0).error_rate == 0.75


def test_late_sends_and_the_generators_lag_are_told() -> None:
    recorder = Recorder(begin_ns=0, end_ns=SECOND)
    recorder.record_send(1_000_000)
    recorder.record_send(1_000_001)
    # A lag of a timer is no send.
    recorder.record_lag(2_000_000)
    generator = recorder.results(busy=0.5).generator
    assert (generator.late, generator.busy, generator.max_lag_us) == (1, 0.5, 2_000)
    assert generator.lag_us == {50.0: 1_000.0, 99.0: 2_000.0}


def test_a_run_without_a_call_has_no_percentiles() -> None:
    results = Recorder(begin_ns=0, end_ns=SECOND).results(busy=0.0)
    assert (results.latency_us, results.distribution, results.seconds) == ({}, [], [])
    assert (results.error_rate, results.calls_per_second) == (1.0, 0.0)


def test_the_distribution_ascends_to_the_largest_latency() -> None:
    recorder = Recorder(begin_ns=0, end_ns=SECOND)
    for latency in range(1, 2_000):
        recorder.record(outcome(0, latency * 7))
    distribution = recorder.results(busy=0.0).distribution
    assert distribution == sorted(distribution)
    assert distribution[-1] == (100.0, 1_999 * 7)
    assert set(recorder.results(busy=0.0).latency_us) == set(PERCENTILES)


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("tally.rs", "LATE_NS", LATE_NS),
        ("histogram.rs", "HIGHEST", HIGHEST_US),
        ("status.rs", "MAX_MESSAGE_CHARS", MAX_MESSAGE_CHARS),
    ],
)
def test_both_generators_have_the_same_limits(file: str, name: str, value: int) -> None:
    found = re.search(rf"const {name}: \w+ = ([\d_]+);", (CRATE / file).read_text(encoding="utf-8"))
    assert found is not None
    assert int(found[1]) == value
