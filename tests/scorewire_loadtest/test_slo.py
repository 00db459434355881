from __future__ import annotations

import pytest

from scorewire_loadtest.recorder import Recorder
from scorewire_loadtest.results import Results
from scorewire_loadtest.slo import METRICS, Objective, judge, parse_objective, show
from tests.scorewire_loadtest.test_results import SECOND, outcome


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("p99=5ms", Objective("p99", 5_000)),
        ("p99.99=1s", Objective("p99.99", 1_000_000)),
        ("P50 = 250us", Objective("p50", 250)),
        ("max=2s", Objective("max", 2_000_000)),
        ("error-rate=0.1%", Objective("error-rate", 0.001)),
    ],
)
def test_objectives_are_read(text: str, objective: Objective) -> None:
    found = parse_objective(text)
    assert found.metric == objective.metric
    assert found.limit == pytest.approx(objective.limit)


@pytest.mark.parametrize("text", ["p98=5ms", "p99", "p99<5ms", "=5ms", "", "mean=5ms"])
def test_an_unknown_metric_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(ValueError, match="error-rate") as caught:
        parse_objective(text)
    assert all(metric in str(caught.value) for metric in METRICS)


@pytest.mark.parametrize("text", ["p99=fast", "p99=", "error-rate=2", "error-rate=5ms"])
def test_a_limit_of_the_wrong_kind_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="like|above"):
        parse_objective(text)


def _results() -> Results:
    recorder = Recorder(begin_ns=0, end_ns=SECOND)
    for latency in range(1, 101):
        recorder.record(outcome(0, latency * 10))
    recorder.record(outcome(0, 10, code="UNAVAILABLE"))
    return recorder.results(busy=0.0)


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("p50=500us", True),
        ("p50=499us", False),
        ("p99=990us", True),
        ("p99=989us", False),
        ("max=1ms", True),
        ("max=999us", False),
        ("error-rate=1%", True),
        ("error-rate=0.99%", False),
    ],
)
def test_a_limit_that_is_just_kept_is_met(text: str, met: bool) -> None:
    (verdict,) = judge(_results(), [parse_objective(text)])
    assert verdict.met is met


def test_without_an_answer_no_latency_is_met() -> None:
    recorder = Recorder(begin_ns=0, end_ns=SECOND)
    recorder.record(outcome(0, 10, code="UNAVAILABLE"))
    objectives = [parse_objective(text) for text in ("p50=1h", "max=1h", "error-rate=100%")]
    verdicts = judge(recorder.results(busy=0.0), objectives)
    assert [(verdict.measured, verdict.met) for verdict in verdicts] == [
        (None, False),
        (None, False),
        (1.0, True),
    ]
    assert [show(verdict.objective, verdict.measured) for verdict in verdicts] == ["-", "-", "100.0000%"]
