"""A running server records the calls that change something, and changes nothing that it cannot record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from scorewire_proto.v1 import models_pb2 as pb
from tests.access_files import Key, write_access
from tests.bundles import write_sum_bundle
from tests.conformance.engines import ENGINES
from tests.conformance.wire import Failure, Wire
from tests.processes import ServerProcess, run_command, serving, wait_until

MODELS = "/scorewire.v1.ModelService"
SET_ALIAS, UNLOAD, GET_MODEL = f"{MODELS}/SetAlias", f"{MODELS}/UnloadVersion", f"{MODELS}/GetModel"
ALIAS = pb.SetAliasRequest(model="sum", alias="stable", version="1.0.0")
ARGUMENTS = {"model": "sum", "alias": "stable", "version": "1.0.0"}


@dataclass(frozen=True, slots=True)
class Audited:
    """A server with an audit file, and who may change something there."""

    server: ServerProcess
    wire: Wire
    file: Path
    operator: Key
    guest: Key

    def lines(self, file: Path | None = None) -> list[dict[str, Any]]:
        text = (file or self.file).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def set_alias(self, alias: str = "stable") -> None:
        request = pb.SetAliasRequest(model="sum", alias=alias, version="1.0.0")
        self.wire.call(SET_ALIAS, request.SerializeToString(), metadata=self.operator.metadata)

    def refused(self, path: str, data: bytes, key: Key | None = None) -> Failure:
        return self.wire.failure(path, data, metadata=() if key is None else key.metadata)

    def aliases(self) -> set[str]:
        request = pb.GetModelRequest(model="sum").SerializeToString()
        answer = self.wire.call(GET_MODEL, request, metadata=self.operator.metadata)
        return set(pb.GetModelResponse.FromString(answer).status.routing.aliases)


@pytest.fixture(params=ENGINES)
def audited(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Audited]:
    write_sum_bundle(tmp_path / "models")
    operator, guest, file = Key.make(), Key.make(), tmp_path / "audit.jsonl"
    access = write_access(
        tmp_path / "access.toml",
        {
            "operator": {"control": ["*"], "keys": [operator.entry()]},
            "guest": {"predict": ["*"], "observe": ["*"], "keys": [guest.entry()]},
        },
    )
    flags = ("--engine", request.param, "--access", access, "--audit", file, "--watch", "off")
    with serving(tmp_path, tmp_path / "models", *flags) as server:
        wire = Wire(server.address)
        yield Audited(server, wire, file, operator, guest)
        wire.channel.close()


def test_a_change_is_in_the_file_before_its_caller_knows(audited: Audited) -> None:
    audited.set_alias()
    begun, ended = audited.lines()
    assert (begun["event"], ended["event"]) == ("begun", "ended")
    assert begun["call"] == ended["call"]
    for line in (begun, ended):
        assert (line["principal"], line["method"], line["arguments"]) == ("operator", SET_ALIAS, ARGUMENTS)
        assert line["address"].startswith("127.0.0.1:")
    assert (ended["result"], ended["reason"]) == ("OK", None)
    (logged,) = audited.server.logged("control call")
    assert logged["call"] == begun["call"]
    assert audited.operator.text not in audited.server.log_text()


def test_changes_that_fail_and_calls_that_are_refused_are_in_the_file(audited: Audited) -> None:
    missing = pb.UnloadVersionRequest(model="sum", version="7.0.0").SerializeToString()
    assert audited.refused(UNLOAD, missing, audited.operator).reason == "VERSION_NOT_FOUND"
    assert audited.refused(UNLOAD, missing, audited.guest).reason == "PERMISSION_DENIED"
    assert audited.refused(UNLOAD, b"\xff", audited.operator).reason == "MALFORMED_MESSAGE"
    assert audited.refused(UNLOAD, missing).reason == "UNAUTHENTICATED"
    wait_until(lambda: len(audited.lines()) == 5, "the line of who has no credential")
    told = [(line["event"], line["principal"], line.get("reason")) for line in audited.lines()]
    assert told == [
        ("begun", "operator", None),
        ("ended", "operator", "VERSION_NOT_FOUND"),
        ("refused", "guest", "PERMISSION_DENIED"),
        ("refused", "operator", "MALFORMED_MESSAGE"),
        ("refused", None, "UNAUTHENTICATED"),
    ]
    assert [line["arguments"] for line in audited.lines()][3:] == [None, None]


def test_calls_that_change_nothing_are_not_in_the_file(audited: Audited) -> None:
    assert audited.aliases() == set()
    assert audited.refused(f"{MODELS}/ListModels", b"").reason == "UNAUTHENTICATED"
    audited.set_alias()
    assert {line["method"] for line in audited.lines()} == {SET_ALIAS}


def test_a_file_that_is_renamed_is_begun_anew(audited: Audited) -> None:
    audited.set_alias("first")
    old = audited.file.rename(audited.file.with_suffix(".1"))
    audited.set_alias("second")
    for file, alias in ((old, "first"), (audited.file, "second")):
        assert [line["arguments"]["alias"] for line in audited.lines(file)] == [alias] * 2


def test_nothing_changes_while_the_file_cannot_be_written(audited: Audited) -> None:
    old = audited.file.rename(audited.file.with_suffix(".1"))
    audited.file.mkdir()
    failure = audited.refused(SET_ALIAS, ALIAS.SerializeToString(), audited.operator)
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_NOT_KEPT")
    assert "the audit file cannot be written" in failure.message
    assert audited.aliases() == set()
    assert audited.server.logged("the audit file cannot be written")
    # A call that changes nothing is answered as before.
    assert audited.refused(SET_ALIAS, ALIAS.SerializeToString(), audited.guest).reason == "PERMISSION_DENIED"
    audited.file.rmdir()
    audited.set_alias()
    assert audited.aliases() == {"stable"}
    assert audited.server.logged("the audit file is written again")
    assert [line["event"] for line in audited.lines()] == ["begun", "ended"]
    assert audited.lines(old) == []


def test_who_is_refused_does_not_fill_the_disk(audited: Audited) -> None:
    data = ALIAS.SerializeToString()
    for _ in range(300):
        audited.refused(SET_ALIAS, data, audited.guest)
    # The 100 at once, and those of the time that the calls took.
    assert 100 <= len(audited.lines()) < 250
    audited.set_alias()
    assert audited.lines()[-1]["result"] == "OK"


@pytest.mark.parametrize("control", ["auto", "off"])
def test_a_server_without_an_access_file_records_too(tmp_path: Path, control: str) -> None:
    write_sum_bundle(tmp_path / "models")
    file = tmp_path / "audit.jsonl"
    with serving(tmp_path, tmp_path / "models", "--audit", file, "--control", control) as server:
        wire = Wire(server.address)
        if control == "auto":
            wire.call(SET_ALIAS, ALIAS.SerializeToString())
        else:
            assert wire.failure(SET_ALIAS, ALIAS.SerializeToString()).reason == "CONTROL_OFF"
        wire.channel.close()
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in lines] == (["begun", "ended"] if control == "auto" else ["refused"])
    assert {line["principal"] for line in lines} == {None}
    assert lines[-1]["reason"] == (None if control == "auto" else "CONTROL_OFF")
    assert lines[-1]["arguments"] == ARGUMENTS


def test_a_server_does_not_start_without_its_audit_file(tmp_path: Path) -> None:
    write_sum_bundle(tmp_path / "models")
    file = tmp_path / "nowhere" / "audit.jsonl"
    flags = ("--models", tmp_path / "models", "--listen", "127.0.0.1:0", "--audit", file)
    ended = run_command("serve", *flags)
    assert ended.returncode == 2
    assert f"--audit {file} cannot be written: No such file or directory" in ended.stderr
    assert "Traceback" not in ended.stderr
