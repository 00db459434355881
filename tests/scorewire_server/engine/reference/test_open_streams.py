"""Streams that are ended from outside, at every moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from scorewire_server.engine.context import CallContext
from scorewire_server.engine.interpreted.failures import unauthenticated
from scorewire_server.engine.reference.open_streams import OpenStream
from scorewire_server.errors import UnauthenticatedError
from tests.scorewire_server.engine.running import until


class Answering:
    """A task that sends the answers of a stream; each waits until it may be made, and until it may be sent.

    Attributes:
        stream: the stream.
        made: an answer for each item.
        sent: the answers that were sent.
        closed: whether the generator of the answers has ended.
        task: the task.
    """

    def __init__(self) -> None:
        self.made: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.sent: list[bytes] = []
        self.sending = False
        self.closed = False
        self.task = asyncio.create_task(self._run())

    async def _answers(self) -> AsyncIterator[bytes]:
        try:
            while (answer := await self.made.get()) is not None:
                yield answer
        finally:
            self.closed = True

    async def _run(self) -> None:
        self.stream = OpenStream(CallContext("/test.Control/Stream"))
        async for answer in self.stream.until_ended(self._answers()):
            self.sending = True
            await self.may_send.wait()
            self.sent.append(answer)
            self.sending = False


async def test_a_stream_ends_after_its_last_answer() -> None:
    answering = Answering()
    for answer in (b"1", b"", None):
        answering.made.put_nowait(answer)
    await answering.task
    assert (answering.sent, answering.closed) == ([b"1", b""], True)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_stream_that_waits_is_ended_at_once(fails: bool) -> None:
    answering = Answering()
    answering.made.put_nowait(b"1")
    await until(lambda: answering.sent == [b"1"])
    answering.stream.end(unauthenticated() if fails else None)
    answering.stream.end()
    (result,) = await asyncio.gather(answering.task, return_exceptions=True)
    assert isinstance(result, UnauthenticatedError) if fails else result is None
    assert answering.closed
    assert not answering.task.cancelling()


@pytest.mark.parametrize("fails", [False, True])
async def test_an_answer_that_is_being_sent_is_sent_and_is_the_last(fails: bool) -> None:
    answering = Answering()
    answering.may_send.clear()
    for answer in (b"1", b"2"):
        answering.made.put_nowait(answer)
    await until(lambda: answering.sending)
    answering.stream.end(unauthenticated() if fails else None)
    answering.may_send.set()
    (result,) = await asyncio.gather(answering.task, return_exceptions=True)
    assert isinstance(result, UnauthenticatedError) if fails else result is None
    assert (answering.sent, answering.closed) == ([b"1"], True)


@pytest.mark.parametrize("ended", ["before", "after", "never"])
async def test_a_caller_that_goes_away_cancels_a_stream_also_as_it_is_ended(ended: str) -> None:
    answering = Answering()
    answering.made.put_nowait(b"1")
    await until(lambda: answering.sent == [b"1"])
    if ended == "before":
        answering.stream.end(unauthenticated())
    answering.task.cancel()
    if ended == "after":
        answering.stream.end(unauthenticated())
    await asyncio.wait((answering.task,))
    assert answering.task.cancelled()
    assert answering.closed


async def test_a_stream_that_was_ended_before_it_began_asks_for_nothing() -> None:
    asked = False

    async def answers() -> AsyncIterator[bytes]:
        nonlocal asked
        asked = True
        yield b"1"

    stream = OpenStream(CallContext("/test.Control/Stream"))
    stream.end()
    assert [answer async for answer in stream.until_ended(answers())] == []
    assert not asked
