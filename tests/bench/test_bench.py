from __future__ import annotations

import fcntl
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pytest

from scorewire_contract.bundle import read_bundle
from scorewire_loadtest.calls import PreparedCall, from_bundle
from scorewire_proto.v1 import packed_pb2
from tests.bench import h2load, kernel_tables
from tests.bench.call_loads import SHAPES, Echo, echo_calls
from tests.bench.h2load import LoadError
from tests.bench.kernel_models import KINDS
from tests.bench.kernels import ask_peer
from tests.bench.measure import Generator, Question
from tests.bench.servers import Server, engine
from tests.bench.tables import Bar, Findings, Sample, read, to_markdown, write
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
    not (find_spec("scorewire_native") and find_spec("scorewire_loadtest_native") and shutil.which("cargo")),
    reason="cargo is missing",
)
@pytest.mark.timeout(BENCH_SECONDS)
def test_a_quick_bench_measures_everything(tmp_path: Path) -> None:
    printed = _run_bench("tests.bench", "--quick", "--output", str(tmp_path))
    told = json.loads((tmp_path / "engines.json").read_text(encoding="utf-8"))
    seen = {(sample["server"], sample["load"]) for sample in told["samples"]}
    assert seen >= {
        (name, shape.name) for name in ("reference", "native", "empty Rust (h2)") for shape in SHAPES
    }
    is_whole = told["conditions"]["Left out"] == "nothing"
    assert not is_whole or seen >= {
        (name, load)
        for name in ("native", "empty C++ (gRPC)")
        for load in ("Poisson, half of C++", "TLS, 1 × 64", "TLS, 64 × 1")
    }
    assert len(told["bars"]) == (23 if is_whole else 13)
    assert all(sample["calls_per_second"] > 0 for sample in told["samples"])
    assert (tmp_path / "engines.md").read_text(encoding="utf-8") == printed.removesuffix("\n")
    assert (tmp_path / "engines.png").stat().st_size > 10_000


@pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is missing")
@pytest.mark.timeout(BENCH_SECONDS)
def test_the_kernel_is_measured_beside_onnxruntime_and_the_libraries(tmp_path: Path) -> None:
    folders = ("--output", str(tmp_path), "--cache", str(tmp_path / "models"))
    printed = _run_bench("tests.bench.kernels", "--quick", *folders)
    findings = kernel_tables.read(tmp_path / "kernels.json")
    assert kernel_tables.to_markdown(findings) == printed.removesuffix("\n")
    assert (tmp_path / "kernels.png").stat().st_size > 10_000
    libraries = {kind.name: kind.library for kind in KINDS}
    assert [load.model for load in findings.loads] == list(libraries)
    for model, library in libraries.items():
        for runs_on, graph in product(("kernel", "onnxruntime"), ("trees", "bundle")):
            for rows in kernel_tables.CALL_ROWS:
                assert findings.times(model, rows, runs_on, graph=graph)
        assert findings.times(model, 1_000, library)
        assert findings.times(model, 64, "kernel", form="words", processor="plain")
        assert f"| {model} | {library} |" in kernel_tables.overview(findings)
    assert all(timing.median > 0 for timing in findings.timings)
    assert len(findings.bars) >= 6 * 2 + 5 + 1 + 2


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("print('a word of the library'); print('{\"ns_per_row\": [2.5]}')", {"ns_per_row": [2.5]}),
        ("raise ValueError('no such tree')", {"missing": "ended with 1: ValueError: no such tree"}),
        ("import os; os.abort()", {"missing": "ended with -6: "}),
    ],
)
def test_a_library_that_crashes_is_left_out(script: str, told: dict[str, object]) -> None:
    assert ask_peer([sys.executable, "-c", script]) == told


def test_a_library_that_takes_too_long_ends_with_the_compiler_that_it_has_started(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    script = f"""
import fcntl, subprocess

file = open({str(locked)!r}, "w")
fcntl.flock(file, fcntl.LOCK_EX)
subprocess.run(["sleep", "600"], pass_fds=[file.fileno()])
"""
    assert ask_peer([sys.executable, "-c", script], seconds=2) == {"missing": "takes more than 2 s"}
    with locked.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # waits for whoever has the file


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
        Sample(
            server=server,
            load="1 × 1",
            calls_per_second=rates[server][i],
            processor_us=9.5,
            p50_us=10.0,
            p99_us=20.0,
            generator_busy=0.5,
        )
        for i in range(3)
        for server in rates
    ]
    findings = Findings(conditions={"Model": "m"}, samples=samples)
    ratios = findings.ratios("native", "floor", "1 × 1")
    assert ratios == pytest.approx([0.5, 0.3, 0.8])
    findings.bars = [Bar(name="a", values=ratios, at_least=0.5), Bar(name="b", values=ratios, at_most=0.4)]
    # The median of the ratios, not the ratio of the medians, which is 0.45.
    assert [bar.met for bar in findings.bars] == [True, False]
    table = to_markdown(findings)
    assert "| a | ≥ 0.5 | 0.5 | 0.3 to 0.8 | met |" in table
    assert "| b | ≤ 0.4 | 0.5 | 0.3 to 0.8 | **missed** |" in table
    for cells in ("2,000", "9.50", "10", "20", "50%"):
        assert f"| floor | {cells} |" in table


def test_what_is_not_known_is_null_in_json(tmp_path: Path) -> None:
    sample = Sample(
        server="reference",
        load="1 × 1",
        calls_per_second=9.0,
        processor_us=math.nan,
        p50_us=1.0,
        p99_us=2.0,
        generator_busy=0.5,
    )
    bars = [Bar(name="a", values=[1.0, math.nan], at_least=2)]
    findings = Findings(conditions={}, samples=[sample], bars=bars)
    write(findings, tmp_path)
    told = json.loads((tmp_path / "engines.json").read_text(encoding="utf-8"))
    assert told["samples"][0]["processor_us"] is None
    assert told["bars"][0]["values"] == [1.0, None]
    assert to_markdown(read(tmp_path / "engines.json")) == to_markdown(findings)


def test_an_empty_servers_answer_must_be_the_request() -> None:
    (call,) = echo_calls([PreparedCall(b"a request" * 40, 1, Echo(b""))])
    answer = packed_pb2.PackedPredictResponse.FromString(call.request)
    assert call.expectation.problem(answer) == ""
    assert call.expectation.problem(packed_pb2.PackedPredictResponse(row_count=1))
