"""The native engine finds out who calls: what the wire, the interpreter and its stop have to do with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from scorewire_contract.patterns import Patterns
from scorewire_server.engine.access import AccessTable, Credential, Grant, Principal, Rate, Right
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.interpreted.predictor import Predictor
from scorewire_server.settings import Settings
from tests import http2
from tests.conformance.callers import BANK, ECHO, KEY, OTHER_KEY, SHOP, STREAM, Control, bearer, table
from tests.conformance.engines import NATIVE_MISSING
from tests.conformance.inference import INFER, infer_request, sum_tensors
from tests.conformance.wire import PREDICT, PREDICT_STREAM
from tests.scorewire_server.engine.running import REQUEST, Start, failure_of, starting, until

pytestmark = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
NUMBER = UNAUTHENTICATED.value[0]
ONLY_BANK = {OTHER_KEY: Grant(BANK)}


@pytest.fixture
def control() -> Control:
    """What the engine of the test asks."""
    return Control()


@pytest.fixture
async def start(control: Control) -> AsyncIterator[Start]:
    """Starts engines that ask who calls, and stops them after the test."""
    from scorewire_server.engine.native.engine import NativeEngine

    def make(settings: Settings) -> NativeEngine:
        return NativeEngine(settings, control.methods(), access=control.options(table(), frozenset({ECHO})))

    async with starting(make, threads=2) as start_one:
        yield start_one


def _status(address: str, *fields: tuple[str, str | bytes], path: str = PREDICT) -> int:
    """The status of a call with these header fields."""
    with http2.Connection(address) as connection:
        connection.take_settings()
        connection.send(http2.call(1, path, REQUEST, fields))
        return connection.until_end(1)[-1].status


async def test_an_entry_that_http_forbids_counts_as_one(start: Start) -> None:
    running = await start()
    good, bad = ("authorization", f"Bearer {KEY}"), ("authorization", b"Bearer \x00")
    # There is no model, so this failure shows that the call was let in.
    assert await asyncio.to_thread(_status, running.address, good) == grpc.StatusCode.NOT_FOUND.value[0]
    for fields in ((good, bad), (bad, good), (bad,), (("authorization", b"Bearer "),)):
        assert await asyncio.to_thread(_status, running.address, *fields) == NUMBER, fields
    assert running.engine.statistics.credentials_refused["malformed"] == 4

    # The next call of the connection is another matter.
    def next_call() -> int:
        with http2.Connection(running.address) as connection:
            connection.take_settings()
            connection.send(http2.call(1, PREDICT, REQUEST, (good, bad)))
            connection.until_end(1)
            connection.send(http2.call(3, ECHO, b"", (good,)))
            return len(connection.until_end(3))

    # Headers, the message, and trailers.
    assert await asyncio.to_thread(next_call) == 3


@pytest.mark.parametrize("path", [PREDICT, PREDICT_STREAM, STREAM])
async def test_a_message_that_comes_after_its_key_has_gone_has_no_answer(start: Start, path: str) -> None:
    running = await start()
    with http2.Connection(running.address) as connection:
        await asyncio.to_thread(connection.take_settings)
        block = http2.grpc_head(path, bearer(KEY))
        # The server answers the second call after it has begun the first.
        connection.send(http2.head(1, block) + http2.call(3, ECHO, b"", bearer(OTHER_KEY)))
        await asyncio.to_thread(connection.until_end, 3)
        running.engine.use_access(table(ONLY_BANK))
        connection.send(http2.frame(http2.DATA, http2.END_STREAM, 1, http2.message(REQUEST)))
        frames = await asyncio.to_thread(connection.until_end, 1)
    # The name of the status is in the table of the connection by now, so the frames are counted.
    assert [frame.kind for frame in frames] == [http2.HEADERS]
    assert running.engine.statistics.credentials_refused["unknown"] == 1


async def test_who_has_lost_its_principal_on_the_way_to_the_interpreter_is_refused(start: Start) -> None:
    running = await start()
    with grpc.insecure_channel(running.address) as channel:
        method: Any = channel.unary_unary(ECHO)
        call = method.future(b"", metadata=bearer(KEY), timeout=60)
        # On the same connection, so that it arrives after that call. It is refused without the interpreter.
        refused: Any = channel.unary_unary(PREDICT)
        with pytest.raises(grpc.RpcError):
            refused(REQUEST, timeout=60)
        alone = AccessTable(principals={BANK.name: BANK}, keys=table(ONLY_BANK).keys)
        running.engine.use_access(alone)
        error = await asyncio.to_thread(call.exception)
    assert error.code() == UNAUTHENTICATED


async def test_a_verification_that_raises_is_a_fault_and_refuses(
    start: Start, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def verify(_: Credential) -> Grant | None:
        raise ValueError("a fault")

    monkeypatch.setattr(control, "verify", verify)
    running = await start()
    with capture_logs() as logged:
        assert (await failure_of(running.unary(metadata=bearer("a.b.c")))).code == UNAUTHENTICATED
    (line,) = logged
    assert line["method"] == "verify"


async def test_a_stop_ends_the_verifications_under_way(start: Start, control: Control) -> None:
    running = await start()
    control.may_answer.clear()
    calls = [
        asyncio.ensure_future(running.unary(path=path, metadata=bearer("a.b.c"))) for path in (PREDICT, ECHO)
    ]
    await until(lambda: len(control.asked) == 1)
    before = len(asyncio.all_tasks())
    await running.engine.stop(0.05)
    assert all(isinstance(each, Exception) for each in await asyncio.gather(*calls, return_exceptions=True))
    assert len(asyncio.all_tasks()) < before


async def test_a_table_needs_an_engine_that_asks_who_calls() -> None:
    from scorewire_server.engine.native.engine import NativeEngine

    engine = NativeEngine(Settings(listen="127.0.0.1:0"), [])
    with pytest.raises(ValueError, match="without access"):
        engine.use_access(table())
    assert engine.statistics.credentials_refused == {}


async def test_refused_calls_that_are_not_told_one_by_one_are_counted(start: Start, control: Control) -> None:
    running = await start()

    def flood() -> None:
        """Calls that are refused while the event loop is blocked."""
        with http2.Connection(running.address) as connection:
            connection.take_settings()
            connection.send(b"".join(http2.call(number, ECHO, b"") for number in range(1, 161, 2)))
            connection.until_end(159)

    with capture_logs() as logged:
        flood()
        await until(lambda: bool(control.refused))
    assert len(control.refused) == 64
    (line,) = logged
    assert line["calls"] == 16


def test_a_table_is_told_with_the_seconds_that_are_left() -> None:
    from scorewire_server.engine.native.access import table_parts

    patterns = Patterns(frozenset({"b", "a"}), ("game-",))
    limited = Principal("limited", {Right.PREDICT: patterns})
    now = time.time()
    keys = {b"1" * 32: Grant(limited, now + 60), b"2" * 32: Grant(SHOP), b"3" * 32: Grant(SHOP, now - 60)}
    told = table_parts(
        AccessTable(
            principals={"shop": SHOP, "limited": limited},
            keys=keys,
            failures=Rate(3, 4),
            open_paths=frozenset({"/s/m"}),
        )
    )
    assert [each["name"] for each in told["principals"]] == ["shop", "limited"]
    assert told["principals"][1]["predict"] == (["a", "b"], ["game-"])
    assert (told["failures"], told["open_paths"]) == ((3, 4), {"/s/m"})
    (first, second, third) = told["keys"]
    assert (first[:2], second, third[:2]) == ((b"1" * 32, 1), (b"2" * 32, 0, None), (b"3" * 32, 0))
    assert first[2] is not None
    assert 0 < first[2] <= 60
    assert third[2] is not None
    assert third[2] <= -60


async def test_a_principal_takes_no_more_than_its_share_of_the_calls_that_python_answers(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_answer = asyncio.Event()
    answering: list[str] = []

    async def answer(_: Predictor, method: object, context: CallContext, data: bytes) -> bytes:
        answering.append(context.principal_name)
        await may_answer.wait()
        return b""

    monkeypatch.setattr(Predictor, "answer", answer)
    # Half of them may be in Python.
    running = await start(max_in_flight=16)
    # There is no model, so Python has to word the failure.
    data = infer_request("sum", sum_tensors()).SerializeToString()

    def call(key: str) -> asyncio.Future[bytes]:
        return asyncio.ensure_future(running.unary(data, path=INFER, metadata=bearer(key), timeout=60))

    others = [call(OTHER_KEY)]
    await until(lambda: answering == ["bank"])
    calls = [call(KEY) for _ in range(8)]
    await until(lambda: len(answering) + sum(each.done() for each in calls) == 9)
    assert answering.count("shop") == 4
    others.append(call(OTHER_KEY))
    await until(lambda: answering.count("bank") == 2)
    may_answer.set()
    assert await asyncio.gather(*others) == [b"", b""]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert results.count(b"") == 4
    failures = [await failure_of(each) for each in calls if each.exception()]
    assert {failure.reason for failure in failures} == {"OVERLOADED"}
    assert running.engine.statistics.principals["shop"].refused["share"] == len(failures) == 4
