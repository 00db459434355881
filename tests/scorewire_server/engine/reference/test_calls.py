"""What a handler is told of a call, and the gate that every call passes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import monotonic

import pytest

from scorewire_contract.bundle import Bundle
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.encodings.methods import PREDICT, PREDICT_STREAM
from scorewire_server.engine.port import ControlMethod, StreamMethod, UnaryMethod
from scorewire_server.engine.reference import calls
from scorewire_server.engine.reference.engine import ReferenceEngine
from scorewire_server.errors import ControlOffError, code_and_reason
from tests.conformance.wire import PREDICT as PREDICT_PATH
from tests.scorewire_server.engine.running import TYPED_PATH, Start, failure_of, starting
from tests.scorewire_server.models import loaded_version, snapshot_of, zeros

UNARY, STREAM = "/test.Control/Note", "/test.Control/NoteAll"


class Notes:
    """A control plane that notes the contexts of its calls."""

    def __init__(self) -> None:
        self.contexts: list[CallContext] = []

    def methods(self) -> list[ControlMethod]:
        return [UnaryMethod(UNARY, self._unary), StreamMethod(STREAM, self._stream)]

    async def _unary(self, data: bytes, context: CallContext) -> bytes:
        self.contexts.append(context)
        return data

    async def _stream(self, messages: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        self.contexts.append(context)
        async for data in messages:
            yield data


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def start(notes: Notes) -> AsyncIterator[Start]:
    async with starting(lambda settings: ReferenceEngine(settings, notes.methods())) as start_one:
        yield start_one


async def test_control_handlers_are_told_who_calls_and_until_when(start: Start, notes: Notes) -> None:
    running = await start()
    metadata = (("x-name", "value"), ("x-blob-bin", b"\x00\xff"))
    assert await running.unary(b"a", UNARY, metadata=metadata) == b"a"
    stream = running.stream(STREAM, timeout=None, metadata=metadata)
    await stream.write(b"b")
    assert await stream.read() == b"b"
    await stream.done_writing()
    unary, streamed = notes.contexts
    assert (unary.method, streamed.method) == (UNARY, STREAM)
    for context in notes.contexts:
        assert set(metadata) <= set(context.metadata)
        host, _, port = context.peer.address.rpartition(":")
        assert host == "127.0.0.1"
        assert port.isdigit()
    assert unary.deadline is not None
    # gRPC rounds what is left of a deadline up on its way.
    assert 0 < unary.deadline - monotonic() < 21
    assert streamed.deadline is None
    assert streamed.seconds_left is None


async def test_every_call_passes_one_gate_before_its_first_message(
    start: Start, notes: Notes, sum_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start()
    running.engine.publish(snapshot_of(loaded_version(sum_bundle, zeros)))
    asked: list[str] = []

    def refuse(context: CallContext) -> None:
        asked.append(context.method)
        raise ControlOffError("not you")

    monkeypatch.setattr(calls, "admit", refuse)
    for path in (PREDICT_PATH, TYPED_PATH, UNARY):
        # The bytes are no message: nothing has looked at them.
        assert (await failure_of(running.unary(b"\xff", path))).reason == "CONTROL_OFF"
    for stream in (running.stream(), running.stream(STREAM)):
        assert (await failure_of(stream.read())).reason == "CONTROL_OFF"
    assert len(asked) == 5
    assert notes.contexts == []
    # Refused predictions are failed predictions; control calls are not counted.
    code, reason = code_and_reason(ControlOffError(""))
    assert running.engine.statistics.failed == {
        (PREDICT, code, reason): 1,
        ("TypedPredict", code, reason): 1,
        (PREDICT_STREAM, code, reason): 1,
    }
    assert running.engine.statistics.streams == 0
