"""Streams that are open, and can be ended from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from scorewire_server.engine.context import CallContext
from scorewire_server.errors import CallError


class OpenStream:
    """A stream of messages and answers; to be made in the task that answers it.

    Attributes:
        context: the call. It changes if the stream's credential becomes that of another principal.
    """

    __slots__ = ("_ended", "_failure", "_task", "_timer", "_waits", "context")

    def __init__(self, context: CallContext) -> None:
        self.context = context
        self._task = asyncio.current_task()
        self._waits = False
        self._ended = False
        self._failure: CallError | None = None
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, timer: asyncio.TimerHandle | None) -> None:
        """Keep the timer of the stream's credential, instead of the one before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def end(self, failure: CallError | None = None) -> None:
        """End the stream before its next answer: with OK, or with a failure."""
        if self._ended:
            return
        self._ended, self._failure = True, failure
        # Only the wait for an answer is cancelled, never its sending: grpc.aio does not end a call whose
        # sending was cancelled.
        if self._waits and self._task is not None:
            self._task.cancel()

    async def until_ended(self, answers: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The answers that come before the stream is ended.

        Raises:
            CallError: the stream was ended with this failure.
        """
        try:
            while not self._ended:
                answer = await self._next(answers)
                if answer is None:
                    break
                yield answer
        finally:
            if isinstance(answers, AsyncGenerator):
                await answers.aclose()
        if self._failure is not None:
            raise self._failure

    async def _next(self, answers: AsyncIterator[bytes]) -> bytes | None:
        """The next answer; None if there is none, or the stream is ended before it comes."""
        self._waits = True
        try:
            return await anext(answers, None)
        except asyncio.CancelledError:
            # The caller may have gone at the same time.
            if not self._ended or self._task is None or self._task.uncancel():
                raise
            return None
        finally:
            self._waits = False
