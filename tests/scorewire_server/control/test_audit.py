from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from structlog.testing import capture_logs

from scorewire_proto.inference import inference_pb2 as inference
from scorewire_proto.v1 import models_pb2 as pb
from scorewire_server.control import audit as audit_module
from scorewire_server.control.audit import MAX_REQUEST_BYTES, Audit, AuditedCall
from scorewire_server.control.audit_file import AuditFile
from scorewire_server.engine.access import Principal
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.interpreted.failures import caller_limit, permission_denied, unauthenticated
from scorewire_server.engine.peer import Peer
from scorewire_server.errors import PermissionDeniedError, StateNotKeptError, VersionInUseError

PATH = "/scorewire.v1.ModelService/SetAlias"
PEER = Peer("192.0.2.1:4000")
CONTEXT = CallContext(PATH, peer=PEER, principal=Principal("operator"))
ALIAS = pb.SetAliasRequest(model="shop", alias="stable", version="1.0.0")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
async def audit(path: Path) -> AsyncIterator[Audit]:
    audit = Audit(AuditFile(path))
    yield audit
    await audit.close()


def _data(path: Path) -> bytes:
    return path.read_bytes()


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _data(path).split(b"\n")[:-1]]


def _changing(
    then: Exception | None = None, request: Message = ALIAS, before: Callable[[], object] = lambda: None
) -> Callable[[AuditedCall], Awaitable[str]]:
    async def change(call: AuditedCall) -> str:
        call.request = request
        await call.begin()
        before()
        if then is not None:
            raise then
        return "changed"

    return change


async def _refuse(call: AuditedCall) -> None:
    call.request = ALIAS
    raise permission_denied()


async def test_a_change_has_a_line_before_it_begins_and_one_before_its_caller_learns_of_it(
    audit: Audit, path: Path
) -> None:
    begun: list[Any] = []
    with capture_logs() as logged:
        assert await audit.run(CONTEXT, _changing(before=lambda: begun.extend(_lines(path)))) == "changed"
    first, second = _lines(path)
    assert begun == [first]
    for line in (first, second):
        assert datetime.now(UTC) - datetime.fromisoformat(line.pop("time")) < timedelta(minutes=1)
    assert first == {
        "event": "begun",
        "call": first["call"],
        "principal": "operator",
        "address": "192.0.2.1:4000",
        "method": PATH,
        "arguments": {"model": "shop", "alias": "stable", "version": "1.0.0"},
    }
    assert second.pop("milliseconds") >= 0
    assert second == first | {"event": "ended", "result": "OK", "reason": None}
    (told,) = logged
    assert told["event"] == "control call"
    assert (told["principal"], told["method"], told["result"]) == ("operator", PATH, "OK")
    assert json.loads(told["arguments"]) == first["arguments"]
    assert told["call"] == first["call"]


async def test_times_are_of_rfc_3339_in_utc(audit: Audit, path: Path) -> None:
    await audit.run(CONTEXT, _changing())
    for line in _lines(path):
        assert line["time"].endswith("Z")
        assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)


async def test_each_call_has_an_id_of_its_own(audit: Audit, path: Path) -> None:
    await asyncio.gather(*(audit.run(CONTEXT, _changing()) for _ in range(20)))
    calls = [line["call"] for line in _lines(path)]
    assert len(set(calls)) == 20
    assert all(calls.count(each) == 2 for each in calls)


async def test_a_change_that_fails_tells_why(audit: Audit, path: Path) -> None:
    with pytest.raises(VersionInUseError):
        await audit.run(CONTEXT, _changing(VersionInUseError("an alias names it")))
    with pytest.raises(ZeroDivisionError):
        await audit.run(CONTEXT, _changing(ZeroDivisionError()))
    ended = [(line["result"], line["reason"]) for line in _lines(path) if line["event"] == "ended"]
    assert ended == [("FAILED_PRECONDITION", "VERSION_IN_USE"), ("INTERNAL", "INTERNAL")]


async def test_lines_do_not_pile_up_while_the_disk_hangs(
    audit: Audit, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "MOST_WAITING", 3)
    answers = threading.Event()
    append = AuditFile.append

    def hang(file: AuditFile, line: bytes) -> None:
        answers.wait()
        append(file, line)

    monkeypatch.setattr(AuditFile, "append", hang)
    calls = [asyncio.ensure_future(audit.run(CONTEXT, _changing())) for _ in range(5)]
    try:
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert all(isinstance(call.exception(), StateNotKeptError) for call in done)
    finally:
        answers.set()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [each for each in ended if each == "changed"] == ["changed"] * 3
    assert await audit.run(CONTEXT, _changing()) == "changed"
    assert audit.counts.failed == len([line for line in ended if line != "changed"]) * 2


async def test_a_refused_call_has_one_line(audit: Audit, path: Path) -> None:
    with capture_logs() as logged, pytest.raises(PermissionDeniedError):
        await audit.run(CONTEXT, _refuse)
    (line,) = _lines(path)
    assert line["event"] == "refused"
    assert line["call"] is None
    assert line["arguments"] == {"model": "shop", "alias": "stable", "version": "1.0.0"}
    assert (line["result"], line["reason"]) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
    assert [line["event"] for line in logged] == ["control call refused"]


async def test_a_call_that_the_engine_refused_has_a_line_with_who_called_if_that_is_known(path: Path) -> None:
    audit = Audit(AuditFile(path))
    audit.refused(PATH, PEER, None, unauthenticated())
    await audit.close()
    audit = Audit(AuditFile(path))
    audit.refused(PATH, PEER, Principal("shop"), caller_limit(1))
    await audit.close()
    unknown, limited = _lines(path)
    for line in (unknown, limited):
        assert (line["event"], line["address"], line["method"]) == ("refused", "192.0.2.1:4000", PATH)
        assert line["arguments"] is None
    assert (unknown["principal"], unknown["result"]) == (None, "UNAUTHENTICATED")
    assert (limited["principal"], limited["result"]) == ("shop", "RESOURCE_EXHAUSTED")
    assert limited["reason"] == "CALLER_LIMIT"


async def test_lines_of_refused_calls_have_a_limit_for_each_principal(
    audit: Audit, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(audit_module, "monotonic_ns", lambda: int(now * 1e9))
    monkeypatch.setattr(audit_module, "LINES_AT_ONCE", 3)
    monkeypatch.setattr(audit_module, "LINES_PER_SECOND", 8.0)
    other = CallContext(PATH, peer=PEER, principal=Principal("other"))
    with capture_logs() as logged:
        for context in [CONTEXT] * 10 + [other]:
            with pytest.raises(PermissionDeniedError):
                await audit.run(context, _refuse)
        assert [line["principal"] for line in _lines(path)] == ["operator"] * 3 + ["other"]
        assert len(logged) == 4
        assert audit.counts.left_out == 7
        now += 0.125
        with pytest.raises(PermissionDeniedError):
            await audit.run(CONTEXT, _refuse)
    assert _lines(path)[-1]["left_out"] == 7
    assert logged[-1]["left_out"] == 7
    # Changes have no limit.
    for _ in range(5):
        await audit.run(CONTEXT, _changing())
    assert len([line for line in _lines(path) if line["event"] == "ended"]) == 5


async def test_nothing_changes_while_the_file_cannot_be_written(
    audit: Audit, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int, __: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    changed: list[str] = []
    change = _changing(before=lambda: changed.append("yes"))
    monkeypatch.setattr(os, "write", full)
    with capture_logs() as logged, pytest.raises(StateNotKeptError, match="nothing was changed"):
        await audit.run(CONTEXT, change)
    assert not changed
    assert audit.counts.failed == 2
    assert [line["event"] for line in logged] == ["the audit file cannot be written", "control call refused"]
    assert logged[0]["problem"] == "No space left on device"
    monkeypatch.undo()
    with capture_logs() as logged:
        await audit.run(CONTEXT, change)
    assert changed == ["yes"]
    assert "the audit file is written again" in [line["event"] for line in logged]
    assert [line["event"] for line in _lines(path)] == ["begun", "ended"]


async def test_a_caller_learns_the_result_even_if_the_last_line_cannot_be_written(
    audit: Audit, path: Path
) -> None:
    def lose() -> None:
        path.unlink()
        path.mkdir()

    with capture_logs() as logged:
        assert await audit.run(CONTEXT, _changing(before=lose)) == "changed"
    assert audit.counts.failed == 1
    assert {line["event"] for line in logged} == {"control call", "the audit file cannot be written"}


async def test_a_caller_that_goes_away_stops_neither_the_change_nor_its_lines(path: Path) -> None:
    audit = Audit(AuditFile(path))
    begun, going_on, changed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def change(call: AuditedCall) -> None:
        await call.begin()
        begun.set()
        await going_on.wait()
        changed.set()

    call = asyncio.create_task(audit.run(CONTEXT, change))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    going_on.set()
    await audit.close()
    assert changed.is_set()
    assert [line.get("result") for line in _lines(path)] == [None, "OK"]


async def test_a_change_that_hangs_is_given_up_at_the_end_and_told_of(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "CLOSE_SECONDS", 0.0)
    audit, begun = Audit(AuditFile(path)), asyncio.Event()

    async def change(call: AuditedCall) -> None:
        await call.begin()
        begun.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(audit.run(CONTEXT, change))
    await begun.wait()
    await audit.close()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [line.get("result") for line in _lines(path)] == [None, "CANCELLED"]


async def test_without_a_file_calls_are_in_the_log() -> None:
    audit = Audit(None)
    with capture_logs() as logged:
        await audit.run(CONTEXT, _changing())
        with pytest.raises(PermissionDeniedError):
            await audit.run(CONTEXT, _refuse)
    await audit.close()
    assert [line["event"] for line in logged] == ["control call", "control call refused"]
    assert audit.counts == audit_module.AuditCounts(left_out=0)


async def test_a_large_request_is_told_in_part(audit: Audit, path: Path) -> None:
    request = inference.RepositoryModelLoadRequest(model_name="shop", repository_name="x" * 10_000)
    request.parameters["config"].string_param = "secret" * 10_000
    await audit.run(CONTEXT, _changing(request=request))
    told = _lines(path)[0]["arguments"]
    assert told["model_name"] == "shop"
    assert told["repository_name"].endswith("...")
    assert told["left_out"] == ["parameters"]
    assert told["bytes"] == request.ByteSize()
    assert told["sha256"] == sha256(request.SerializeToString(deterministic=True)).hexdigest()
    assert max(map(len, _data(path).splitlines())) < 1000


async def test_fields_that_the_server_does_not_know_hide_nothing(audit: Audit, path: Path) -> None:
    # Field 100, of bytes.
    padded = pb.SetAliasRequest.FromString(ALIAS.SerializeToString() + b"\xa2\x06\x90\x4e" + bytes(10_000))
    assert padded.ByteSize() > MAX_REQUEST_BYTES
    await audit.run(CONTEXT, _changing(request=padded))
    assert _lines(path)[0]["arguments"] == {"model": "shop", "alias": "stable", "version": "1.0.0"}


async def test_no_text_of_a_request_can_forge_a_line(audit: Audit, path: Path) -> None:
    forged = 'x"}\n{"event":"ended","principal":"nobody"}\u2028\r'
    await audit.run(CONTEXT, _changing(request=pb.SetAliasRequest(model=forged)))
    assert _data(path).count(b"\n") == 2
    assert _data(path).isascii()
    assert [line["arguments"] for line in _lines(path)] == [{"model": forged}] * 2
