"""The way of a new user: a key, a server for other machines, and calls with the key and without."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from scorewire import Client, PermissionDeniedError, UnauthenticatedError
from tests.bundles import expected_value, write_sum_bundle
from tests.conformance.engines import ENGINES
from tests.processes import (
    COMMAND,
    TIMEOUT_SECONDS,
    ServerProcess,
    own_environment,
    run_command,
    serving,
    wait_until,
)

ROW = {"x0": 1.0, "x1": 2.0, "country": "de"}
SCORE = expected_value([1.0, 2.0], "de")
KEY = re.compile(r"scorewire_[0-9a-f]{8}_[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Served:
    """A server on all addresses, as another machine sees it, and a key for it."""

    server: ServerProcess
    folder: Path
    key: str = field(repr=False)

    @property
    def address(self) -> str:
        """An address of this machine."""
        return f"127.0.0.1:{self.server.address.rpartition(':')[2]}"

    def command(self, *arguments: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `scorewire` with a key in the environment."""
        environment = own_environment() | ({} if key is None else {"SCOREWIRE_API_KEY": key})
        return subprocess.run(
            [COMMAND, *arguments, "--address", self.address],
            capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS, env=environment,
        )  # fmt: skip


@pytest.fixture(params=ENGINES)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """What `scorewire keys new` and `scorewire serve` make."""
    write_sum_bundle(tmp_path / "models")
    file = tmp_path / "access.toml"
    made = run_command("keys", "new", "shop", "--access", file, "--predict", "*")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    flags = ("--engine", request.param, "--listen", "0.0.0.0:0", "--access", file)
    with serving(tmp_path, tmp_path / "models", *flags, "--audit", tmp_path / "audit") as server:
        yield Served(server, tmp_path, key)


def test_the_key_is_shown_once_and_kept_as_a_hash(served: Served) -> None:
    assert KEY.fullmatch(served.key)
    secret = served.key.rpartition("_")[2]
    for file in served.folder.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file
    assert (served.folder / "access.toml").stat().st_mode & 0o007 == 0


def test_a_program_with_the_key_is_answered_and_one_without_is_not(served: Served) -> None:
    with Client(served.address, api_key=served.key) as client:
        assert client.predict("sum", ROW).score == SCORE
        scores = [prediction.score for prediction in client.predict_stream("sum", [ROW] * 3)]
        assert scores == [SCORE] * 3
    other = served.key[:-1] + ("0" if served.key[-1] != "0" else "1")
    for key in (None, other):
        with Client(served.address, api_key=key) as client, pytest.raises(UnauthenticatedError):
            client.models()


def test_a_right_to_predict_is_none_to_change_something(served: Served) -> None:
    with Client(served.address, api_key=served.key) as client:
        assert [model.name for model in client.models()] == ["sum"]
        with pytest.raises(PermissionDeniedError):
            client.unload_version("sum", "1.0.0")
        with pytest.raises(PermissionDeniedError):
            client.set_alias("sum", "new", "1.0.0")
        assert client.predict("sum", ROW).score == SCORE
    wait_until(lambda: len(_audit(served)) == 2, "the audit file to have both calls")
    for line in _audit(served):
        assert line["principal"] == "shop"
        assert line["result"] == "PERMISSION_DENIED"
        assert line["address"].startswith("127.0.0.1:")
        assert line["arguments"]["model"] == "sum"


def test_a_stranger_who_tries_to_change_something_is_in_the_audit_file(served: Served) -> None:
    with Client(served.address) as client, pytest.raises(UnauthenticatedError):
        client.unload_version("sum", "1.0.0")
    wait_until(lambda: bool(_audit(served)), "the audit file to have the call")
    (line,) = _audit(served)
    assert (line["principal"], line["result"]) == (None, "UNAUTHENTICATED")
    assert line["method"].endswith("/UnloadVersion")


def test_commands_take_the_key_from_the_environment(served: Served) -> None:
    table = served.folder / "rows.csv"
    table.write_text("x0,x1,country\n1,2,de\n", encoding="utf-8")
    output = served.folder / "scored.csv"
    predict = ("predict", "--model", "sum", "--input", str(table), "--output", str(output))
    refused = served.command(*predict)
    assert refused.returncode == 1
    assert "UNAUTHENTICATED" in refused.stderr
    assert not output.exists()
    scored = served.command(*predict, key=served.key)
    assert scored.returncode == 0, scored.stderr
    assert output.read_text(encoding="utf-8").splitlines()[1].startswith(f"1,2,de,{SCORE:g}")
    listed = served.command("models", "list", key=served.key)
    assert listed.returncode == 0, listed.stderr
    assert "sum" in listed.stdout
    changed = served.command("models", "unload", "sum", "1.0.0", key=served.key)
    assert changed.returncode == 1
    assert "PERMISSION_DENIED" in changed.stderr
    told = (each.stdout + each.stderr for each in (scored, listed, changed))
    assert served.key not in "".join(told)


def test_health_needs_no_key(served: Served) -> None:
    with grpc.insecure_channel(served.address) as channel:
        check: Callable[..., bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=TIMEOUT_SECONDS) == b"\x08\x01"


def _audit(served: Served) -> list[dict[str, Any]]:
    file = served.folder / "audit"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
