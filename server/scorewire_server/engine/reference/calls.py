"""Answers the calls of grpc.aio with the predictor and the control methods.

Every handler takes and gives bytes. Unary methods are registered with grpc as if
they took a stream: grpc.aio does not look for a second message in what it takes
for unary, and never answers such a call without a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from time import perf_counter_ns
from typing import Any, NoReturn, TypeAlias
from urllib.parse import unquote

import grpc
from grpc import aio

from scorewire_contract.service.logs import log_fault
from scorewire_server.engine.context import CallContext, deadline_in
from scorewire_server.engine.encodings.methods import METHODS, PredictionMethod, typed_method
from scorewire_server.engine.interpreted.failures import expired
from scorewire_server.engine.interpreted.predictor import Predictor
from scorewire_server.engine.peer import Peer
from scorewire_server.engine.port import ControlMethod, StreamMethod
from scorewire_server.engine.reference import compression
from scorewire_server.engine.reference.admission import admit
from scorewire_server.engine.reference.compression import MessageError, Messages
from scorewire_server.engine.reference.quota import Quota
from scorewire_server.engine.tracer import Tracer
from scorewire_server.errors import (
    STATUS_CODES,
    STATUS_DETAILS_KEY,
    CallError,
    DeadlineExceededError,
    is_fault,
    to_status,
)
from scorewire_server.settings import Settings

_Servicer: TypeAlias = "aio.ServicerContext[bytes, bytes]"
# grpc has no types for asynchronous handlers.
_Handler: TypeAlias = Any


class Calls(grpc.GenericRpcHandler):
    """Finds and runs the handler of every call; to be used from one event loop.

    Args:
        settings: the limits of messages, answers and streams.
        predictor: answers predictions.
        control: the methods that are not predictions.
        tracer: decides which predictions are traced; None if none is.
    """

    def __init__(
        self,
        settings: Settings,
        predictor: Predictor,
        control: Iterable[ControlMethod],
        tracer: Tracer | None = None,
    ) -> None:
        self._max_message_bytes = settings.max_message_bytes
        self._max_stream_seconds = settings.max_stream_seconds
        self._predictor = predictor
        self._tracer = tracer
        self._quota = Quota(settings.connection_bytes, settings.buffered_bytes)
        self._stopping = asyncio.Event()
        self._handlers: dict[str, _Handler] = {each.path: self._prediction(each) for each in METHODS}
        self._handlers |= {each.path: self._control(each) for each in control}

    def stop(self) -> None:
        """End all control streams, since some never end by themselves; predictions go on."""
        self._stopping.set()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a call."""
        details = handler_call_details
        return self._handlers.get(details.method) or self._typed(details) or _NOT_FOUND

    def _prediction(self, method: PredictionMethod) -> _Handler:
        predictor = self._predictor

        async def answer(messages: Messages, context: CallContext) -> bytes:
            return await predictor.answer(method, context, await messages.read_only(), messages.hold)

        async def answer_all(messages: Messages, context: CallContext) -> AsyncIterator[bytes]:
            predictor.counts.streams += 1
            try:
                # One message at a time. Further messages wait in the transport, and flow control bounds them.
                while (data := await messages.read()) is not None:
                    yield await predictor.answer(method, context, data, messages.hold)
            finally:
                predictor.counts.streams -= 1

        def answer_within(messages: Messages, context: CallContext) -> AsyncIterator[bytes]:
            return _within(self._max_stream_seconds, answer_all(messages, context))

        if not method.stream:
            return self._unary(method.path, answer, method)
        return self._stream(method.path, answer_within if self._max_stream_seconds else answer_all, method)

    def _control(self, method: ControlMethod) -> _Handler:
        if isinstance(method, StreamMethod):
            stream = method.handler
            return self._stream(
                method.path,
                lambda messages, context: _until(self._stopping, stream(messages.read_all(), context)),
            )
        handler = method.handler

        async def answer(messages: Messages, context: CallContext) -> bytes:
            return await handler(await messages.read_only(), context)

        return self._unary(method.path, answer)

    def _typed(self, details: grpc.HandlerCallDetails) -> _Handler | None:
        """The handler of a method of a typed service; None where the snapshot has no such method."""
        method = self._typed_method(details)
        if method is not None:
            return self._prediction(method)
        return None if self._predictor.first_load.settled else self._after_first_load(details)

    def _typed_method(self, details: grpc.HandlerCallDetails) -> PredictionMethod | None:
        path: str = details.method
        service = self._predictor.snapshot.services.get(path[1:].rpartition("/")[0])
        if service is None:
            return None
        return typed_method(path, service.model, service.major, details.invocation_metadata)

    def _after_first_load(self, details: grpc.HandlerCallDetails) -> _Handler:
        """The handler of a method that may belong to a model that is still being loaded."""

        async def answer(messages: AsyncIterator[bytes], servicer: _Servicer) -> AsyncIterator[bytes]:
            try:
                await self._predictor.first_load.wait_for(lambda: self._typed_method(details) is not None)
            except CallError as error:
                await _abort(servicer, details.method, error)
            handler = self._typed(details)
            if handler is None:
                await _refuse(messages, servicer)
            elif handler.response_streaming:
                async for data in handler.stream_stream(messages, servicer):
                    yield data
            else:
                yield await handler.stream_unary(messages, servicer)

        return grpc.stream_stream_rpc_method_handler(answer)

    def _unary(
        self,
        path: str,
        answer: Callable[[Messages, CallContext], Awaitable[bytes]],
        prediction: PredictionMethod | None = None,
    ) -> _Handler:
        async def handle(_: object, servicer: _Servicer) -> bytes:
            try:
                context = self._context(path, servicer, prediction)
                with _traced(context):
                    self._admit(context, prediction)
                    messages = self._messages(servicer)
                    return messages.write(await answer(messages, context))
            except Exception as error:
                await _abort(servicer, prediction.counted_as if prediction else path, error)

        return grpc.stream_unary_rpc_method_handler(handle)

    def _stream(
        self,
        path: str,
        answers: Callable[[Messages, CallContext], AsyncIterator[bytes]],
        prediction: PredictionMethod | None = None,
    ) -> _Handler:
        async def handle(_: object, servicer: _Servicer) -> AsyncIterator[bytes]:
            try:
                context = self._context(path, servicer, prediction)
                with _traced(context):
                    self._admit(context, prediction)
                    messages = self._messages(servicer)
                    async for answer in answers(messages, context):
                        yield messages.write(answer)
            except Exception as error:
                await _abort(servicer, prediction.counted_as if prediction else path, error)

        return grpc.stream_stream_rpc_method_handler(handle)

    def _admit(self, context: CallContext, prediction: PredictionMethod | None) -> None:
        """Admit a call; a refused prediction counts as a failed one.

        Raises:
            CallError: the call is not admitted.
        """
        try:
            admit(context)
        except CallError as error:
            if prediction is not None:
                self._predictor.refuse(prediction, context, error)
            elif isinstance(error, DeadlineExceededError):
                # In gRPC's own words, since those of the contract are about predictions.
                raise MessageError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None
            raise

    def _context(self, path: str, servicer: _Servicer, prediction: PredictionMethod | None) -> CallContext:
        metadata = tuple(servicer.invocation_metadata() or ())
        peer, deadline = _peer(servicer.peer()), deadline_in(servicer.time_remaining())
        received_ns, trace = perf_counter_ns(), None
        if self._tracer is not None and prediction is not None:
            trace = self._tracer.begin(path, metadata, received_ns, stream=prediction.stream)
        return CallContext(path, metadata, peer, deadline, received_ns, trace)

    def _messages(self, servicer: _Servicer) -> Messages:
        return Messages(servicer, self._max_message_bytes, self._predictor.submit, self._quota)


@contextmanager
def _traced(context: CallContext) -> Iterator[None]:
    """End the trace of a call, if the call is traced, as the block ends."""
    trace = context.trace
    if trace is None:
        yield
        return
    try:
        yield
    except MessageError as error:
        trace.end(error.code.value[0])
        raise
    except BaseException as error:
        # gRPC cancels the handler of a call whose deadline passes.
        cancelled = not isinstance(error, Exception)
        trace.end_with(expired() if cancelled and context.expired else error)
        raise
    # The messages of a stream also end when its deadline passes, and when its caller goes: grpc.aio may tell
    # of that too late to be known here, and the stream then counts as ended well.
    if context.expired:
        trace.end_with(expired())
    trace.end()


@lru_cache(maxsize=1024)
def _peer(text: str) -> Peer:
    """The peer of grpc's text, ipv4:127.0.0.1:8500 or ipv6:%5B::1%5D:8500. A connection has many calls."""
    return Peer(unquote(text.partition(":")[2]))


async def _within(seconds: float, answers: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The answers that come within a time.

    Raises:
        DeadlineExceededError: the time is over before the answers end.
    """
    over = asyncio.Event()
    timer = asyncio.get_running_loop().call_later(seconds, over.set)
    try:
        async for answer in _until(over, answers):
            yield answer
    finally:
        timer.cancel()
    if over.is_set():
        raise expired()


async def _until(stopping: asyncio.Event, answers: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The answers that come before an event is set."""
    stopped = asyncio.ensure_future(stopping.wait())
    step: asyncio.Future[bytes] = asyncio.ensure_future(anext(answers))
    try:
        while True:
            # Cancels only the wait for an answer, never its sending: grpc.aio does not end a call whose
            # sending was cancelled.
            await asyncio.wait((step, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                return
            yield step.result()
            step = asyncio.ensure_future(anext(answers))
    except StopAsyncIteration:
        return
    finally:
        stopped.cancel()
        step.cancel()
        await asyncio.wait((step,))


async def _refuse(_: AsyncIterator[bytes], servicer: _Servicer) -> None:
    """Refuse a call of a method that does not exist."""
    await servicer.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!", (compression.ACCEPTED,))


_NOT_FOUND: Any = grpc.stream_stream_rpc_method_handler(_refuse)


async def _abort(servicer: _Servicer, method: str, error: Exception) -> NoReturn:
    """End a call with the status of an exception; log a fault of the server."""
    if isinstance(error, MessageError):
        await servicer.abort(error.code, str(error), (compression.ACCEPTED,))
    if is_fault(error):
        log_fault(method, error)
    status = to_status(error)
    details = ((STATUS_DETAILS_KEY, status.SerializeToString()), compression.ACCEPTED)
    await servicer.abort(STATUS_CODES[status.code], status.message, details)
