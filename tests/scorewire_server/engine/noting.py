"""A control plane that notes the contexts of its calls."""

from __future__ import annotations

from collections.abc import AsyncIterator

from scorewire_server.engine.context import CallContext
from scorewire_server.engine.port import ControlMethod, StreamMethod, UnaryMethod

UNARY, STREAM = "/test.Control/Note", "/test.Control/NoteAll"


class Notes:
    """The contexts of all calls, in order; both methods send back what they get."""

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
