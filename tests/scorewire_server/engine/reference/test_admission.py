"""The reference engine asks who calls: unary calls, and streams that are open while that changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import time
from typing import Any

import pytest
from google.rpc import code_pb2
from structlog.testing import capture_logs

from scorewire_contract.bundle import Bundle
from scorewire_contract.patterns import Patterns
from scorewire_proto.v1 import errors_pb2, prediction_pb2
from scorewire_server.engine.access import Grant, Principal, Rate, Right
from scorewire_server.engine.encodings.methods import PREDICT, PREDICT_STREAM
from scorewire_server.engine.interpreted.limits import Gcra
from scorewire_server.engine.reference import admission
from scorewire_server.engine.reference.engine import ReferenceEngine
from scorewire_server.errors import DeadlineExceededError, PermissionDeniedError, UnauthenticatedError
from tests.conformance.wire import PREDICT as PREDICT_PATH
from tests.conformance.wire import PREDICT_STREAM as PREDICT_STREAM_PATH
from tests.scorewire_server.engine.noting import STREAM, UNARY, Notes
from tests.scorewire_server.engine.reference.callers import (
    GAME,
    KEY,
    SHOP,
    Verifier,
    bearing,
    calling,
    ends,
    table_of,
)
from tests.scorewire_server.engine.running import (
    BATCH_ROW_NS,
    MESSAGE,
    TYPED_PATH,
    RunningEngine,
    failure_of,
    starting,
    until,
    use_and_abandon,
)
from tests.scorewire_server.models import loaded_version, snapshot_of, zeros

UNKNOWN = "/test.Control/Unknown"
# A right to another model only.
ELSEWHERE = Principal("shop", {Right.PREDICT: Patterns(frozenset({"other"}))})


@pytest.fixture
def verifier() -> Verifier:
    return Verifier(a_b_c=Grant(SHOP))


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def running(verifier: Verifier, notes: Notes, sum_bundle: Bundle) -> AsyncIterator[RunningEngine]:
    """An engine that serves the sum to `SHOP`."""
    options = verifier.options(audited=frozenset({UNARY}))
    async with starting(lambda settings: ReferenceEngine(settings, notes.methods(), access=options)) as start:
        engine = await start()
        engine.engine.publish(snapshot_of(loaded_version(sum_bundle, zeros)))
        yield engine


def showing(token: str = KEY) -> dict[str, Any]:
    """The options of a call that shows a token."""
    return {"metadata": (("authorization", f"Bearer {token}"),)}


async def reason(call: Any) -> str:
    failure = await failure_of(call)
    if failure.status is None:
        return str(failure.code.name)
    return failure.reason


async def ask(stream: Any) -> prediction_pb2.PredictStreamResponse:
    """The answer to a message of a stream of predictions."""
    await stream.write(MESSAGE)
    return prediction_pb2.PredictStreamResponse.FromString(await stream.read())


async def test_calls_with_a_credential_are_answered_and_all_others_refused(
    running: RunningEngine, notes: Notes
) -> None:
    assert await running.unary(**showing())
    assert await running.unary(**showing("a.b.c"))
    assert await running.unary(b"1", UNARY, **showing()) == b"1"
    stream = running.stream(**showing())
    assert (await ask(stream)).HasField("response")
    assert [each.principal for each in notes.contexts] == [SHOP]
    for options in ({}, showing("a.b.d"), showing("key")):
        for path in (PREDICT_PATH, TYPED_PATH, UNARY, UNKNOWN):
            # The bytes do not parse, and nothing has tried to parse them.
            assert await reason(running.unary(b"\xff", path, **options)) == "UNAUTHENTICATED"
        for path in (PREDICT_STREAM_PATH, STREAM, UNKNOWN):
            assert await reason(running.stream(path, **options).read()) == "UNAUTHENTICATED"
    assert len(notes.contexts) == 1
    assert await reason(running.unary(b"", UNKNOWN, **showing())) == "UNIMPLEMENTED"
    assert running.engine.statistics.streams == 1


async def test_refused_predictions_count_as_failed(running: RunningEngine) -> None:
    for path in (PREDICT_PATH, TYPED_PATH, UNARY, UNKNOWN):
        await reason(running.unary(path=path))
    await reason(running.stream().read())
    refused = {(code_pb2.UNAUTHENTICATED, errors_pb2.ERROR_REASON_UNAUTHENTICATED): 1}
    counted = running.engine.statistics.calls.items()
    assert {key: each.failed for key, each in counted if each.failed} == {
        ("", "", name): refused for name in (PREDICT, "TypedPredict", PREDICT_STREAM)
    }


async def test_methods_of_models_that_are_still_loading_need_a_credential(
    running: RunningEngine, sum_bundle: Bundle
) -> None:
    running.engine.publish(snapshot_of(), loading=True)
    waiting = asyncio.ensure_future(running.unary(b"", TYPED_PATH, **showing()))
    assert await reason(running.unary(b"", TYPED_PATH)) == "UNAUTHENTICATED"
    assert await reason(running.unary(b"", UNKNOWN)) == "UNAUTHENTICATED"
    assert not waiting.done()
    running.engine.publish(snapshot_of(loaded_version(sum_bundle, zeros)))
    # The row lacks a required feature, so this failure shows that the call has reached the model.
    assert await reason(waiting) == "INVALID_REQUEST"


async def test_a_model_without_the_right_is_refused_whether_it_exists_or_not(running: RunningEngine) -> None:
    running.engine.use_access(table_of(keys={KEY: Grant(ELSEWHERE)}, principals=(ELSEWHERE,)))
    assert await reason(running.unary(**showing())) == "PERMISSION_DENIED"
    assert await reason(running.unary(b"", TYPED_PATH, **showing())) == "PERMISSION_DENIED"
    absent = prediction_pb2.PredictRequest(model="absent").SerializeToString()
    assert await reason(running.unary(absent, **showing())) == "PERMISSION_DENIED"
    assert await reason(running.unary(b"\xff", **showing())) == "MALFORMED_MESSAGE"
    # Also while it may still be loaded.
    running.engine.publish(snapshot_of(), loading=True)
    assert await reason(running.unary(**showing())) == "PERMISSION_DENIED"
    stream = running.stream(**showing())
    answer = await ask(stream)
    assert (answer.correlation_id, answer.error.code) == (1, code_pb2.PERMISSION_DENIED)
    # The stream lives on.
    running.engine.use_access(table_of())
    running.engine.publish(snapshot_of())
    assert (await ask(stream)).error.code == code_pb2.NOT_FOUND


async def test_refused_calls_that_change_something_are_told_to_the_control_plane_within_bounds(
    running: RunningEngine, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_TOLD", Rate(1e-3, 64))
    for path in (UNARY, STREAM, PREDICT_PATH, UNKNOWN):
        await reason(running.unary(path=path))
    assert [path for path, *_ in verifier.refused] == [UNARY]
    assert verifier.refused[0][1].host == "127.0.0.1"
    with capture_logs() as logged:
        await asyncio.gather(*(reason(running.unary(path=UNARY)) for _ in range(100)))
        assert len(verifier.refused) == 64
        running.engine._admission._told = Gcra()
        await reason(running.unary(path=UNARY))
    assert len(verifier.refused) == 65
    assert [(line["log_level"], line["calls"]) for line in logged] == [("warning", 37)]
    assert running.engine.statistics.credentials_refused["missing"] == 105


@asynccontextmanager
async def _streams(running: RunningEngine, token: str) -> AsyncIterator[list[Any]]:
    """Streams that are open and idle: of predictions and of the control plane."""
    streams = [running.stream(path, **showing(token)) for path in (PREDICT_STREAM_PATH, STREAM)]
    for stream in streams:
        await stream.write(MESSAGE)
        await stream.read()
    # And one that has sent nothing yet.
    streams.append(running.stream(**showing(token)))
    await until(lambda: len(running.engine._admission._streams) == len(streams))
    yield streams
    for stream in streams:
        stream.cancel()


@pytest.mark.parametrize("token", [KEY, "a.b.c"])
async def test_open_streams_end_once_their_credential_is_not_valid_any_more(
    running: RunningEngine, verifier: Verifier, token: str
) -> None:
    async with _streams(running, token) as streams:
        del verifier.grants[b"a.b.c"]
        running.engine.use_access(table_of(keys={}))
        for stream in streams:
            assert await reason(stream.read()) == "UNAUTHENTICATED"
        await until(lambda: running.engine.statistics.streams == 0)
    assert running.engine._admission._streams == set()


@pytest.mark.parametrize("token", [KEY, "a.b.c"])
async def test_open_streams_go_on_with_the_new_principal(
    running: RunningEngine, verifier: Verifier, token: str
) -> None:
    async with _streams(running, token) as (predictions, control, silent):
        verifier.grants[b"a.b.c"] = Grant(GAME)
        running.engine.use_access(table_of(keys={KEY: Grant(GAME)}))
        open_now = running.engine._admission._streams
        await until(lambda: all(each.context.principal is GAME for each in open_now))
        # This principal has no right to the model.
        for stream in (predictions, silent):
            assert (await ask(stream)).error.code == code_pb2.PERMISSION_DENIED
        await control.write(b"1")
        assert await control.read() == b"1"


@pytest.mark.parametrize("token", [KEY, "a.b.c"])
async def test_open_streams_end_when_their_credential_expires(
    running: RunningEngine, verifier: Verifier, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier.grants[b"a.b.c"] = ends(3600)
    running.engine.use_access(table_of(keys={KEY: ends(3600)}))
    async with _streams(running, token) as streams:
        # As if the timers had run out, and the credential had not expired yet; then as if it had.
        monkeypatch.setattr(admission, "_LONGEST_TIMER_SECONDS", 0.01)
        running.engine.use_access(table_of(keys={KEY: ends(3600)}))
        assert (await ask(streams[0])).HasField("response")
        monkeypatch.setattr("scorewire_server.engine.access.time", lambda: time() + 3600)
        for stream in streams:
            assert await reason(stream.read()) == "UNAUTHENTICATED"


async def test_a_removed_key_ends_its_streams_while_other_credentials_are_still_verified(
    running: RunningEngine, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_CHECKS", 1)
    streams = [running.stream(**showing(token)) for token in ("a.b.c",) * 8 + (KEY,)]
    for stream in streams:
        await ask(stream)
    verifier.may_answer.clear()
    running.engine.use_access(table_of(keys={}))
    assert await reason(streams[-1].read()) == "UNAUTHENTICATED"
    assert len(running.engine._admission._streams) == 8
    verifier.may_answer.set()
    for stream in streams:
        stream.cancel()


async def test_streams_of_methods_that_become_closed_end(running: RunningEngine, verifier: Verifier) -> None:
    table = table_of()
    running.engine.use_access(replace(table, open_paths=frozenset({STREAM})))
    stream = running.stream(STREAM)
    await stream.write(b"1")
    assert await stream.read() == b"1"
    running.engine.use_access(table)
    assert await reason(stream.read()) == "UNAUTHENTICATED"


async def test_a_stream_with_messages_on_their_way_ends_once(running: RunningEngine) -> None:
    stream = running.stream(**showing())
    assert (await ask(stream)).HasField("response")
    for _ in range(50):
        await stream.write(MESSAGE)
    running.engine.use_access(table_of(keys={}))
    await until(lambda: running.engine.statistics.streams == 0)

    async def read_all() -> None:
        while await stream.read():
            pass

    assert await reason(read_all()) == "UNAUTHENTICATED"


async def test_many_new_tables_leave_one_round_of_checks(running: RunningEngine, verifier: Verifier) -> None:
    async with _streams(running, "a.b.c") as streams:
        verifier.may_answer.clear()
        for _ in range(100):
            running.engine.use_access(table_of())
            await asyncio.sleep(0)
        assert len(running.engine._admission._rounds) <= len(streams)
        verifier.may_answer.set()
        assert (await ask(streams[0])).HasField("response")


async def test_nothing_is_left_of_calls_and_streams_with_credentials(
    running: RunningEngine, sum_bundle: Bundle
) -> None:
    running.engine.publish(snapshot_of(loaded_version(sum_bundle, zeros, row_ns=BATCH_ROW_NS)))
    original = running.unary, running.stream
    running.unary = lambda **options: original[0](**options, **showing("a.b.c"))  # type: ignore[method-assign]
    running.stream = lambda path, **options: original[1](path, **options, **showing())  # type: ignore[method-assign]
    statistics, streams = running.engine.statistics, running.engine._admission._streams

    def ended() -> bool:
        return statistics.in_flight == statistics.streams == len(streams) == 0

    await use_and_abandon(running, PREDICT_STREAM_PATH, STREAM)
    await until(ended)
    before = len(asyncio.all_tasks())
    for _ in range(3):
        await use_and_abandon(running, PREDICT_STREAM_PATH, STREAM)
        running.engine.use_access(table_of(keys={KEY: ends(60)}))
    await until(ended)
    await until(lambda: len(asyncio.all_tasks()) <= before)


async def test_a_deadline_that_has_passed_tells_nothing_of_methods(
    verifier: Verifier,
) -> None:
    gate = admission.Admission(verifier.options(), 8)
    context = replace(calling(), deadline=0.0)
    with pytest.raises(UnauthenticatedError):
        await gate.admit(context)
    with pytest.raises(DeadlineExceededError):
        await gate.admit(replace(bearing(KEY), deadline=0.0))
    with pytest.raises(PermissionDeniedError):
        await gate.admit(replace(bearing(KEY, path="/scorewire.models.other.v1.A/B"), deadline=0.0))
    await gate.close()
