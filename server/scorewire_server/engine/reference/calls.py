"""Answers the calls of grpc.aio with the predictor and the control methods.

Every handler takes and gives bytes. Unary methods are registered with grpc as if
they took a stream: grpc.aio does not look for a second message in what it takes
for unary, and never answers such a call without a message.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from time import perf_counter_ns
from typing import Any, NoReturn, TypeAlias
from urllib.parse import unquote

import grpc
from grpc import aio

from scorewire_contract.service.logs import log_fault
from scorewire_server.engine.access import Grant
from scorewire_server.engine.context import CallContext, deadline_in
from scorewire_server.engine.encodings.methods import METHODS, PredictionMethod, typed_method
from scorewire_server.engine.interpreted.failures import expired
from scorewire_server.engine.interpreted.limits import CallerLimits
from scorewire_server.engine.interpreted.predictor import Predictor
from scorewire_server.engine.peer import Peer
from scorewire_server.engine.port import ControlMethod, StreamMethod
from scorewire_server.engine.reference import compression
from scorewire_server.engine.reference.admission import Admission
from scorewire_server.engine.reference.compression import MessageError, Messages
from scorewire_server.engine.reference.open_streams import OpenStream
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
# Where grpc has the certificate of a client, in PEM.
_CERTIFICATE = "x509_pem_cert"


class Calls(grpc.GenericRpcHandler):
    """Finds and runs the handler of every call; to be used from one event loop.

    Args:
        settings: the limits of messages, answers and streams.
        predictor: answers predictions.
        control: the methods that are not predictions.
        tracer: decides which predictions are traced; None if none is.
        admission: lets calls in; everybody may call unless given.
        callers: the limits of principals; None if calls have no principals.
    """

    def __init__(
        self,
        settings: Settings,
        predictor: Predictor,
        control: Iterable[ControlMethod],
        tracer: Tracer | None = None,
        admission: Admission | None = None,
        *,
        callers: CallerLimits | None = None,
    ) -> None:
        self._max_message_bytes = settings.max_message_bytes
        self._max_stream_seconds = settings.max_stream_seconds
        self._predictor = predictor
        self._tracer = tracer
        self._admission = admission or Admission(None, settings.max_in_flight)
        self._has_certificates = settings.tls_client_ca is not None
        self._callers = callers
        self._quota = Quota(settings.connection_bytes, settings.buffered_bytes)
        self._stopping = False
        self._control_streams: set[OpenStream] = set()
        self._handlers: dict[str, _Handler] = {each.path: self._prediction(each) for each in METHODS}
        self._handlers |= {each.path: self._control(each) for each in control}

    def stop(self) -> None:
        """End all control streams, since some never end by themselves; predictions go on."""
        self._stopping = True
        for stream in self._control_streams:
            stream.end()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a call."""
        details = handler_call_details
        return self._handlers.get(details.method) or self._typed(details) or self._not_found(details.method)

    def _prediction(self, method: PredictionMethod) -> _Handler:
        predictor = self._predictor

        async def answer(data: bytes, context: CallContext, messages: Messages) -> bytes:
            return await predictor.answer(method, context, data, messages.hold)

        async def answer_all(messages: Messages, stream: OpenStream) -> AsyncIterator[bytes]:
            predictor.counts.streams += 1
            try:
                # One message at a time. Further messages wait in the transport, and flow control bounds them.
                while (data := await messages.read()) is not None:
                    yield await predictor.answer(method, stream.context, data, messages.hold)
            finally:
                predictor.counts.streams -= 1

        if not method.stream:
            return self._unary(method.path, answer, method)
        return self._stream(method.path, answer_all, method)

    def _control(self, method: ControlMethod) -> _Handler:
        if isinstance(method, StreamMethod):
            answers = method.handler
            return self._stream(
                method.path, lambda messages, stream: answers(messages.read_all(), stream.context)
            )
        handler = method.handler

        async def answer(data: bytes, context: CallContext, _: Messages) -> bytes:
            return await handler(data, context)

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
                # Before the caller learns whether there is such a method.
                await self._admit(self._context(details.method, servicer, None), None)
                await self._predictor.first_load.wait_for(lambda: self._typed_method(details) is not None)
            except Exception as error:
                await _abort(servicer, details.method, error)
            handler = self._typed(details)
            if handler is None:
                await _refuse(servicer)
            elif handler.response_streaming:
                async for data in handler.stream_stream(messages, servicer):
                    yield data
            else:
                yield await handler.stream_unary(messages, servicer)

        return grpc.stream_stream_rpc_method_handler(answer)

    def _not_found(self, path: str) -> _Handler:
        """The handler of a method that does not exist."""

        async def answer(_: AsyncIterator[bytes], servicer: _Servicer) -> None:
            try:
                await self._admit(self._context(path, servicer, None), None)
            except Exception as error:
                await _abort(servicer, path, error)
            await _refuse(servicer)

        return grpc.stream_stream_rpc_method_handler(answer)

    def _unary(
        self,
        path: str,
        answer: Callable[[bytes, CallContext, Messages], Awaitable[bytes]],
        prediction: PredictionMethod | None = None,
    ) -> _Handler:
        async def handle(_: object, servicer: _Servicer) -> bytes:
            try:
                context = self._context(path, servicer, prediction)
                with _traced(context):
                    context, _ = await self._admit(context, prediction)
                    messages = self._messages(servicer)
                    with self._open(context, prediction):
                        data = await messages.read_only()
                        # The message may come long after the credential.
                        context, _ = await self._admit(context, prediction, again=True)
                        return messages.write(await answer(data, context, messages))
            except Exception as error:
                await _abort(servicer, prediction.counted_as if prediction else path, error)

        return grpc.stream_unary_rpc_method_handler(handle)

    def _stream(
        self,
        path: str,
        answers: Callable[[Messages, OpenStream], AsyncIterator[bytes]],
        prediction: PredictionMethod | None = None,
    ) -> _Handler:
        async def handle(_: object, servicer: _Servicer) -> AsyncIterator[bytes]:
            try:
                context = self._context(path, servicer, prediction)
                with _traced(context):
                    context, grant = await self._admit(context, prediction)
                    messages = self._messages(servicer)
                    with (
                        self._open(context, prediction),
                        self._admission.opened(context, grant) as stream,
                        self._ending(stream, prediction),
                    ):
                        async for answer in stream.until_ended(answers(messages, stream)):
                            yield messages.write(answer)
            except Exception as error:
                await _abort(servicer, prediction.counted_as if prediction else path, error)

        return grpc.stream_stream_rpc_method_handler(handle)

    @contextmanager
    def _ending(self, stream: OpenStream, prediction: PredictionMethod | None) -> Iterator[None]:
        """End a stream of predictions once it is too old, and one of the control plane at the stop."""
        if prediction is None:
            self._control_streams.add(stream)
            if self._stopping:
                stream.end()
            try:
                yield
            finally:
                self._control_streams.discard(stream)
        elif self._max_stream_seconds:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self._max_stream_seconds, lambda: stream.end(expired()))
            try:
                yield
            finally:
                timer.cancel()
        else:
            yield

    async def _admit(
        self, context: CallContext, prediction: PredictionMethod | None, *, again: bool = False
    ) -> tuple[CallContext, Grant | None]:
        """Admit a call, or admit it `again`; a refused prediction counts as a failed one.

        Returns:
            The context with who calls, and the grant.

        Raises:
            CallError: the call is not admitted.
        """
        try:
            grant = await self._admission.admit(context, again=again)
            return context if grant is None else context.identified(grant.principal), grant
        except CallError as error:
            if prediction is not None:
                self._predictor.refuse(prediction, context, error)
            elif isinstance(error, DeadlineExceededError):
                # In gRPC's own words, since those of the contract are about predictions.
                raise MessageError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None
            raise

    @contextmanager
    def _open(self, context: CallContext, prediction: PredictionMethod | None) -> Iterator[None]:
        """Count a call as open for the time of a block, as far as the limits of its principal allow.

        Raises:
            CallerLimitError: they do not. A prediction then counts as a failed one.
        """
        callers, principal = self._callers, context.principal
        with ExitStack() as held:
            if callers is not None and principal is not None:
                try:
                    held.enter_context(callers.admitted(principal))
                    if prediction is None:
                        callers.take_call(principal)
                except CallError as error:
                    if prediction is not None:
                        self._predictor.refuse(prediction, context, error)
                    else:
                        self._admission.tell(context, error)
                    raise
            yield

    def _context(self, path: str, servicer: _Servicer, prediction: PredictionMethod | None) -> CallContext:
        metadata = tuple(servicer.invocation_metadata() or ())
        certificate = servicer.auth_context().get(_CERTIFICATE, ()) if self._has_certificates else ()
        peer = _peer(servicer.peer(), next(iter(certificate), None))
        deadline = deadline_in(servicer.time_remaining())
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
def _peer(text: str, certificate: bytes | None) -> Peer:
    """The peer of grpc's text, ipv4:127.0.0.1:8500 or ipv6:%5B::1%5D:8500, and of its certificate in PEM."""
    # A connection has many calls, so this is cached.
    der = None if certificate is None else ssl.PEM_cert_to_DER_cert(certificate.decode("ascii"))
    return Peer(unquote(text.partition(":")[2]), der)


async def _refuse(servicer: _Servicer) -> NoReturn:
    """Refuse a call of a method that does not exist."""
    await servicer.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!", (compression.ACCEPTED,))


async def _abort(servicer: _Servicer, method: str, error: Exception) -> NoReturn:
    """End a call with the status of an exception; log a fault of the server."""
    if isinstance(error, MessageError):
        await servicer.abort(error.code, str(error), (compression.ACCEPTED,))
    if is_fault(error):
        log_fault(method, error)
    status = to_status(error)
    details = ((STATUS_DETAILS_KEY, status.SerializeToString()), compression.ACCEPTED)
    await servicer.abort(STATUS_CODES[status.code], status.message, details)
