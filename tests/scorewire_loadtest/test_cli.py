"""The command with a fake server on a loopback port."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from google.rpc import code_pb2
from rich.console import Console

from scorewire_contract.bundle import Bundle
from scorewire_loadtest import cli, run, saturation
from scorewire_loadtest.plan import ClosedLoop, Plan
from scorewire_loadtest.target import Target
from scorewire_proto.v1 import prediction_pb2
from tests.bundles import write_sum_bundle
from tests.scorewire_loadtest.fake_server import FakeServer, failure, serving, stuck

# A process that was started in the background ignores Ctrl-C, and so do its children.
_LOAD = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from scorewire_loadtest.cli import load; load()",
]
GENERATORS = ["native", "python"] if find_spec("scorewire_loadtest_native") else ["python"]


@pytest.fixture(params=GENERATORS)
def generator(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _spare_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests may take the generator's core. Whether that is told is tested elsewhere."""
    monkeypatch.setattr(saturation, "reasons", lambda _: [])


def load(*arguments: object) -> Result:
    return CliRunner().invoke(cli.load, [str(argument) for argument in arguments])


def short(server: FakeServer, *arguments: object) -> Result:
    """A short run; repeated with a longer warm-up if a busy machine left the server no time."""
    for warmup in ("0.1s", "2s", "10s"):
        server.stream_count = 0
        result = load("--address", server.address, "--duration", "0.4s", "--warmup", warmup, *arguments)
        if " 0 of 0 calls" not in result.output:
            break
    return result


def golden(server: FakeServer, *arguments: object) -> Result:
    return short(server, "--bundle", server.bundle.path, *arguments)


@pytest.mark.parametrize(
    "how",
    [
        ("--concurrency", "4"),
        ("--rate", "200/s"),
        ("--rate", "200/s", "--poisson", "--seed", "7", "--max-outstanding", "50"),
        ("--mode", "stream", "--streams", "3", "--concurrency", "6"),
        ("--mode", "stream", "--rate", "200/s", "--rows-per-call", "5"),
    ],
)
def test_right_answers_make_a_run_that_passes(
    fake_server: FakeServer, tmp_path: Path, how: tuple[str, ...], generator: str
) -> None:
    how = (*how, "--generator", generator)
    result = golden(
        fake_server, *how, "--slo", "error-rate=0%", "--slo", "max=10s", "--json", tmp_path / "run.json"
    )
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert told["passed"] is True
    assert told["answered"] > 10
    assert told["generator"]["name"] == generator
    assert (told["wrong"], told["failed"], told["generator"]["unsent"]) == (0, 0, 0)
    assert set(told["latency_us"]) == {"p50", "p90", "p95", "p99", "p99.9", "p99.99"}
    assert sum(second["answered"] for second in told["seconds"]) == told["answered"]
    if "--rate" in how:
        assert told["calls"] == pytest.approx(80, abs=1 if "--poisson" not in how else 30)
        assert told["generator"]["max_lag_us"] > 0
        arrivals = "Poisson arrivals of seed 7" if "--poisson" in how else "constant arrivals"
        assert arrivals in told["settings"]["loop"]
    if "stream" in how:
        assert fake_server.stream_count == (3 if "--streams" in how else 2)
    assert told["rows"] == told["answered"] * (5 if "--rows-per-call" in how else 1)


@pytest.mark.parametrize("mode", ["unary", "stream"])
def test_one_wrong_score_in_a_hundred_fails_the_run(
    fake_server: FakeServer, mode: str, generator: str
) -> None:
    calls = iter(range(10**9))

    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        response = fake_server.score(request)
        if next(calls) % 100 == 99:
            response.outputs[0].numbers[0] = 1e9
        return response

    fake_server.answer = answer
    how = ("--mode", mode, "--generator", generator)
    result = golden(fake_server, *how, "--warmup", "0s", "--rate", "500/s", "--duration", "1s")
    assert result.exit_code == 1
    assert "5 wrong" in result.stdout
    assert "value[0] is 1000000000.0, expected" in result.stdout


def test_a_missed_objective_fails_the_run_and_says_which(fake_server: FakeServer) -> None:
    result = golden(fake_server, "--slo", "p50=1us", "--slo", "p99=10s")
    assert result.exit_code == 1
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[-1] for line in lines if line[:1] in (["p50"], ["p99"]) and len(line) > 3] == [
        "MISSED",
        "met",
    ]


@pytest.mark.parametrize("mode", ["unary", "stream"])
def test_failures_are_told_by_status_and_reason(fake_server: FakeServer, mode: str, generator: str) -> None:
    fake_server.answer = lambda _: failure(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_IN_FLIGHT", "try later")
    result = golden(fake_server, "--rate", "100/s", "--mode", mode, "--generator", generator)
    assert result.exit_code == 1
    for text in ("RESOURCE_EXHAUSTED", "TOO_MANY_IN_FLIGHT", "try later", "No call was answered"):
        assert text in result.stdout


def test_rows_of_a_file_are_sent(fake_server: FakeServer, tmp_path: Path, generator: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("country,x1,x0\nde,1,2\n,NaN,3\n", encoding="utf-8")
    how = ("--rows-per-call", "2", "--generator", generator)
    result = short(fake_server, "--input", path, "--model", "sum", *how)
    assert result.exit_code == 0, result.output
    assert "no scores are known" in result.stdout
    rows = fake_server.requests[0].rows
    assert (list(rows.numbers[:2]), list(rows.texts)) == ([2.0, 1.0], ["de", ""])


@pytest.mark.parametrize("name", ["run.png", "run.html"])
def test_a_plot_is_written(fake_server: FakeServer, tmp_path: Path, name: str) -> None:
    assert golden(fake_server, "--plot", tmp_path / name).exit_code == 0
    assert (tmp_path / name).stat().st_size > 10_000


def test_an_unreachable_server_is_told_at_once(sum_bundle: Bundle) -> None:
    result = load("--address", "127.0.0.1:1", "--bundle", sum_bundle.path, "--duration", "1h")
    assert result.exit_code == 2
    assert "no server answers at 127.0.0.1:1" in result.stderr
    assert "scorewire serve" in result.stderr


def test_a_load_goes_to_several_servers_in_turn(fake_server: FakeServer, generator: str) -> None:
    with serving(fake_server.bundle) as other:
        addresses = f"{fake_server.address},{other.address}"
        how = ("--rate", "100/s", "--duration", "0.4s", "--warmup", "0s", "--generator", generator)
        result = load("--address", addresses, "--bundle", fake_server.bundle.path, *how)
        assert result.exit_code == 0, result.output
        assert len(fake_server.requests) == len(other.requests) == 20


def test_an_address_that_is_none_is_told(sum_bundle: Bundle) -> None:
    result = load("--address", "http://127.0.0.1:1", "--bundle", sum_bundle.path)
    assert result.exit_code == 2
    assert "an address is HOST or HOST:PORT, not a URL" in result.stderr


def test_a_server_with_another_bundle_of_that_version_is_refused(
    fake_server: FakeServer, tmp_path: Path
) -> None:
    other = write_sum_bundle(tmp_path, number_count=3)
    result = short(fake_server, "--bundle", other)
    assert result.exit_code == 2
    assert "takes other rows than the bundle" in result.stderr


def test_a_model_that_the_server_lacks_is_told(fake_server: FakeServer, tmp_path: Path) -> None:
    other = write_sum_bundle(tmp_path, model="other")
    result = short(fake_server, "--bundle", other)
    assert result.exit_code == 2
    assert "no schema of other 1.0.0: NOT_FOUND" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either --bundle or --input"),
        (("--bundle", "{bundle}", "--input", "{file}"), "give either --bundle or --input"),
        (("--input", "{file}"), "--input needs --model"),
        (("--bundle", "{bundle}", "--model", "m"), "a bundle names its own"),
        (("--bundle", "{folder}"), "is not a valid bundle: manifest.json is missing"),
        (("--bundle", "{bundle}", "--rate", "5/s", "--concurrency", "2"), "choose"),
        (("--bundle", "{bundle}", "--rate", "0/s"), "above zero"),
        (("--bundle", "{bundle}", "--poisson"), "--poisson needs --rate"),
        (("--bundle", "{bundle}", "--streams", "2"), "--streams needs --mode stream"),
        (("--bundle", "{bundle}", "--tls-cert", "{file}"), "--tls-cert and --tls-key come together"),
        (("--bundle", "{bundle}", "--duration", "0s"), "above zero"),
        (("--bundle", "{bundle}", "--duration", "soon"), "is not a duration like"),
        (("--bundle", "{bundle}", "--slo", "p98=1ms"), "is not an objective"),
        (("--bundle", "{bundle}", "--plot", "run.pdf"), "must end in one of .png, .svg, .html"),
        (("--bundle", "{bundle}", "--json", "{folder}/none/run.json"), "its folder must be there"),
        (("--bundle", "{bundle}", "--plot", "{folder}/none/run.png"), "its folder must be there"),
        (("--bundle", "{bundle}", "--connections", "0"), "is not in the range"),
    ],
)
def test_bad_use_is_refused_with_2(
    sum_bundle: Bundle, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("x\n", encoding="utf-8")
    places = {"bundle": sum_bundle.path, "file": file, "folder": tmp_path}
    result = load(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_a_file_without_the_models_columns_is_refused(fake_server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("x0\n1\n", encoding="utf-8")
    result = short(fake_server, "--input", path, "--model", "sum")
    assert result.exit_code == 2
    assert "lacks the columns country, x1" in result.stderr


@pytest.mark.parametrize("how", [(), ("--slo", "p99=1h")])
def test_a_saturated_generator_is_the_first_line_and_cannot_judge(
    fake_server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: tuple[str, ...]
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(saturation, "MOST_WORK", 0.0)
    result = golden(fake_server, *how, "--json", tmp_path / "run.json")
    assert result.stdout.startswith("SATURATED: ")
    told = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert told["saturated"] is True
    assert "on a core" in told["saturation"][0]
    assert (result.exit_code, told["passed"]) == ((3, False) if how else (0, True))


def test_a_rate_beyond_any_machine_saturates_each_generator(
    fake_server: FakeServer, monkeypatch: pytest.MonkeyPatch, generator: str
) -> None:
    monkeypatch.undo()
    # There is always room, so that every delay is the generator's own.
    how = ("--rate", "10000000/s", "--max-outstanding", "10000000", "--timeout", "1s")
    result = golden(
        fake_server,
        *how,
        "--generator",
        generator,
        "--slo",
        "error-rate=100%",
        "--duration",
        "0.1s",
        "--warmup",
        "0s",
    )
    assert result.stdout.startswith("SATURATED: ")
    assert result.exit_code in {1, 3}, result.output


def test_the_report_says_when_and_where_it_was_made(fake_server: FakeServer, tmp_path: Path) -> None:
    golden(fake_server, "--json", tmp_path / "run.json")
    told = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert datetime.now(UTC) - datetime.fromisoformat(told["date"]) < timedelta(hours=1)
    assert told["server"] == {"version": "1.2.3", "engine": "fake", "description": "a fake server"}
    assert told["python"] == platform.python_version()
    assert told["scorewire"] == version("scorewire-loadtest")


def test_a_generator_that_is_not_installed_is_told(
    fake_server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scorewire_loadtest_native", None)
    monkeypatch.delitem(sys.modules, "scorewire_loadtest.native_generator", raising=False)
    monkeypatch.delattr("scorewire_loadtest.native_generator", raising=False)
    result = golden(fake_server, "--generator", "native")
    assert result.exit_code == 2
    assert "install scorewire-loadtest[native], or use --generator python" in result.stderr


def test_the_python_generator_stands_in_for_the_native_one(
    fake_server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "find_spec", lambda _: None)
    assert golden(fake_server, "--json", tmp_path / "run.json").exit_code == 0
    told = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert told["generator"]["name"] == "python"


def test_help_teaches_by_example() -> None:
    result = load("--help")
    assert result.exit_code == 0
    for text in ("Examples:", "--slo p99=5ms", "closed loop", "open loop", "Exit code"):
        assert text in result.stdout


def test_progress_is_drawn_on_a_terminal_alone(
    fake_server: FakeServer, tmp_path: Path, generator: str
) -> None:
    plan = Plan(
        target=Target(fake_server.address),
        source=fake_server.bundle,
        load=ClosedLoop(2),
        rows_per_call=1,
        connections=1,
        streams=None,
        warmup_s=0.0,
        duration_s=0.7,
        timeout_s=5.0,
    )
    drawn = {}
    for terminal in (True, False):
        with (tmp_path / f"{terminal}").open("w+", encoding="utf-8") as file:
            run.execute(plan, Console(file=file, force_terminal=terminal, width=120), generator=generator)
            file.seek(0)
            drawn[terminal] = file.read()
    assert "answered, 0 failed, 0 wrong" in drawn[True]
    assert drawn[False] == ""


def test_ctrl_c_ends_the_run_and_reports_what_came_back(fake_server: FakeServer, generator: str) -> None:
    begun = threading.Event()

    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        begun.set()
        return fake_server.score(request)

    fake_server.answer = answer
    command = [*_LOAD, "--address", fake_server.address, "--bundle", str(fake_server.bundle.path)]
    command += ["--duration", "1h", "--warmup", "0s", "--generator", generator]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "100"}
    )
    try:
        assert begun.wait(120)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "throughput" in output


def test_a_second_ctrl_c_aborts_a_run_whose_calls_do_not_end(fake_server: FakeServer, generator: str) -> None:
    command = [*_LOAD, "--address", fake_server.address, "--bundle", str(fake_server.bundle.path)]
    # The first Ctrl-C comes in the warm-up, after which nothing is measured.
    command += ["--duration", "1h", "--warmup", "1h", "--timeout", "1h", "--generator", generator]
    with stuck(fake_server) as (begun, _):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert begun.wait(120)
            output = None
            # A signal counts once while it waits to be handled, so that two may not be enough.
            for _ in range(600):
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    output, _ = process.communicate(timeout=0.2)
                    break
        finally:
            process.kill()
            process.wait()
    assert output is not None
    assert process.returncode not in (0, -signal.SIGKILL)
    assert "throughput" not in output
