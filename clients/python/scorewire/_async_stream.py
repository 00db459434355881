"""The open stream of a `PredictStream` call in asyncio, and the source of its rows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import grpc

from scorewire._errors import CancelledError, InternalError, UnavailableError
from scorewire._metadata import Pairs
from scorewire._rows import Rows
from scorewire._stream import StreamWindow
from scorewire._stream_steps import (
    END,
    FINISH_SECONDS,
    LATER,
    Mark,
    Open,
    Receive,
    Send,
    check_received,
    expired,
)
from scorewire_proto.v1 import packed_pb2

# The message that grpc.aio gives for any status where a stream ends while a request
# is being written (grpc/grpc#36066). Reopening the stream shows the real status.
_BROKEN_WRITE = "Internal error from Core"
# The most rows that are taken in one go, which costs less than one by one.
_MAX_TAKEN = 100


class Source:
    """The caller's rows, for the steps of a stream that take them.

    A task of its own takes them from an async iterable, so that results need not
    wait for the next rows. It is one task for all rows, because an async generator
    may have a timeout or a cancel scope around its `yield`. It takes what there is
    room for, but no more than one batch at a time.
    """

    def __init__(self, batches: Iterable[Rows] | AsyncIterable[Rows], window: StreamWindow) -> None:
        self._batches = batches
        self._window = window
        self._rows: deque[Rows] = deque()
        self._wanted = 0
        self._asked = asyncio.Event()
        self._news = asyncio.Event()
        self._iterator = None if isinstance(batches, AsyncIterable) else iter(batches)
        self._task: asyncio.Task[None] | None = None

    async def take(self) -> Rows | Mark:
        """The next rows, or END; LATER if a response arrives before them."""
        if self._iterator is not None:
            return next(self._iterator, END)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="scorewire-rows")
            self._task.add_done_callback(lambda _: self.wake())
        if not self._rows:
            self._wanted = min(self._window.room, _MAX_TAKEN)
            self._asked.set()
        while True:
            if self._rows:
                return self._rows.popleft()
            if self._task.done():
                self._task.result()  # raises the error of the caller's iterable
                return END
            if self._window.has_news:
                return LATER
            self._news.clear()
            await self._news.wait()

    def wake(self) -> None:
        """Let `take` look whether a response has arrived."""
        self._news.set()

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        async for rows in self._batches:  # type: ignore[union-attr]  # an async iterable, as `take` found
            if isinstance(rows, Mapping):
                # A copy, because the caller may change the row before it is taken from here.
                self._rows.append(dict(rows))
                self._wanted -= 1
            else:
                self._rows.append(rows)
                self._wanted = 0
            self._news.set()
            if self._wanted <= 0:
                self._asked.clear()
                await self._asked.wait()


class Stream:
    """The open stream of a flow, if it has one; calls `wake` after each response.

    A task of its own reads the responses. Otherwise the client could block on
    sending while the server blocks on sending, too.
    """

    def __init__(
        self,
        stub: Callable[[], Any],
        window: StreamWindow,
        show: Callable[[], Awaitable[Pairs]],
        wake: Callable[[], None],
    ) -> None:
        self._stub = stub
        self._window = window
        self._show = show
        self._shown: Pairs = ()
        self._wake = wake
        self._call: Any = None

    async def do(self, step: Open | Send | Receive) -> Any:
        match step:
            case Open():
                await self.aclose()
                before, self._shown = self._shown, await self._show()
                if step.refused is not None and self._shown == before:
                    raise step.refused
                self._window.opening()
                self._open()
            case Send():
                self._requests.put_nowait(step.request)
                # Batches that are there at once would else keep the event loop from sending.
                await asyncio.sleep(0)
            case Receive():
                return await self._receive(step)
        return None

    async def finish(self) -> None:
        """Half-close the stream, and give the server a moment to end it."""
        self._requests.put_nowait(None)
        await asyncio.wait([self._reader], timeout=FINISH_SECONDS)

    async def aclose(self) -> None:
        if self._call is not None:
            self._requests.put_nowait(None)
            self._call.cancel()
            await asyncio.wait([self._reader])

    def _open(self) -> None:
        self._requests: asyncio.Queue[packed_pb2.PackedPredictStreamRequest | None] = asyncio.Queue()
        self._responses: asyncio.Queue[Any] = asyncio.Queue()
        self._call = self._stub()(_until_none(self._requests), metadata=self._shown)
        self._reader = asyncio.create_task(
            _read(self._call, self._window, self._requests, self._responses, self._wake),
            name="scorewire-stream",
        )

    async def _receive(self, step: Receive) -> Any:
        try:
            async with asyncio.timeout(step.timeout):
                received = await self._responses.get()
        except TimeoutError:
            raise expired(step) from None
        if isinstance(received, asyncio.CancelledError):
            raise CancelledError("the client was closed") from received
        try:
            return check_received(received)
        except InternalError as error:
            if str(error) == _BROKEN_WRITE:
                raise UnavailableError("the stream broke while a request was on its way") from error
            raise


async def _until_none(
    requests: asyncio.Queue[packed_pb2.PackedPredictStreamRequest | None],
) -> AsyncIterator[packed_pb2.PackedPredictStreamRequest]:
    while (request := await requests.get()) is not None:
        yield request


async def _read(
    call: Any,
    window: StreamWindow,
    requests: asyncio.Queue[packed_pb2.PackedPredictStreamRequest | None],
    responses: asyncio.Queue[Any],
    wake: Callable[[], None],
) -> None:
    """Move the stream's responses to the queue, and last the error that ended it, or END."""
    end: Any = END
    try:
        async for response in call:
            if (request := window.arrived()) is not None:
                requests.put_nowait(request)
            responses.put_nowait(response)
            wake()
    except (grpc.RpcError, asyncio.CancelledError) as error:
        end = error
    window.ended()
    responses.put_nowait(end)
    wake()
