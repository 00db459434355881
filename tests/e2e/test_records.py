"""A server that records: what its processes do, and what its ledger says."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from scorewire import Client
from tests.bundles import expected_value, write_sum_bundle
from tests.conformance.engines import ENGINES
from tests.processes import ServerProcess, run_command, serving, wait_until

ROW = {"x0": 1.0, "x1": 2.0, "country": "de"}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_sum_bundle(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture(params=ENGINES)
def server(request: pytest.FixtureRequest, tmp_path: Path, models: Path) -> Iterator[ServerProcess]:
    """A server of each engine that records in the folder `records`."""
    with serving(tmp_path, models, "--engine", request.param, "--records", tmp_path / "records") as running:
        yield running


def _shipper(folder: Path, not_: int = 0) -> psutil.Process:
    """Wait for a shipper that tells of its work, other than one."""
    status = folder / "records" / "_spool" / "shipper.json"
    wait_until(lambda: status.exists() and json.loads(status.read_bytes())["pid"] != not_, "a shipper")
    return psutil.Process(json.loads(status.read_bytes())["pid"])


def _ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_the_shipper_ends_with_a_server_that_was_killed(server: ServerProcess, tmp_path: Path) -> None:
    shipper = _shipper(tmp_path)
    assert shipper.ppid() == server.pid
    assert shipper.nice() == 19
    server.signal(signal.SIGKILL)
    server.wait()
    wait_until(lambda: _ended(shipper), "the end of the shipper")


def test_a_shipper_that_was_killed_is_started_again_and_calls_go_on(
    server: ServerProcess, tmp_path: Path
) -> None:
    first = _shipper(tmp_path)
    first.kill()
    second = _shipper(tmp_path, not_=first.pid)
    assert server.metrics()["scorewire_record_shipper_restarts_total", frozenset()] == 1
    with Client(server.address) as client:
        assert client.health()
        assert client.predict("sum", ROW).score == expected_value([1.0, 2.0], "de")
    assert server.stop() == 0
    assert _ended(second)
    (line,) = [line for line in server.log() if line["event"] == "records of this start"]
    assert line["offered"] == line["spooled"] + line["dropped"] + line["sampled_out"] + line["buffered"]


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("[models.sum]\nshar = 0.1", "did you mean 'share'?"),
        ('[models.sum.features]\ncontry = "drop"', "did you mean 'country'?"),
        ('[models.sum.features]\ncountry = "hash"', "hash_key_file"),
    ],
)
def test_a_wrong_policy_is_told_in_one_line(tmp_path: Path, models: Path, policy: str, says: str) -> None:
    (tmp_path / "policy.toml").write_text(policy)
    flags = ["--records", tmp_path / "records", "--records-policy", tmp_path / "policy.toml"]
    ended = run_command("serve", "--listen", "127.0.0.1:0", "--models", models, *flags)
    assert ended.returncode == 2
    (line,) = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert line.startswith("Error: --records-policy ")
    assert says in line


def test_a_password_in_the_url_is_refused_and_not_shown(tmp_path: Path, models: Path) -> None:
    flags = ["--records", tmp_path / "records", "--records-to", "postgresql://app:hunter2@db/scores"]
    ended = run_command("serve", "--models", models, *flags)
    assert ended.returncode == 2
    assert "--records-password-file" in ended.stderr
    assert "hunter2" not in ended.stderr
