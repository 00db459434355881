"""Bounds the number of control streams that are open at one time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from scorewire_server.engine.context import CallContext
from scorewire_server.engine.port import ControlMethod, StreamMethod
from scorewire_server.errors import TooManyInFlightError


def limit_streams(methods: Iterable[ControlMethod], most: int) -> list[ControlMethod]:
    """The same methods, with at most `most` streams open at one time, of all stream methods together.

    A bound is needed because a health watch may stay open for days and costs its caller nothing.
    """
    open_now = 0

    def limited(method: StreamMethod) -> StreamMethod:
        async def handle(messages: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
            nonlocal open_now
            if open_now >= most:
                raise TooManyInFlightError(f"{most} health watches and reflection streams are open already")
            open_now += 1
            try:
                async for answer in method.handler(messages, context):
                    yield answer
            finally:
                open_now -= 1

        return StreamMethod(method.path, handle)

    return [limited(method) if isinstance(method, StreamMethod) else method for method in methods]
