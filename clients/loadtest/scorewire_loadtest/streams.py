"""A transport over bidirectional streams, where each message is one call.

Responses come in the order of the messages. If a stream breaks, the calls in
flight on it fail, and the next call opens the stream again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from scorewire_loadtest.calls import PreparedCall
from scorewire_loadtest.target import Target
from scorewire_loadtest.transport import (
    PREDICT_STREAM,
    Reply,
    close_all,
    code_name,
    failure,
    metadata_of,
    reason_of,
)
from scorewire_proto.v1 import packed_pb2

_NS_PER_SECOND = 1_000_000_000
# The period of the search for overdue calls, as a share of the timeout.
_SWEEP_SHARE = 0.05
# A write that waits this much longer than the timeout breaks the stream.
_STUCK_S = 1.0
_CORRELATION_TAG = b"\x08"
_REQUEST_TAG = b"\x12"


class StreamTransport:
    """Calls PredictStream, on the streams in turn.

    Args:
        target: the server.
        connections: the number of connections.
        streams: the number of streams, spread over the connections.
        timeout_s: the timeout of a call in seconds.
    """

    def __init__(self, target: Target, *, connections: int, streams: int, timeout_s: float) -> None:
        self._channels = [target.connect(turn) for turn in range(connections)]
        metadata = metadata_of(target)
        self._streams = [
            _Stream(self._channels[i % connections], timeout_s, metadata) for i in range(streams)
        ]
        self._turn = 0

    async def call(self, call: PreparedCall) -> Reply:
        """As in `Transport`."""
        self._turn = turn = (self._turn + 1) % len(self._streams)
        return await self._streams[turn].call(call)

    async def close(self) -> None:
        """As in `Transport`."""
        await asyncio.gather(*(stream.close() for stream in self._streams))
        await close_all(self._channels)


class _Pending:
    """A message without a response so far."""

    __slots__ = ("correlation_id", "deadline_ns", "reply")

    def __init__(self, correlation_id: int, deadline_ns: int) -> None:
        self.correlation_id = correlation_id
        self.deadline_ns = deadline_ns
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def resolve(self, reply: Reply) -> None:
        if not self.reply.done():
            self.reply.set_result(reply)


class _Stream:
    """A stream, which is reopened when it breaks, and its messages in flight."""

    def __init__(
        self, channel: grpc.aio.Channel, timeout_s: float, metadata: tuple[tuple[str, str], ...]
    ) -> None:
        self._metadata = metadata
        self._method: Any = channel.stream_stream(PREDICT_STREAM)
        self._timeout_s = timeout_s
        self._timeout_ns = int(timeout_s * _NS_PER_SECOND)
        # gRPC allows one write at a time, and responses come in the order of the writes.
        self._writing = asyncio.Lock()
        self._stream: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._pending: deque[_Pending] = deque()
        self._last_id = 0

    async def call(self, call: PreparedCall) -> Reply:
        deadline_ns = time.monotonic_ns() + self._timeout_ns
        async with self._writing:
            left_ns = deadline_ns - time.monotonic_ns()
            if left_ns <= 0:
                # The server reads too slowly. If it is stuck, the timeouts of waiting calls must not add up.
                return Reply(
                    time.monotonic_ns(), "DEADLINE_EXCEEDED", message="the stream took no message in time"
                )
            if self._stream is None:
                self._open()
            self._last_id += 1
            pending = _Pending(self._last_id, deadline_ns)
            self._pending.append(pending)
            stream = self._stream
            try:
                # If the server stops reading, the write blocks. Its timeout breaks the stream.
                async with asyncio.timeout(left_ns / _NS_PER_SECOND + _STUCK_S):
                    await stream.write(encode(self._last_id, call.request))
            except TimeoutError:
                pending.resolve(Reply(time.monotonic_ns(), "DEADLINE_EXCEEDED"))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                # The stream is broken. The reader fails this call with the stream's status.
                pass
            except asyncio.CancelledError:
                # Either the reader cancelled the stream, which is handled as above, or this task was.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
        return await pending.reply

    async def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    def _open(self) -> None:
        stream = self._stream = self._method(metadata=self._metadata)
        self._reader = asyncio.get_running_loop().create_task(self._read(stream))
        if self._sweep is None:
            self._expire()

    async def _read(self, stream: Any) -> None:
        """Deliver responses until the stream ends; then fail the calls in flight."""
        ending = Reply(0, "UNAVAILABLE", message="the server ended the stream")
        try:
            while (body := await stream.read()) is not grpc.aio.EOF:
                if not self._hand_out(time.monotonic_ns(), body):
                    stream.cancel()
        except grpc.aio.AioRpcError as error:
            ending = failure(0, error)
        except asyncio.CancelledError:
            # This client cancels after a response out of order or a slow write, and at the end of the run.
            ending = Reply(0, "CANCELLED", message="the stream was given up")
            stream.cancel()
        finally:
            self._stream = None
            done_ns = time.monotonic_ns()
            while self._pending:
                self._pending.popleft().resolve(Reply(done_ns, ending.code, ending.reason, ending.message))

    def _hand_out(self, done_ns: int, body: bytes) -> bool:
        """Deliver a response to the oldest call in flight; False if it does not belong to that call."""
        try:
            message = packed_pb2.PackedPredictStreamResponse.FromString(body)
        except DecodeError:
            message = packed_pb2.PackedPredictStreamResponse()
        if not self._pending:
            return False
        pending = self._pending.popleft()
        if message.correlation_id != pending.correlation_id:
            pending.resolve(Reply(done_ns, "OK", message="an answer came out of order"))
            return False
        if message.HasField("error"):
            error = message.error
            reply = Reply(done_ns, code_name(error.code), reason_of(error), error.message)
        elif message.HasField("response"):
            reply = Reply(done_ns, "OK", response=message.response)
        else:
            reply = Reply(done_ns, "OK")
        pending.resolve(reply)
        return True

    def _expire(self) -> None:
        """Fail overdue calls. They stay in the queue, so that a late response is matched to its call."""
        now_ns = time.monotonic_ns()
        for pending in self._pending:
            if pending.deadline_ns > now_ns:
                break
            pending.resolve(Reply(now_ns, "DEADLINE_EXCEEDED", message="no answer on the stream in time"))
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(self._timeout_s * _SWEEP_SHARE, self._expire)


def encode(correlation_id: int, request: bytes) -> bytes:
    """Serialize a PredictStreamRequest around a request that is already serialized."""
    return b"".join((_CORRELATION_TAG, _varint(correlation_id), _REQUEST_TAG, _varint(len(request)), request))


def _varint(value: int) -> bytes:
    """Encode a base-128 varint of the protobuf wire format."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
