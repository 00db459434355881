"""Compares reports with golden files; SCOREWIRE_UPDATE_GOLDEN=1 rewrites the files."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from scorewire_loadtest import report, slo
from scorewire_loadtest.environment import Environment
from scorewire_loadtest.results import CallErrors, Generator, Results, Second

GOLDEN = Path(__file__).parent / "golden"

RESULTS = Results(
    elapsed_s=3.0,
    calls=6_010,
    answered=6_000,
    wrong=0,
    rows=12_000,
    row_errors=40,
    latency_us={50.0: 812.0, 90.0: 1_204.0, 95.0: 1_530.0, 99.0: 4_123.0, 99.9: 9_871.0, 99.99: 51_200.0},
    mean_us=903.4,
    min_us=390.0,
    max_us=60_123.0,
    errors=[
        CallErrors(code="RESOURCE_EXHAUSTED", reason="TOO_MANY_IN_FLIGHT", count=8, example="try later"),
        CallErrors(code="UNAVAILABLE", reason="", count=2, example=""),
    ],
    wrong_examples=[],
    generator=Generator(
        name="native",
        lag_us={50.0: 61.0, 99.0: 420.0},
        max_lag_us=2_310.0,
        late=12,
        held=0,
        unsent=0,
        busy=0.42,
        queued=0.013,
    ),
    seconds=[
        Second(second=0, answered=2_000, failed=0, p50_us=800.0, p99_us=4_000.0, max_us=9_000.0),
        Second(second=1, answered=1_900, failed=10, p50_us=830.0, p99_us=4_800.0, max_us=60_123.0),
        Second(second=2, answered=2_100, failed=0, p50_us=805.0, p99_us=4_010.0, max_us=8_000.0),
    ],
    distribution=[
        (0.0, 390.0),
        (50.0, 812.0),
        (75.0, 1_000.0),
        (90.0, 1_204.0),
        (99.0, 4_123.0),
        (100.0, 60_123.0),
    ],
    histogram="HISTFAAA",
)
ENVIRONMENT = Environment(
    date="2026-11-29T12:00:00+00:00",
    scorewire="0.1.0",
    kernel="Linux 6.1.0",
    machine="x86_64",
    cores=4,
    usable_cores=1,
    python="3.13.5",
    server={"version": "0.1.0", "engine": "native", "description": "native, onnxruntime 1.24.1"},
)
SETTINGS = {"server": "127.0.0.1:8500", "rows": "golden rows of sum 1.0.0, 2 a call"}


def make_report(results: Results = RESULTS, *objectives: str) -> report.Report:
    verdicts = slo.judge(results, [slo.parse_objective(text) for text in objectives])
    return report.Report(settings=SETTINGS, environment=ENVIRONMENT, results=results, verdicts=verdicts)


def shown(told: report.Report) -> str:
    out = io.StringIO()
    report.show(told, Console(file=out, width=100))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def assert_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("SCOREWIRE_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


WRONG = replace(
    RESULTS,
    wrong=2,
    wrong_examples=["value[0] is 1.0, expected 2.0"],
    generator=replace(RESULTS.generator, late=900, held=300, unsent=50, busy=0.97, queued=None),
)
NOTHING = replace(
    RESULTS,
    answered=0,
    rows=0,
    row_errors=0,
    latency_us={},
    distribution=[],
    seconds=[],
    min_us=0.0,
    max_us=0.0,
)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("good", make_report(RESULTS, "p99=5ms", "error-rate=1%")),
        ("wrong", make_report(WRONG, "p99=4ms", "max=1s")),
        ("nothing", make_report(NOTHING, "p50=1s")),
    ],
)
def test_reports_are_as_the_golden_files_say(name: str, told: report.Report) -> None:
    assert_golden(f"{name}.txt", shown(told))
    assert_golden(f"{name}.json", json.dumps(told.to_json(), indent=1) + "\n")


def test_a_run_passes_if_answers_came_and_were_right_and_objectives_are_met() -> None:
    assert make_report(RESULTS).passed
    assert make_report(RESULTS, "p99=5ms").passed
    assert not make_report(RESULTS, "p99=5ms", "p50=1us").passed
    assert not make_report(replace(RESULTS, wrong=1)).passed
    assert not make_report(NOTHING).passed


def test_a_report_without_a_fault_has_no_note() -> None:
    assert make_report(RESULTS).notes == []


def test_saturation_is_the_first_line_and_no_objective_counts_as_met() -> None:
    saturated = replace(RESULTS, generator=replace(RESULTS.generator, busy=0.7, queued=0.25))
    told = make_report(saturated, "p99=5ms")
    assert shown(told).splitlines()[0] == report.SATURATED
    assert all(verdict.met for verdict in told.verdicts)
    assert not told.passed
    assert told.answers_were_right
    assert told.to_json()["saturated"] is True
    assert told.to_json()["saturation"] == told.saturation
    # Without an objective, there is nothing to judge.
    assert make_report(saturated).passed
    assert make_report(RESULTS).to_json()["saturated"] is False


def test_the_native_generator_is_advised_only_where_another_one_ran() -> None:
    for name, is_advised in (("native", False), ("python", True)):
        saturated = replace(RESULTS, generator=replace(RESULTS.generator, name=name, busy=1.0))
        assert ("--generator native" in shown(make_report(saturated))) is is_advised


def test_the_json_has_no_number_that_json_lacks() -> None:
    json.dumps(make_report(NOTHING, "p50=1s", "error-rate=1%").to_json(), allow_nan=False)
