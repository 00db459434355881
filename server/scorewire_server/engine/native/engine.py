"""The native engine behind the port of all engines.

The extension answers predictions in threads of its own. What it leaves to the
control plane comes as events, which are read here, on the event loop, whenever
the extension's file descriptor wakes it; answers go back by the number of the
call. So the extension never waits for the interpreter.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from time import monotonic
from typing import TypeAlias
from weakref import WeakKeyDictionary

from google.rpc import code_pb2

import scorewire_native
from scorewire_proto.v1 import errors_pb2
from scorewire_server.engine.encodings.encoding import Encoding
from scorewire_server.engine.encodings.methods import (
    INFERENCE,
    TensorEncoding,
    TensorStreamEncoding,
)
from scorewire_server.engine.interpreted.predictor import Predictor
from scorewire_server.engine.native.pool import NativePool
from scorewire_server.engine.native.session import load_runtime
from scorewire_server.engine.native.version import ROW_REASONS, native_version, row_error
from scorewire_server.engine.port import Certificate, ControlMethod, StreamMethod, UnaryMethod
from scorewire_server.engine.snapshot import LoadedVersion, Route, Snapshot, build_snapshot
from scorewire_server.engine.statistics import (
    BUCKETS_SECONDS,
    MODEL_INFER,
    MODEL_STREAM_INFER,
    PREDICT,
    PREDICT_STREAM,
    TYPED_PREDICT_BATCH,
    Distribution,
    Histogram,
    RouteKey,
    RouteStatistics,
    Statistics,
    Transport,
    VersionStatistics,
)
from scorewire_server.engine.tls import read_certificate
from scorewire_server.engine.validation import (
    check_answer,
    check_request,
    draining,
    expired,
    find_route,
    malformed,
    overloaded,
    run_stopped,
    too_many_failing,
    too_many_in_flight,
)
from scorewire_server.errors import (
    TABLE,
    Code,
    Reason,
    StartError,
    code_and_reason,
    is_fault,
    to_status,
)
from scorewire_server.logs import log_fault
from scorewire_server.settings import Settings

_CODES = {reason: code for code, reason in (*TABLE.values(), code_and_reason(RuntimeError()))}

_TENSOR_ENCODINGS: dict[str, Encoding] = {
    f"/{INFERENCE}/{MODEL_INFER}": TensorEncoding(),
    f"/{INFERENCE}/{MODEL_STREAM_INFER}": TensorStreamEncoding(),
}

# The settings that say what a connection may do.
_CONNECTION_LIMITS = (
    "max_streams",
    "max_metadata_bytes",
    "max_connection_age_seconds",
    "max_connection_idle_seconds",
    "max_connections",
    "max_connections_per_address",
    "max_stall_seconds",
    "max_stream_seconds",
)

_Failure: TypeAlias = "scorewire_native.Failure"
# What gRPC asks for where a unary call has no message or several; in the extension's words.
_NOT_ONE_MESSAGE: _Failure = (code_pb2.UNIMPLEMENTED, 0, "a unary call has one message", b"")


class NativeEngine:
    """An `Engine` in Rust; to be used from one event loop.

    Raises:
        StartError: onnxruntime's library cannot be used.
    """

    def __init__(self, settings: Settings, control: Iterable[ControlMethod]) -> None:
        load_runtime()
        self._settings = settings
        self._control = {method.path: method for method in control}
        threads = settings.threads or len(_processors())
        fixed = {
            "malformed": malformed(),
            "too_many_in_flight": too_many_in_flight(settings.max_in_flight),
            "too_many_failing": too_many_failing(),
            "expired": expired(),
            "overloaded": overloaded(),
            "run_stopped": run_stopped(settings.max_run_seconds),
            "draining": draining(),
            "internal": RuntimeError(),
        }
        self._native = scorewire_native.Engine(
            settings.max_rows,
            settings.max_in_flight,
            settings.max_message_bytes,
            settings.max_run_seconds,
            settings.buffered_bytes,
            threads,
            [round(bound * 1e9) for bound in BUCKETS_SECONDS],
            {name: _failure(error) for name, error in fixed.items()},
        )
        self._versions: dict[LoadedVersion, scorewire_native.Version] = {}
        # Made ahead, and not in a snapshot yet.
        self._prepared: WeakKeyDictionary[LoadedVersion, scorewire_native.Version] = WeakKeyDictionary()
        # No longer in the snapshot, and perhaps still in use.
        self._leaving: dict[LoadedVersion, scorewire_native.Version] = {}
        # Answers the tensors that the extension leaves to this side, on the extension's graphs.
        self._predictor = Predictor(
            build_snapshot(()),
            max_rows=settings.max_rows,
            max_in_flight=settings.max_in_flight,
            max_message_bytes=settings.max_message_bytes,
            max_run_seconds=settings.max_run_seconds,
            pool=NativePool(self._native),
        )
        self._calls: dict[int, _Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False
        self._stopping = False
        self.publish(build_snapshot(()))

    @property
    def statistics(self) -> Statistics:
        """What was answered so far."""
        in_flight, streams, answered, failed = self._native.calls()
        told = zip(scorewire_native.METHODS, answered, strict=True)
        # As the reference engine: of the methods that most have, also where nobody called them.
        called = {method: count for method, count in told if count or method in (PREDICT, PREDICT_STREAM)}
        statistics = Statistics(in_flight, streams, called)
        for method, counts in zip(scorewire_native.METHODS, failed, strict=True):
            statistics.failed |= {(method, *key): count for key, count in _failures(counts)}
        for model, version, rows, row_errors, decode, run, encode in self._native.version_counts():
            if not sum(decode[0]):
                continue
            statistics.versions[model, version] = VersionStatistics(
                rows,
                _row_errors(row_errors),
                _histogram(*decode),
                _histogram(*run),
                _histogram(*encode),
            )
        for key, calls, rows, failures, row_errors, dropped, latency, scores in self._native.route_counts():
            route = RouteStatistics(
                calls,
                rows,
                dict(_failures(failures)),
                _row_errors(row_errors),
                Distribution(latency),
                Distribution(scores),
                dropped,
            )
            if calls or dropped or route.failed:
                statistics.routes[RouteKey(*key)] = route
        statistics.add(self._predictor.statistics)
        buffered_bytes, connections, limits = self._native.transport()
        statistics.transport = Transport(buffered_bytes, connections, dict(limits))
        # The extension has counted those that are answered on this side as well.
        statistics.in_flight = in_flight
        return statistics

    async def start(self) -> str:
        """Bind and answer calls; returns the real address as HOST:PORT."""
        settings = self._settings
        certificate = read_certificate(settings)
        if certificate is not None:
            self.use_certificate(certificate)
        try:
            port = self._native.start(
                settings.listen,
                settings.batch_threads,
                _processors() if settings.pin_threads == "on" else [],
                {name: getattr(settings, name) for name in _CONNECTION_LIMITS}
                | {"max_connection_bytes": settings.connection_bytes},
                set(self._control),
            )
        except OSError as error:
            raise StartError(
                f"--listen {settings.listen} cannot be bound: it is in use, no address of this machine,"
                f" or not allowed ({error})"
            ) from None
        self._started = True
        asyncio.get_running_loop().add_reader(self._native.fileno(), self._read_events)
        return f"{settings.listen.rpartition(':')[0]}:{port}"

    def prepare(self, version: LoadedVersion) -> None:
        """Make the extension's version of one that was loaded."""
        self._prepared[version] = native_version(self._native, version)

    def publish(self, snapshot: Snapshot, *, loading: bool = False) -> None:
        """Answer the calls that come from now on from this snapshot."""
        routes = list(snapshot.routes())
        served = {version for each in routes for version in each.versions()}
        versions = {loaded: self._made(loaded) for loaded in served}
        services = [
            (name, each.model, each.major, each.route.name) for name, each in snapshot.services.items()
        ]
        # What fails has failed here or above, and nothing is changed.
        self._native.publish([_route(each, versions) for each in routes], services, snapshot)
        self._predictor.publish(snapshot, loading=loading)
        self._leaving = {loaded: made for loaded, made in self._leaving.items() if made.in_use()}
        self._leaving |= {loaded: made for loaded, made in self._versions.items() if loaded not in served}
        self._versions = versions
        for loaded in served:
            self._prepared.pop(loaded, None)
        self._native.set_loading(loading)

    def _made(self, version: LoadedVersion) -> scorewire_native.Version:
        made = self._versions.get(version) or self._prepared.get(version)
        return made or native_version(self._native, version)

    def use_certificate(self, certificate: Certificate) -> None:
        """Show a certificate to clients that connect from now on; connections that are open go on."""
        try:
            self._native.use_certificate(certificate.chain, certificate.key)
        except ValueError as error:
            raise StartError(f"the native engine cannot use the certificate and its key: {error}") from None

    def in_use(self, version: LoadedVersion) -> bool:
        """Whether a call or a copy that began before the last `publish` still runs on a version."""
        if self._predictor.in_use(version):
            return True
        made = self._leaving.get(version)
        if made is None:
            return version in self._versions
        if made.in_use():
            return True
        del self._leaving[version]
        return False

    async def stop(self, grace_seconds: float) -> None:
        """Have clients begin no more calls, answer those that come nevertheless, then close."""
        self._stopping = True
        self._predictor.first_load.give_up()
        for call in list(self._calls.values()):
            self._end_stream(call)
        if not self._started:
            return
        self._started = False
        await asyncio.to_thread(self._native.stop, grace_seconds)
        asyncio.get_running_loop().remove_reader(self._native.fileno())
        self._read_events()
        # What waits for a thread that is gone ends here.
        self._predictor.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _end_stream(self, call: _Call) -> None:
        """End a control stream, which might never end by itself."""
        if isinstance(call.method, StreamMethod) and call.method.path in self._control:
            call.end()

    def _read_events(self) -> None:
        for event in self._native.take_events():
            match event:
                case ("open", number, opening):
                    self._open(number, *opening)
                case ("ask", number, question):
                    self._native.answer(number, self._explain(question))
                case ("fault", _, (method, text)):
                    log_fault(method, RuntimeError(text))
                case ("message", number, data):
                    if call := self._calls.get(number):
                        call.take(data)
                case ("end", number, _):
                    if call := self._calls.get(number):
                        call.take(None)
                case ("gone", number, _):
                    if call := self._calls.get(number):
                        call.cancel()

    def _open(self, number: int, path: str, seconds_left: float | None) -> None:
        encoding = _TENSOR_ENCODINGS.get(path)
        method = self._control[path] if encoding is None else self._answers(path, encoding, seconds_left)
        call = _Call(self._native, number, method)
        self._calls[number] = call
        task = asyncio.get_running_loop().create_task(call.run())
        call.task = task
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            del self._calls[number]

        task.add_done_callback(done)
        if self._stopping:
            # It begins on a connection that is to become idle.
            self._end_stream(call)

    def _answers(self, path: str, encoding: Encoding, seconds_left: float | None) -> ControlMethod:
        """A message of tensors that the extension leaves to this side, until its call's deadline."""
        deadline = None if seconds_left is None else monotonic() + seconds_left

        async def answer(data: bytes) -> bytes:
            left = None if deadline is None else deadline - monotonic()
            return await self._predictor.answer(encoding, data, left)

        async def answer_all(messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            async for data in messages:
                yield await answer(data)

        return StreamMethod(path, answer_all) if encoding.streams else UnaryMethod(path, answer)

    def _explain(self, question: scorewire_native.Question) -> _Failure:
        """Word a failure that the extension has found, by failing in the same way."""
        settings = self._settings
        snapshot, method, names, schema_fingerprint, counts, problem = question
        model, major, version, picked = names
        row_count, number_count, text_count = counts
        malformed, refusal, answer_bytes = problem
        try:
            check_answer(answer_bytes, settings.max_message_bytes)
            if major is None:
                route = find_route(snapshot, model, version)
            else:
                route = snapshot.major_route(model, major, version)
            chosen = route.version(picked)
            if malformed:
                raise chosen.typed.malformed(batch=method == TYPED_PREDICT_BATCH)
            if refusal is not None:
                raise chosen.typed.refusal(row_error(refusal))
            check_request(
                chosen,
                schema_fingerprint=schema_fingerprint,
                row_count=row_count,
                number_count=number_count,
                text_count=text_count,
                max_rows=settings.max_rows,
            )
            error: Exception = RuntimeError("the native engine refused what the control plane allows")
        except Exception as found:
            error = found
        # Whatever it is, a call waits for the words.
        if is_fault(error):
            log_fault(method, error)
        return _failure(error)


class _Call:
    """A control call: what its caller sent, for a handler, and what the handler says, for the caller."""

    def __init__(self, native: scorewire_native.Engine, number: int, method: ControlMethod) -> None:
        self.method = method
        self.task: asyncio.Task[None] | None = None
        self._native = native
        self._number = number
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue()

    def take(self, data: bytes | None) -> None:
        """The message that was asked for; None where the caller sends no more."""
        self._arrived.put_nowait(data)

    def cancel(self) -> None:
        """The caller went away."""
        if self.task is not None:
            self.task.cancel()

    def end(self) -> None:
        """End the handler's iteration; the caller sees the call end well."""
        # Not by the task, which is cancelled even if it has not begun.
        self._native.finish(self._number)
        self.cancel()

    async def run(self) -> None:
        """Answer the call."""
        native, number, method = self._native, self._number, self.method
        try:
            if isinstance(method, UnaryMethod):
                data = await self._next()
                # An answer waits for the caller's end, as those of predictions do.
                if data is None or await self._next() is not None:
                    native.finish(number, _NOT_ONE_MESSAGE)
                    return
                native.send(number, await method.handler(data))
            else:
                async for answer in method.handler(self._messages()):
                    native.send(number, answer)
        except asyncio.CancelledError:
            return
        except Exception as error:
            if is_fault(error):
                log_fault(method.path, error)
            native.finish(number, _failure(error))
        else:
            native.finish(number)

    async def _messages(self) -> AsyncIterator[bytes]:
        while (data := await self._next()) is not None:
            yield data

    async def _next(self) -> bytes | None:
        # Asked for one by one, so that the transport's flow control bounds what waits.
        self._native.want(self._number)
        return await self._arrived.get()


def _route(
    route: Route, versions: Mapping[LoadedVersion, scorewire_native.Version]
) -> scorewire_native.Route:
    targets = [(versions[each.version], each.weight, each.seed) for each in route.targets]
    if route.shadow is None:
        return route.model, route.name, targets, None
    version, share = route.shadow
    return route.model, route.name, targets, (versions[version], share)


def _failure(error: BaseException) -> _Failure:
    status = to_status(error)
    return status.code, code_and_reason(error)[1], status.message, status.SerializeToString()


def _failures(counts: list[int]) -> Iterator[tuple[tuple[Code, Reason], int]]:
    """Code and reason, and how often, of counts that are by the number of the reason."""
    for number, count in enumerate(counts):
        if count:
            reason = errors_pb2.ErrorReason.ValueType(number)
            yield (_CODES[reason], reason), count


def _row_errors(counts: list[int]) -> dict[Reason, int]:
    return {reason: count for reason, count in zip(ROW_REASONS, counts, strict=True) if count}


def _histogram(counts: list[int], sum_ns: int) -> Histogram:
    histogram = Histogram()
    histogram.counts[:] = counts
    histogram.sum_ns = sum_ns
    return histogram


def _processors() -> list[int]:
    """The processors that this process may run on."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return sorted(affinity(0)) if affinity is not None else list(range(os.cpu_count() or 1))
