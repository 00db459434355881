from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import ENGINES
from tests.bench.measure import Parts
from tests.bench.tables import Findings, Sample, to_markdown

ROOT = Path(__file__).parents[2]


def test_a_quick_bench_runs_every_server_and_checks_every_answer(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.bench", "--quick", "--output", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert result.returncode == 0, result.stderr
    told = json.loads((tmp_path / "engines.json").read_text(encoding="utf-8"))
    seen = {(sample["server"], sample["mode"], sample["in_flight"]) for sample in told["samples"]}
    assert seen == {
        (server, mode, in_flight)
        for server in ("floor", *ENGINES)
        for mode in ("unary", "stream")
        for in_flight in (1, 8)
    }
    assert all(sample["calls_per_second"] > 0 for sample in told["samples"])
    assert all(value > 0 for parts in told["parts"].values() for value in parts.values())
    assert (tmp_path / "engines.md").read_text(encoding="utf-8") == result.stdout.removesuffix("\n")
    assert (tmp_path / "engines.png").stat().st_size > 10_000


def _findings() -> Findings:
    rates = {"floor": [1_000.0, 3_000.0, 2_000.0], "reference": [500.0, 900.0, 1_600.0]}
    samples = [
        Sample(
            server=server,
            mode="unary",
            in_flight=1,
            calls_per_second=rates[server][index],
            p50_us=10.0,
            p99_us=20.0,
            busy=0.5,
        )
        for index in range(3)
        for server in rates
    ]
    parts = {1: Parts(bare_us=1.0, model_us=2.0, server_us=3.0, call_us=4.0)}
    return Findings(conditions={"Model": "m"}, samples=samples, parts=parts)


def test_ratios_are_medians_of_what_ran_side_by_side() -> None:
    findings = _findings()
    # 0.5, 0.3 and 0.8: not the 0.45 of the medians.
    assert findings.ratio("reference", "unary", 1) == pytest.approx(0.5)
    assert math.isclose(findings.median("reference", "unary", 1, "calls_per_second"), 900)


def test_the_table_has_rates_and_their_share_of_the_floor() -> None:
    table = to_markdown(_findings())
    assert "| floor | unary | 2,000 |" in table
    assert "| reference | unary | 900 (0.50) |" in table
    assert "| 1 | 1 | 2 | 3 | 4 |" in table
