"""The messages of a call on the reference engine: gzip up to a limit, and bytes that are held.

gRPC's C core inflates a whole message before it checks its size
(github.com/grpc/grpc/issues/23177), so a small message could take all memory.
Therefore the core hands messages over as they came, and a message that begins like
gzip is inflated here, up to the limit. No valid message begins like gzip: the first
byte would be a protobuf field of wire type 7, which does not exist.

The core compresses answers, since it knows whether the caller accepts gzip. This
module only tells it which answers to leave alone.
"""

from __future__ import annotations

import zlib
from asyncio import wrap_future
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

import grpc
from grpc import aio

from scorewire_server.engine.interpreted.failures import too_many_bytes
from scorewire_server.engine.reference.quota import FREE_BYTES, Quota

# The core's bits: bit 0 is identity, bit 2 is gzip.
_IDENTITY_AND_GZIP = 0b101
_LOW = 1
OPTIONS = (
    ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_AND_GZIP),
    ("grpc.per_message_decompression", 0),
    # With a level instead of an algorithm, the core picks an algorithm that the caller accepts.
    ("grpc.default_compression_level", _LOW),
)
# The core adds this metadata to answers, but not to calls that fail without an answer.
ACCEPTED = ("grpc-accept-encoding", "identity,gzip")
_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
# Larger messages are inflated in a thread, so that the event loop goes on.
_INLINE_BYTES = 1 << 16
# Shorter answers are not compressed.
_MIN_BYTES = 1 << 10

_Context: TypeAlias = "aio.ServicerContext[bytes, bytes]"
_Submit: TypeAlias = "Callable[[Callable[[], bytes]], Future[bytes]]"


class MessageError(Exception):
    """A message cannot be read for a reason of gRPC's own protocol; the text is for the caller."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Messages:
    """The messages and the answers of one call.

    Args:
        context: grpc's context of the call.
        max_bytes: the most bytes of an inflated message.
        submit: runs a function in a thread.
        quota: bounds the bytes of answers that were not sent yet.
    """

    __slots__ = ("_context", "_held", "_max_bytes", "_quota", "_submit", "_zipped")

    def __init__(self, context: _Context, max_bytes: int, submit: _Submit, quota: Quota) -> None:
        self._context = context
        self._max_bytes = max_bytes
        self._submit = submit
        self._quota = quota
        self._held: int | None = None
        self._zipped = False

    async def read(self) -> bytes | None:
        """The next message, inflated; None after the last one.

        Raises:
            MessageError: the message is broken gzip, or too large.
        """
        # Any, since grpc's types do not know EOF here.
        data: Any = await self._context.read()
        if data is aio.EOF:
            return None
        self._zipped = data.startswith(_MAGIC)
        return await self._inflate(data) if self._zipped else data

    async def read_only(self) -> bytes:
        """The only message of a unary call.

        Raises:
            MessageError: there is no message or more than one, or the message is broken gzip, or too
                large.
        """
        message = await self.read()
        if message is not None:
            behind: Any = await self._context.read()
            if behind is aio.EOF:
                return message
        raise MessageError(grpc.StatusCode.UNIMPLEMENTED, "a unary call has one message")

    async def read_all(self) -> AsyncIterator[bytes]:
        """All messages of a stream.

        Raises:
            MessageError: a message is broken gzip, or too large.
        """
        while (message := await self.read()) is not None:
            yield message

    def write(self, answer: bytes) -> bytes:
        """The same answer, after it was counted and marked for compression.

        An answer is compressed if it is long and the last message was compressed.

        Raises:
            TooManyInFlightError: callers hold too many bytes of answers.
        """
        if len(answer) > FREE_BYTES or self._held:
            self.hold(len(answer))
        if not self._zipped or len(answer) <= _MIN_BYTES:
            self._context.disable_next_message_compression()
        return answer

    def hold(self, count: int) -> None:
        """Count the bytes of an answer as held, until the next answer or the end of the call.

        Raises:
            TooManyInFlightError: callers would hold too many bytes of answers.
        """
        peer = self._context.peer()
        if self._held is None:
            # Any, since grpc's types and its objects differ here.
            context: Any = self._context
            context.add_done_callback(lambda _: self._quota.give(peer, self._held or 0))
        self._quota.give(peer, self._held or 0)
        self._held = 0
        if not self._quota.take(peer, count):
            raise too_many_bytes()
        self._held = count

    async def _inflate(self, data: bytes) -> bytes:
        inflater = zlib.decompressobj(_GZIP_WINDOW)

        def more(rest: bytes, limit: int) -> bytes:
            try:
                return inflater.decompress(rest, limit)
            except zlib.error:
                raise _broken() from None

        inflated = more(data, min(_INLINE_BYTES, self._max_bytes))
        if not inflater.eof and inflater.unconsumed_tail:
            # One byte more than allowed shows that the message is too large.
            room = self._max_bytes + 1 - len(inflated)
            rest: bytes = await wrap_future(self._submit(lambda: more(inflater.unconsumed_tail, room)))
            inflated += rest
        if len(inflated) > self._max_bytes:
            raise MessageError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"Received message after inflation larger than max ({self._max_bytes})",
            )
        if not inflater.eof or inflater.unused_data:
            raise _broken()
        return inflated


def _broken() -> MessageError:
    return MessageError(grpc.StatusCode.INTERNAL, "the message is not one member of gzip")
