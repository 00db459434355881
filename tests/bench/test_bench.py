from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from scorewire_contract.bundle import read_bundle
from scorewire_loadtest.calls import from_bundle
from tests.bench import h2load
from tests.bench.h2load import LoadError
from tests.bench.measure import Generator, Question
from tests.bench.servers import Server, engine
from tests.bench.tables import Bar, Findings, Sample, to_markdown
from tests.bundles import write_sum_bundle
from tests.scorewire_records.postgresql.server import binaries

ROOT = Path(__file__).parents[2]
TOLD = """starting benchmark...
Warm-up phase is over for thread #0.

finished in 1.41s, 70810.95 req/s, 22.62MB/s
requests: 4 total, 4 started, 4 done, 4 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 4 2xx, 0 3xx, 0 4xx, 0 5xx
                     min         max         mean         sd        +/- sd
time for request:       51us      4.70ms        96us        46us    95.19%
time for connect:       20us        20us        20us         0us   100.00%
"""
needs_h2load = pytest.mark.skipif(h2load.missing(), reason=h2load.HOW_TO_INSTALL)
# Only failures take this long; the benches start servers, train and build.
BENCH_SECONDS = 1200


def _run_bench(module: str, *options: str) -> str:
    """Run a bench in a process of its own; what it prints."""
    command = [sys.executable, "-m", module, *options]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=BENCH_SECONDS
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_what_h2load_tells_is_read() -> None:
    load = h2load.parse(TOLD, "", 4)
    assert (load.calls_per_second, load.latency_us) == (pytest.approx(4 / 1.41), pytest.approx(96))
    log = "".join(f"{start}\t200\t{took}\n" for start, took in ((1, 50), (2, 70), (3, 60), (4, 4700)))
    assert h2load.parse(TOLD, log, 4).latency_us == 65


@pytest.mark.parametrize(
    "told",
    [TOLD.replace("4 succeeded, 0 failed", "3 succeeded, 1 failed"), TOLD.replace("4 total", "5 total"), ""],
)
def test_a_load_that_is_not_whole_does_not_count(told: str) -> None:
    with pytest.raises(LoadError):
        h2load.parse(told, "", 4)


@pytest.fixture(scope="module")
def sum_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    write_sum_bundle(models)
    return models


@contextmanager
def _generator(folder: Path, models: Path, name: str) -> Iterator[tuple[Generator, Server, Question]]:
    bundle = read_bundle(next(models.glob("*/*")))
    question = Question.write(from_bundle(bundle, rows_per_call=1)[0], folder / "question")
    with engine(name, folder, models) as server:
        yield Generator(None, folder), server, question


@needs_h2load
def test_a_load_counts_only_where_the_server_says_that_all_answers_were_good(
    tmp_path: Path, sum_models: Path
) -> None:
    with _generator(tmp_path, sum_models, "reference") as (generator, server, question):
        load = generator.calls(server, question, 50, in_flight=4)
        assert load.calls_per_second > 0
        # The HTTP status of these is 200, too, so h2load sees no failure.
        question.file.write_bytes(b"\0\0\0\0\0")
        with pytest.raises(LoadError, match="answered 0 well and 50 not"):
            generator.calls(server, question, 50, in_flight=4)


@needs_h2load
def test_a_wrong_score_ends_the_bench(tmp_path: Path, sum_models: Path) -> None:
    with _generator(tmp_path, sum_models, "reference") as (generator, server, question):
        other = Question.write(
            from_bundle(read_bundle(next(sum_models.glob("*/*"))), rows_per_call=1)[1], tmp_path / "o"
        )
        mixed_up = replace(question, problem=other.problem)
        with pytest.raises(LoadError, match="expected"):
            generator.calls(server, mixed_up, 10, in_flight=1)


@needs_h2load
@pytest.mark.skipif(
    find_spec("scorewire_native") is None or shutil.which("cargo") is None, reason="cargo is missing"
)
@pytest.mark.timeout(BENCH_SECONDS)
def test_a_quick_bench_measures_everything(tmp_path: Path) -> None:
    printed = _run_bench("tests.bench", "--quick", "--output", str(tmp_path))
    told = json.loads((tmp_path / "engines.json").read_text(encoding="utf-8"))
    seen = {(sample["server"], sample["in_flight"]) for sample in told["samples"]}
    assert seen >= {
        (name, depth) for name in ("reference", "native", "empty Rust (h2)") for depth in (1, 8, 64)
    }
    assert len(told["bars"]) == (11 if told["conditions"]["Left out"] == "nothing" else 10)
    assert all(sample["calls_per_second"] > 0 for sample in told["samples"])
    assert (tmp_path / "engines.md").read_text(encoding="utf-8") == printed.removesuffix("\n")
    assert (tmp_path / "engines.png").stat().st_size > 10_000


@needs_h2load
@pytest.mark.skipif(
    find_spec("scorewire_native") is None or shutil.which("cargo") is None, reason="cargo is missing"
)
@pytest.mark.timeout(BENCH_SECONDS)
def test_two_checkouts_are_measured_in_turn() -> None:
    told = _run_bench("tests.bench.pairs", str(ROOT), "--quick", "--engine", "native")
    lines = [line for line in told.splitlines() if line.startswith(("| native", "| reference"))]
    assert len(lines) == 8
    assert all(float(line.split("|")[2]) > 0 for line in lines)


@needs_h2load
@pytest.mark.skipif(
    find_spec("scorewire_loadtest_native") is None, reason="the native generator is not built"
)
@pytest.mark.timeout(BENCH_SECONDS)
def test_the_generator_is_measured_beside_h2load() -> None:
    told = _run_bench("tests.bench.load_generator", "--quick")
    rows = [line.split("|")[1:-1] for line in told.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) == 8 + 3 + 3
    assert all(float(row[4]) > 0 for row in rows[:8])


@pytest.mark.skipif(
    not (find_spec("scorewire_native") and find_spec("scorewire_loadtest_native")),
    reason="the engine and the generator are not built",
)
@pytest.mark.timeout(BENCH_SECONDS)
def test_the_cost_of_records_is_measured() -> None:
    told = _run_bench("tests.bench.records", "--quick")
    rows = [line.split("|")[1:-1] for line in told.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) == 3
    assert all(float(row[4]) > 0 for row in rows)
    assert "dropped: none" in told


@pytest.mark.skipif(
    not (find_spec("scorewire_native") and find_spec("scorewire_loadtest_native")),
    reason="the engine and the generator are not built",
)
@pytest.mark.timeout(BENCH_SECONDS)
def test_what_access_control_costs_and_bears_is_measured() -> None:
    told = _run_bench("tests.bench.access", "--quick")
    bars = [
        line.split("|")[1:-1] for line in told.splitlines() if re.search(r"\| (\*\*missed\*\*|met) \|", line)
    ]
    names = {bar[0].split(",")[0].strip() for bar in bars}
    assert names >= {"calls/s", "µs added to the median", "rate beside random kids"}
    assert len(bars) >= 10 + 2 + 5 + 4 + 2 + 1
    assert all(float(bar[2]) > 0 for bar in bars if "calls/s" in bar[0])
    refused = [line for line in told.splitlines() if line.startswith(("| a JWT", "| no right", "| two"))]
    assert len(refused) == 9


@needs_h2load
@pytest.mark.skipif(not find_spec("scorewire_native"), reason="the engine is not built")
@pytest.mark.timeout(BENCH_SECONDS)
def test_the_cost_of_traces_is_measured() -> None:
    told = _run_bench("tests.bench.traces", "--quick")
    rows = [line.split("|")[1:-1] for line in told.splitlines() if line.startswith("| share")]
    assert len(rows) == 4
    assert all(float(row[3]) > 0 for row in rows)
    none, some = (line for line in told.splitlines() if "sampled" in line)
    assert "sampled 0, sent 0, waiting 0, dropped 0" in none
    assert "sampled 0" not in some
    assert some.endswith("limited calls 0")


@pytest.mark.timeout(BENCH_SECONDS)
@pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed")
def test_shipping_is_measured_beside_a_bare_copy() -> None:
    told = _run_bench("tests.bench.records_postgresql", "--quick")
    rows = [line.split("|")[1:-1] for line in told.splitlines() if "numbers" in line]
    assert len(rows) == 3
    assert all(float(row[3]) > 0 for row in rows)


@pytest.mark.timeout(BENCH_SECONDS)
def test_making_files_of_records_is_measured() -> None:
    told = _run_bench("tests.bench.records_parquet", "--quick")
    rows = [line.split("|")[1:-1] for line in told.splitlines() if "numbers" in line]
    assert len(rows) == 6
    assert all(float(row[2].replace(",", "")) > 0 for row in rows)


@pytest.mark.timeout(BENCH_SECONDS)
def test_the_sdk_is_measured_beside_grpcio() -> None:
    told = _run_bench("tests.bench.sdk", "--quick", "--json", "--engine", "reference")
    found = json.loads(told)
    assert len(found) == 8
    assert all(value > 0 for load in found.values() for value in load.values())


@pytest.mark.timeout(BENCH_SECONDS)
def test_the_gateway_is_measured_beside_the_sdk() -> None:
    found = json.loads(_run_bench("tests.bench.gateway", "--quick", "--json", "--engine", "reference"))
    assert {(load["rows"], load["in_flight"]) for load in found} == {(1, 1), (1, 16), (1, 64), (1000, 1)}
    for load in found:
        for way in ("SDK", "gateway", "ratio"):
            assert all(value > 0 for value in load[way].values())


@pytest.mark.timeout(BENCH_SECONDS)
def test_hedging_is_measured_beside_none() -> None:
    found = json.loads(_run_bench("tests.bench.hedging", "--quick", "--json"))
    assert len(found) == 5
    assert found["no hedging"]["copies"] == 1
    assert all(1 <= figures["copies"] <= 4 and figures["p50"] > 0 for figures in found.values())


def test_ratios_are_of_what_ran_side_by_side_and_bars_say_whether_they_are_met() -> None:
    rates = {"floor": [1_000.0, 3_000.0, 2_000.0], "native": [500.0, 900.0, 1_600.0]}
    samples = [
        Sample(server=server, in_flight=1, calls_per_second=rates[server][i], latency_us=10.0)
        for i in range(3)
        for server in rates
    ]
    findings = Findings(conditions={"Model": "m"}, samples=samples)
    ratios = findings.ratios("native", "floor", 1)
    assert ratios == pytest.approx([0.5, 0.3, 0.8])
    findings.bars = [Bar(name="a", values=ratios, at_least=0.5), Bar(name="b", values=ratios, at_most=0.4)]
    # The median of the ratios, not the ratio of the medians, which is 0.45.
    assert [bar.met for bar in findings.bars] == [True, False]
    table = to_markdown(findings)
    assert "| a | ≥ 0.5 | 0.5 | 0.3 to 0.8 | met |" in table
    assert "| b | ≤ 0.4 | 0.5 | 0.3 to 0.8 | **missed** |" in table
    assert "| floor | 2,000 |" in table
