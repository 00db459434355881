"""What control methods are told of a call, on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import monotonic

import pytest

from scorewire_server.engine.factory import choose_engine
from tests.conformance.engines import ENGINES
from tests.scorewire_server.engine.noting import STREAM, UNARY, Notes
from tests.scorewire_server.engine.running import Start, starting


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture(params=ENGINES)
async def start(notes: Notes, request: pytest.FixtureRequest) -> AsyncIterator[Start]:
    make = choose_engine(request.param).make
    async with starting(lambda settings: make(settings, notes.methods())) as start_one:
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
    # gRPC rounds the time left up.
    assert 0 < unary.deadline - monotonic() < 21
    assert streamed.deadline is None
    assert streamed.seconds_left is None
