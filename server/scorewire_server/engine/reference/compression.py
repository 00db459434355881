"""gzip on the reference engine, inflated up to a limit.

grpc's core inflates a message to its end before it looks at its size
(github.com/grpc/grpc/issues/23177): a small one may take all memory. So it is
told to hand messages over as they came, and what begins as gzip does is
inflated here. No other message begins so: the first byte would be a protobuf
field of wire type 7, which does not exist.

Answers are compressed by the core, which knows whether the caller takes gzip;
here is only said which of them are not to be.
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

# The core's numbers: identity is the bit 0, gzip the bit 2.
_IDENTITY_AND_GZIP = 0b101
_LOW = 1
OPTIONS = (
    ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_AND_GZIP),
    ("grpc.per_message_decompression", 0),
    # With a level, not an algorithm, the core takes one that the caller accepts, if there is one.
    ("grpc.default_compression_level", _LOW),
)
# The core adds this to the head of an answer, but not where a failure is all there is.
ACCEPTED = ("grpc-accept-encoding", "identity,gzip")
_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
# More is inflated in a thread, so that the loop goes on.
_INLINE_BYTES = 1 << 16
# Shorter answers gain nothing.
_MIN_BYTES = 1 << 10

_Context: TypeAlias = "aio.ServicerContext[bytes, bytes]"
_Submit: TypeAlias = "Callable[[Callable[[], bytes]], Future[bytes]]"


class MessageError(Exception):
    """A message cannot be read, for a reason below the contract; the text is for the caller."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Messages:
    """The messages of one call, either way.

    Args:
        context: the call's.
        max_bytes: of a message that was inflated.
        submit: runs a function in a thread.
        quota: of the answers that were not taken yet.
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
        """The next message, as it was before the caller compressed it; None after the last.

        Raises:
            MessageError: it is no gzip, or too large.
        """
        # Any, since grpc's types leave the end out.
        data: Any = await self._context.read()
        if data is aio.EOF:
            return None
        self._zipped = data.startswith(_MAGIC)
        return await self._inflate(data) if self._zipped else data

    async def read_only(self) -> bytes:
        """The message of a unary call.

        Read as a stream: grpc.aio does not look for a second message in what it
        takes for unary, and never answers such a call without a message.

        Raises:
            MessageError: there is none, or more than one, or it is no gzip, or too large.
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
            MessageError: one is no gzip, or too large.
        """
        while (message := await self.read()) is not None:
            yield message

    def write(self, answer: bytes) -> bytes:
        """The same answer, which goes out compressed if the last message came so and it gains by that.

        Raises:
            TooManyInFlightError: callers leave too much of what they asked for.
        """
        if len(answer) > FREE_BYTES or self._held:
            self.hold(len(answer))
        if not self._zipped or len(answer) <= _MIN_BYTES:
            self._context.disable_next_message_compression()
        return answer

    def hold(self, count: int) -> None:
        """Count an answer as held until the next one, or the end of the call, says that it has gone.

        Raises:
            TooManyInFlightError: it would be too much.
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
            # One byte more than allowed tells that there are too many.
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
