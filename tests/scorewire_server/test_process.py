"""The command as a process: how it starts, cannot start, and stops."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from grpc_health.v1 import health_pb2

from scorewire_contract.cli import main
from scorewire_server import healthcheck
from tests import bundles
from tests.certificates import Certificates
from tests.conformance.wire import PREDICT, PREDICT_STREAM, Wire, failure_of, sum_request, values
from tests.processes import ServerProcess, serving


def _healthcheck(*arguments: str) -> tuple[int, str]:
    # Long, since the machine may be busy. If an option is given twice, the second one counts.
    result = CliRunner().invoke(healthcheck.main, ["--timeout-seconds", "60", *arguments])
    return result.exit_code, result.output.strip()


def _log(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_well(tmp_path: Path, models: Path, number: signal.Signals) -> None:
    bundles.write_sum_bundle(models)
    with serving(tmp_path, models) as server:
        assert _healthcheck(server.address) == (0, "SERVING")
        server.signal(number)
        assert server.wait() == 0
        assert _healthcheck(server.address)[0] == 1
    assert [line["event"] for line in _log(tmp_path)][-2:] == ["draining", "stopped"]


def test_a_call_and_a_stream_in_flight_outlive_the_signal(tmp_path: Path, models: Path) -> None:
    bundles.write_sum_bundle(models)
    with serving(tmp_path, models) as server:
        wire = Wire(server.address)
        with wire.channel:
            requests = _Requests()
            stream = wire.both_stream(PREDICT_STREAM)(requests, timeout=60)
            next(stream)
            watch = wire.server_stream("/grpc.health.v1.Health/Watch")(b"", timeout=60)
            assert health_pb2.HealthCheckResponse.FromString(next(watch)).status == 1
            server.signal(signal.SIGTERM)
            assert health_pb2.HealthCheckResponse.FromString(next(watch)).status == 2
            assert list(watch) == []
            requests.more = 5
            assert len(list(stream)) >= 5
        assert server.wait() == 0


class _Requests:
    """Messages of a stream: without end, until `more` is set to the number that is left."""

    def __init__(self) -> None:
        self.more = -1

    def __iter__(self) -> _Requests:
        return self

    def __next__(self) -> bytes:
        if self.more == 0:
            raise StopIteration
        self.more -= 1
        return b"\x12" + bytes([len(_REQUEST)]) + _REQUEST


_REQUEST = sum_request().SerializeToString()


def test_a_second_signal_ends_at_once(tmp_path: Path, models: Path) -> None:
    bundles.write_sum_bundle(models)
    with serving(tmp_path, models, "--drain-seconds", "600") as server:
        channel = grpc.insecure_channel(server.address)
        with channel:
            watch = Wire(server.address).server_stream("/grpc.health.v1.Health/Watch")(b"", timeout=60)
            next(watch)
            server.signal(signal.SIGTERM)
            next(watch)
            server.signal(signal.SIGINT)
            assert server.wait() == 130


def test_without_a_bundle_the_healthcheck_says_not_serving(tmp_path: Path, models: Path) -> None:
    with serving(tmp_path, models) as server:
        assert _healthcheck(server.address) == (1, "NOT_SERVING")
        assert _healthcheck(server.address, "--service", "scorewire.v1.ModelService") == (0, "SERVING")
        code, text = _healthcheck(server.address, "--service", "nobody")
        assert code == 1
        assert text.startswith("NOT_FOUND")
        assert server.stop() == 0


def test_tls_serves_and_takes_no_plain_text(tmp_path: Path, models: Path, certificates: Certificates) -> None:
    bundles.write_sum_bundle(models)
    with serving(tmp_path, models, *certificates.server_flags()) as server:
        assert _healthcheck(server.address, "--tls-ca", str(certificates.authority)) == (0, "SERVING")
        assert _healthcheck(server.address, "--timeout-seconds", "0.5")[0] == 1
        credentials = grpc.ssl_channel_credentials(certificates.authority.read_bytes())
        with grpc.secure_channel(server.address, credentials) as channel:
            method: Any = channel.unary_unary(PREDICT)
            assert method(sum_request().SerializeToString(), timeout=60)


def test_the_variables_are_read(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOREWIRE_MODELS", str(tmp_path / "nowhere"))
    result = subprocess.run(
        [sys.executable, "-c", "from scorewire_contract.cli import main; main()", "serve"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert str(tmp_path / "nowhere") in result.stderr


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--max-rows", "0"], "--max-rows is '0'; it must be a whole number from 1"),
        (["--tls-cert", "x.pem"], "--tls-cert and --tls-key"),
        (["--tls-cert", "x.pem", "--tls-key", "y.pem"], "x.pem"),
        (["--tls-cert", __file__, "--tls-key", __file__], "cannot be used"),
        (["--models", "nowhere"], "--models nowhere cannot be read"),
        (["--listen", "192.0.2.1:0"], "--listen 192.0.2.1:0 cannot be bound"),
    ],
)
def test_a_start_that_cannot_be_says_why_in_one_line(models: Path, flags: list[str], reason: str) -> None:
    result = CliRunner().invoke(main, ["serve", "--listen", "127.0.0.1:0", "--models", str(models), *flags])
    assert result.exit_code == 2
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_port_in_use_is_refused(models: Path) -> None:
    bundles.write_sum_bundle(models)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for flags in (["--listen", f"127.0.0.1:{port}"], ["--listen", "127.0.0.1:0", "--metrics-port", port]):
            result = CliRunner().invoke(main, ["serve", "--models", str(models), *flags])
            assert result.exit_code == 2
            assert port in result.stderr
            assert "cannot be bound" in result.stderr


def test_help_names_every_setting_with_its_variable() -> None:
    result = CliRunner().invoke(main, ["serve", "--help"])
    assert result.exit_code == 0
    assert "--max-in-flight" in result.output
    assert "SCOREWIRE_MAX_IN_FLIGHT" in result.output


def test_the_server_imports_nothing_of_training() -> None:
    code = (
        "import sys, scorewire_server.app, scorewire_server.cli, scorewire_server.healthcheck\n"
        "heavy = {'pandas', 'sklearn', 'xgboost', 'lightgbm', 'skl2onnx', 'scipy', 'scorewire',"
        " 'scorewire_training'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stderr.strip() == ""


def test_callers_cannot_fill_the_log(tmp_path: Path, models: Path) -> None:
    bundles.write_sum_bundle(models)
    with serving(tmp_path, models) as server:
        _misuse(server)
        assert server.stop() == 0
    events = {str(line["event"]) for line in _log(tmp_path)}
    assert events == {"listening", "version serves", "serving", "draining", "stopped"}
    assert "secret" not in (tmp_path / "log").read_text()


def _misuse(server: ServerProcess) -> None:
    wire = Wire(server.address)
    with wire.channel:
        for data in (b"\xff", sum_request(model="secret").SerializeToString()):
            with pytest.raises(grpc.RpcError) as caught:
                wire.call(PREDICT, data)
            assert failure_of(caught.value).reason
        with pytest.raises(grpc.RpcError):
            wire.call(PREDICT, b"x" * 5000, compression=grpc.Compression.Deflate)
        assert values(wire.predict(sum_request())) == [4.0]
