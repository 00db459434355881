"""The reference engine's socket: grpc.aio with methods that take and give bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NoReturn, TypeAlias

import grpc
from grpc import aio

from scorewire_proto.v1 import prediction_pb2
from scorewire_server.engine.encodings.encoding import Encoding
from scorewire_server.engine.encodings.methods import (
    INFERENCE,
    TensorEncoding,
    TensorStreamEncoding,
    typed_encoding,
)
from scorewire_server.engine.encodings.positional import PositionalEncoding, PositionalStreamEncoding
from scorewire_server.engine.interpreted.predictor import Predictor
from scorewire_server.engine.port import Certificate, ControlMethod, StreamMethod, UnaryMethod
from scorewire_server.engine.reference import compression
from scorewire_server.engine.reference.compression import MessageError, Messages
from scorewire_server.engine.reference.quota import Quota
from scorewire_server.engine.snapshot import LoadedVersion, Snapshot, build_snapshot
from scorewire_server.engine.statistics import (
    MODEL_INFER,
    MODEL_STREAM_INFER,
    PREDICT,
    PREDICT_STREAM,
    Statistics,
)
from scorewire_server.engine.tls import read_certificate
from scorewire_server.engine.validation import expired
from scorewire_server.errors import (
    STATUS_CODES,
    STATUS_DETAILS_KEY,
    CallError,
    StartError,
    is_fault,
    to_status,
)
from scorewire_server.logs import log_fault
from scorewire_server.settings import Settings

_PREDICTION = prediction_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name
_Context: TypeAlias = "aio.ServicerContext[bytes, bytes]"
# Calls that wait to be taken up; those that come when there are as many are cancelled by grpc.
_PENDING_PER_CALL = 4
_LEAST_PENDING = 4096
# Of grpc's types for handlers there are none for asynchronous ones.
_Handler: TypeAlias = Any


class ReferenceEngine:
    """An `Engine` on grpc.aio; to be used from one event loop."""

    def __init__(self, settings: Settings, control: Iterable[ControlMethod]) -> None:
        self._settings = settings
        self._predictor = Predictor(
            build_snapshot(()),
            max_rows=settings.max_rows,
            max_in_flight=settings.max_in_flight,
            max_message_bytes=settings.max_message_bytes,
            max_run_seconds=settings.max_run_seconds,
            pool=ThreadPoolExecutor(settings.batch_threads, thread_name_prefix="score"),
        )
        self._quota = Quota(settings.connection_bytes, settings.buffered_bytes)
        self._stopping = asyncio.Event()
        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            f"/{_PREDICTION}/{PREDICT}": self._answers(PositionalEncoding()),
            f"/{_PREDICTION}/{PREDICT_STREAM}": self._answers_stream(PositionalStreamEncoding()),
            f"/{INFERENCE}/{MODEL_INFER}": self._answers(TensorEncoding()),
            f"/{INFERENCE}/{MODEL_STREAM_INFER}": self._answers_stream(TensorStreamEncoding()),
        }
        for method in control:
            self._handlers[method.path] = (
                grpc.stream_unary_rpc_method_handler(self._unary(method))
                if isinstance(method, UnaryMethod)
                else grpc.stream_stream_rpc_method_handler(self._stream(method))
            )
        self._server: aio.Server | None = None
        # The one that is next, until the first client that sees it.
        self._certificates: deque[grpc.ServerCertificateConfiguration] = deque(maxlen=1)

    @property
    def statistics(self) -> Statistics:
        """What was answered so far."""
        return self._predictor.statistics

    async def start(self) -> str:
        """Bind and answer calls; returns the real address as HOST:PORT."""
        server = aio.server(options=_options(self._settings))
        server.add_generic_rpc_handlers((_Handlers(self._handlers, self._typed),))
        listen = self._settings.listen
        credentials = self._credentials()
        try:
            port = (
                server.add_insecure_port(listen)
                if credentials is None
                else server.add_secure_port(listen, credentials)
            )
        except RuntimeError:
            port = 0
        if not port:
            await server.stop(0)
            raise StartError(
                f"--listen {listen} cannot be bound: it is in use, no address of this machine, or not allowed"
            )
        await server.start()
        self._server = server
        return f"{listen.rpartition(':')[0]}:{port}"

    def prepare(self, version: LoadedVersion) -> None:
        """Nothing is to be made: a version is answered from as it was loaded."""

    def publish(self, snapshot: Snapshot, *, loading: bool = False) -> None:
        """Answer the calls that come from now on from this snapshot."""
        self._predictor.publish(snapshot, loading=loading)

    def use_certificate(self, certificate: Certificate) -> None:
        """Show a certificate to clients that connect from now on; connections that are open go on."""
        self._certificates.append(_configuration(certificate))

    def in_use(self, version: LoadedVersion) -> bool:
        """Whether a call or a copy that began before the last `publish` still runs on a version."""
        return self._predictor.in_use(version)

    async def stop(self, grace_seconds: float) -> None:
        """Have clients begin no more calls, let those in flight end within the grace, then close."""
        self._stopping.set()
        self._predictor.first_load.give_up()
        if self._server is not None:
            await self._server.stop(grace_seconds)
        self._predictor.close()

    def _credentials(self) -> grpc.ServerCredentials | None:
        certificate = read_certificate(self._settings)
        if certificate is None:
            return None

        def changed() -> Any:
            # Asked before each handshake, in threads of grpc; None keeps the one before.
            with suppress(IndexError):
                return self._certificates.pop()
            return None

        return grpc.dynamic_ssl_server_credentials(_configuration(certificate), changed)

    def _answers(self, encoding: Encoding) -> _Handler:
        async def answer(_: object, context: _Context) -> bytes:
            try:
                messages = self._messages(context)
                request = await messages.read_only()
                left = context.time_remaining()
                answer = await self._predictor.answer(encoding, request, left, messages.hold)
                return messages.write(answer)
            except Exception as error:
                await _abort(context, encoding.method, error)

        return grpc.stream_unary_rpc_method_handler(answer)

    def _answers_stream(self, encoding: Encoding) -> _Handler:
        longest = self._settings.max_stream_seconds

        async def answer(_: object, context: _Context) -> AsyncIterator[bytes]:
            statistics = self.statistics
            statistics.streams += 1
            messages = self._messages(context)
            try:
                # One message at a time: what the caller sends meanwhile waits in
                # the transport, whose flow control bounds it.
                while (data := await messages.read()) is not None:
                    left = context.time_remaining()
                    yield messages.write(await self._predictor.answer(encoding, data, left, messages.hold))
            except Exception as error:
                await _abort(context, encoding.method, error)
            finally:
                statistics.streams -= 1

        async def answer_within(_: object, context: _Context) -> AsyncIterator[bytes]:
            try:
                async for data in _within(longest, answer(_, context)):
                    yield data
            except CallError as error:
                # It may have failed at that very moment.
                if not context.done():
                    await _abort(context, encoding.method, error)

        return grpc.stream_stream_rpc_method_handler(answer_within if longest else answer)

    def _typed(self, details: grpc.HandlerCallDetails) -> _Handler | None:
        """The handler of a method of a typed service that the snapshot has."""
        encoding = self._typed_encoding(details)
        if encoding is None:
            return None if self._predictor.first_load.settled else self._later(details)
        return self._answers_stream(encoding) if encoding.streams else self._answers(encoding)

    def _typed_encoding(self, details: grpc.HandlerCallDetails) -> Encoding | None:
        return typed_encoding(self._predictor.snapshot, details.method, details.invocation_metadata)

    def _later(self, details: grpc.HandlerCallDetails) -> _Handler:
        """The handler of a method that may be of a model that is still to be loaded."""

        async def answer(messages: AsyncIterator[bytes], context: _Context) -> AsyncIterator[bytes]:
            try:
                await self._predictor.first_load.wait_for(lambda: self._typed_encoding(details) is not None)
            except CallError as error:
                await _abort(context, details.method, error)
            handler = self._typed(details)
            if handler is None:
                await _refuse(messages, context)
            elif handler.response_streaming:
                async for data in handler.stream_stream(messages, context):
                    yield data
            else:
                yield await handler.stream_unary(messages, context)

        return grpc.stream_stream_rpc_method_handler(answer)

    def _messages(self, context: _Context) -> Messages:
        return Messages(context, self._settings.max_message_bytes, self._predictor.submit, self._quota)

    def _unary(self, method: UnaryMethod) -> Any:
        async def answer(_: object, context: _Context) -> bytes:
            try:
                messages = self._messages(context)
                return messages.write(await method.handler(await messages.read_only()))
            except Exception as error:
                await _abort(context, method.path, error)

        return answer

    def _stream(self, method: StreamMethod) -> Any:
        async def answer(_: object, context: _Context) -> AsyncIterator[bytes]:
            try:
                messages = self._messages(context)
                handler = method.handler(messages.read_all())
                async for data in _until(self._stopping, handler):
                    yield messages.write(data)
            except Exception as error:
                await _abort(context, method.path, error)

        return answer


async def _within(seconds: float, answers: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The answers that come within a time.

    Raises:
        DeadlineExceededError: it is over.
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
    """The answers that come before an event."""
    stopped = asyncio.ensure_future(stopping.wait())
    step: asyncio.Future[bytes] = asyncio.ensure_future(anext(answers))
    try:
        while True:
            # Only the wait for an answer is given up, never the sending of one:
            # grpc.aio does not end a call whose sending was cancelled.
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


class _Handlers(grpc.GenericRpcHandler):
    """Finds the handler of a path."""

    def __init__(
        self,
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]],
        others: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[bytes, bytes] | None],
    ) -> None:
        self._handlers = handlers
        self._others = others

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        found = self._handlers.get(handler_call_details.method) or self._others(handler_call_details)
        return found or _NOT_FOUND


async def _refuse(_: AsyncIterator[bytes], context: _Context) -> None:
    """Refuse a call of a method that is not there."""
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!", (compression.ACCEPTED,))


_NOT_FOUND: Any = grpc.stream_stream_rpc_method_handler(_refuse)


async def _abort(context: _Context, method: str, error: Exception) -> NoReturn:
    """End the call with the status of an exception."""
    if isinstance(error, MessageError):
        await context.abort(error.code, str(error), (compression.ACCEPTED,))
    if is_fault(error):
        log_fault(method, error)
    status = to_status(error)
    details = ((STATUS_DETAILS_KEY, status.SerializeToString()), compression.ACCEPTED)
    await context.abort(STATUS_CODES[status.code], status.message, details)


def _options(settings: Settings) -> list[tuple[str, int]]:
    # Those over `max_in_flight` are answered RESOURCE_EXHAUSTED as they come out of the queue.
    pending = max(_LEAST_PENDING, _PENDING_PER_CALL * settings.max_in_flight)
    options = [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", settings.max_streams),
        # Between the two numbers grpc would refuse at random.
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        # Calls that come at once wait their turn: grpc would drop some before anyone sees them.
        ("grpc.server.max_pending_requests", pending),
        ("grpc.server.max_pending_requests_hard_limit", pending),
        ("grpc.http.overload_protection", 0),
        # A port in use is an error, not a share of its connections.
        ("grpc.so_reuseport", 0),
        *compression.OPTIONS,
        # Clients may ping every 10 seconds, with or without calls.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Connections whose other end went away are found within 80 seconds.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.server_handshake_timeout_ms", 10_000),
    ]
    if settings.max_connections:
        options.append(("grpc.max_allowed_incoming_connections", settings.max_connections))
    if settings.max_connection_idle_seconds:
        options.append(("grpc.max_connection_idle_ms", round(settings.max_connection_idle_seconds * 1000)))
    if settings.max_connection_age_seconds:
        options.append(("grpc.max_connection_age_ms", round(settings.max_connection_age_seconds * 1000)))
    return options


def _configuration(certificate: Certificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(certificate.key, certificate.chain)])
