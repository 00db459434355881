"""A server starts, or tells in one line why it does not."""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from scorewire import Client, NotFoundError, UnavailableError
from tests.bundles import expected_value, write_sum_bundle
from tests.processes import run_command, serving


@pytest.fixture
def taken_port() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        yield taken.getsockname()[1]


def _refusal(*flags: str | Path) -> str:
    """The error of a server that must not start: a single line, with exit code 2."""
    ended = run_command("serve", "--listen", "127.0.0.1:0", *flags)
    assert ended.returncode == 2
    assert ended.stdout == ""
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("Error: ")
    return lines[0]


def test_an_empty_folder_of_bundles_starts_not_serving_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with serving(tmp_path, tmp_path / "models") as server, Client(server.address) as client:
        assert not client.health()
        assert client.models() == []
        with pytest.raises(NotFoundError) as unknown:
            client.predict("sum", {"x0": 1.0})
        assert unknown.value.reason == "MODEL_NOT_FOUND"
        (line,) = server.logged("not serving: no bundle under --models may serve")
        assert line["level"] == "warning"
        assert line["models"] == str(tmp_path / "models")


def test_a_server_whose_every_bundle_is_corrupt_is_not_serving(tmp_path: Path) -> None:
    bundle = write_sum_bundle(tmp_path / "models")
    (bundle / "manifest.json").write_text("{")
    with serving(tmp_path, tmp_path / "models") as server, Client(server.address) as client:
        assert not client.health()
        with pytest.raises(UnavailableError):
            client.predict("sum", {"x0": 1.0})
        (version,) = client.models()[0].versions
        assert "manifest.json" in version.reason


def test_two_servers_share_a_folder_of_bundles(tmp_path: Path) -> None:
    models, state = tmp_path / "models", tmp_path / "state.json"
    write_sum_bundle(models)
    with (
        serving(tmp_path / "a", models) as first,
        serving(tmp_path / "b", models, "--state-file", state) as second,
    ):
        assert first.address != second.address
        for server in (first, second):
            with Client(server.address) as client:
                score = client.predict("sum", {"x0": 1.0, "x1": 2.0, "country": "de"}).score
                assert score == expected_value([1.0, 2.0], "de")


def test_a_state_file_in_use_is_named_and_free_again_once_its_server_was_killed(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_sum_bundle(models)
    with serving(tmp_path / "a", models) as first:
        line = _refusal("--models", models)
        assert "--state-file" in line
        assert f"process {first.pid}" in line
        first.signal(signal.SIGKILL)
        first.wait()
    with serving(tmp_path / "b", models) as second, Client(second.address) as client:
        client.set_alias("sum", "stable", "1.0.0")


def test_a_split_whose_version_is_gone_at_a_start_is_answered_and_said(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for version in ("1.0.0", "1.1.0"):
        write_sum_bundle(models, version=version)
    with serving(tmp_path / "a", models) as server, Client(server.address) as client:
        client.set_split("sum", {"1.0.0": 1})
        assert client.models()[0].warning == ""
        assert server.metrics()["scorewire_versions_missing", frozenset({("model", "sum")})] == 0
    shutil.rmtree(models / "sum" / "1.0.0")
    with serving(tmp_path / "b", models) as server, Client(server.address) as client:
        (status,) = client.models()
        assert status.default_version == "1.1.0"
        assert "1.0.0, which should answer and cannot, are answered by 1.1.0" in status.warning
        (line,) = server.logged("routing not in force")
        assert line["reason"] == status.warning
        assert server.metrics()["scorewire_versions_missing", frozenset({("model", "sum")})] == 1


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--max-rows", "0"], ["--max-rows", "'0'", "1 to 10000000"]),
        (["--drain-seconds", "nan"], ["--drain-seconds", "'nan'", "0 to 3600"]),
        (["--listen", "127.0.0.1"], ["--listen", "HOST:PORT"]),
        (["--log-format", "xml"], ["--log-format", "auto, console, json"]),
        (["--tls-cert", "cert.pem"], ["--tls-cert", "--tls-key", "together"]),
    ],
)
def test_a_bad_setting_is_named_with_its_range(flags: list[str], says: list[str]) -> None:
    line = _refusal(*flags)
    assert all(part in line for part in says)


def test_an_unknown_flag_is_named() -> None:
    ended = run_command("serve", "--max-cows", "3")
    assert ended.returncode == 2
    assert "--max-cows" in ended.stderr


def test_a_folder_of_bundles_that_is_not_there_is_named(tmp_path: Path) -> None:
    line = _refusal("--models", tmp_path / "nowhere")
    assert "--models" in line
    assert str(tmp_path / "nowhere") in line


@pytest.mark.parametrize("deeper", ["sum", "sum/1.0.0"])
def test_a_folder_that_is_too_deep_is_named_with_the_right_one(tmp_path: Path, deeper: str) -> None:
    write_sum_bundle(tmp_path / "models")
    line = _refusal("--models", tmp_path / "models" / deeper)
    assert line.endswith(f"name the folder of all models: --models {(tmp_path / 'models').resolve()}")


def test_a_port_in_use_is_named(tmp_path: Path, taken_port: int) -> None:
    assert f"--listen 127.0.0.1:{taken_port}" in _refusal(
        "--models", tmp_path, "--listen", f"127.0.0.1:{taken_port}"
    )


def test_a_metrics_port_in_use_is_named(tmp_path: Path, taken_port: int) -> None:
    assert f"--metrics-port {taken_port}" in _refusal("--models", tmp_path, "--metrics-port", str(taken_port))


def test_a_port_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    port_file = tmp_path / "nowhere" / "port"
    assert f"--port-file {port_file}" in _refusal("--models", tmp_path, "--port-file", port_file)


def test_a_state_file_that_is_a_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    write_sum_bundle(tmp_path / "models")
    assert "--state-file" in _refusal("--models", tmp_path / "models", "--state-file", tmp_path / "models")
    assert (tmp_path / "models" / "sum").is_dir()
