"""Calls that the extension forwards to Python: control calls, and tensors that it does not read itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from google.rpc import code_pb2

import scorewire_native
from scorewire_contract.service.logs import log_fault
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.interpreted.failures import expired
from scorewire_server.engine.native.explanation import Failure, failure_of
from scorewire_server.engine.port import ControlMethod, UnaryMethod
from scorewire_server.errors import is_fault

# The failure that gRPC asks for if a unary call has no message or several.
_NOT_ONE_MESSAGE: Failure = (code_pb2.UNIMPLEMENTED, 0, "a unary call has one message", b"")


class ForwardedCall:
    """Passes the messages of one caller to a handler, and the handler's answers to the caller."""

    def __init__(
        self, native: scorewire_native.Engine, number: int, method: ControlMethod, context: CallContext
    ) -> None:
        self.method = method
        self._context = context
        self.task: asyncio.Task[None] | None = None
        self._native = native
        self._number = number
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue()

    def take(self, data: bytes | None) -> None:
        """Take the message that was asked for; None means that the caller sends no more."""
        self._arrived.put_nowait(data)

    def cancel(self) -> None:
        """Cancel the handler, since the caller went away."""
        if self.task is not None:
            self.task.cancel()

    def end(self) -> None:
        """End the call with OK, and cancel the handler."""
        # Finished here, since a task that is cancelled before it begins runs no code.
        self._native.finish(self._number)
        self.cancel()

    async def run(self) -> None:
        """Answer the call."""
        native, number, method = self._native, self._number, self.method
        try:
            if isinstance(method, UnaryMethod):
                data = await self._next()
                # The answer waits until the caller has ended its side, as on the prediction path.
                if data is None or await self._next() is not None:
                    native.finish(number, _NOT_ONE_MESSAGE)
                    return
                native.send(number, await method.handler(data, self._context))
            else:
                async for answer in method.handler(self._messages(), self._context):
                    native.send(number, answer)
        except asyncio.CancelledError:
            return
        except Exception as error:
            if is_fault(error):
                log_fault(method.path, error)
            native.finish(number, failure_of(error))
        else:
            native.finish(number)

    def close(self) -> None:
        """End the trace of a prediction that never got to the predictor, which ends all others."""
        context = self._context
        if context.trace is not None:
            context.trace.end_with(expired() if context.expired else asyncio.CancelledError())

    async def _messages(self) -> AsyncIterator[bytes]:
        while (data := await self._next()) is not None:
            yield data

    async def _next(self) -> bytes | None:
        # Messages are asked for one by one, so that flow control bounds those that wait.
        self._native.want(self._number)
        return await self._arrived.get()
