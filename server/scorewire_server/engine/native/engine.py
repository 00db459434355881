"""The native engine behind the port of all engines.

The extension answers predictions in threads of its own. What it leaves to the
control plane comes as events, which are read here, on the event loop, whenever
the extension's file descriptor wakes it; answers go back by the number of the
call. So the extension never waits for the interpreter.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from time import monotonic
from typing import TypeAlias

import scorewire_native
from scorewire_proto.v1 import errors_pb2
from scorewire_server.engine.native.session import load_runtime
from scorewire_server.engine.native.version import native_version
from scorewire_server.engine.port import ControlMethod, StartError, StreamMethod, UnaryMethod
from scorewire_server.engine.snapshot import LoadedVersion, Snapshot, build_snapshot
from scorewire_server.engine.statistics import (
    BUCKETS_SECONDS,
    PREDICT,
    PREDICT_STREAM,
    Histogram,
    Statistics,
    VersionStatistics,
)
from scorewire_server.engine.tls import read_certificate
from scorewire_server.engine.validation import (
    check_answer,
    check_request,
    draining,
    expired,
    find_version,
    malformed,
    too_many_in_flight,
)
from scorewire_server.errors import TABLE, CallError, code_and_reason, to_status
from scorewire_server.logs import log_fault
from scorewire_server.settings import Settings

_QUIET_SECONDS = 0.1
_LONGEST_REFUSAL_SECONDS = 2.0
_METHODS = (PREDICT, PREDICT_STREAM)
_ROW_REASONS = (
    errors_pb2.ERROR_REASON_MISSING_VALUE,
    errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE,
    errors_pb2.ERROR_REASON_UNKNOWN_TEXT,
)

_Failure: TypeAlias = "scorewire_native.Failure"


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
        fixed = (
            malformed(),
            too_many_in_flight(settings.max_in_flight),
            expired(),
            draining(),
            RuntimeError(),
        )
        self._native = scorewire_native.Engine(
            settings.max_rows,
            settings.max_in_flight,
            settings.max_message_bytes,
            threads,
            [round(bound * 1e9) for bound in BUCKETS_SECONDS],
            [_failure(error) for error in fixed],
        )
        self._versions: dict[LoadedVersion, scorewire_native.Version] = {}
        self._calls: dict[int, _Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False
        self.publish(build_snapshot(()))

    @property
    def statistics(self) -> Statistics:
        """What was answered so far."""
        in_flight, streams, answered, failed = self._native.calls()
        codes = {reason: code for code, reason in (*TABLE.values(), code_and_reason(RuntimeError()))}
        statistics = Statistics(in_flight, streams, dict(zip(_METHODS, answered, strict=True)))
        for method, counts in zip(_METHODS, failed, strict=True):
            for reason, count in enumerate(counts):
                if count:
                    reason_value = errors_pb2.ErrorReason.ValueType(reason)
                    statistics.failed[method, codes[reason_value], reason_value] = count
        for model, version, rows, row_errors, decode, run, encode in self._native.version_counts():
            if not sum(decode[0]):
                continue
            statistics.versions[model, version] = VersionStatistics(
                rows,
                {reason: n for reason, n in zip(_ROW_REASONS, row_errors, strict=True) if n},
                _histogram(*decode),
                _histogram(*run),
                _histogram(*encode),
            )
        return statistics

    async def start(self) -> str:
        """Bind and answer calls; returns the real address as HOST:PORT."""
        settings = self._settings
        tls = read_certificate(settings)
        try:
            port = self._native.start(
                settings.listen,
                tls,
                settings.batch_threads,
                _processors() if settings.pin_threads == "on" else [],
                settings.max_streams,
                settings.max_connection_age_seconds,
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

    def publish(self, snapshot: Snapshot) -> None:
        """Answer the calls that come from now on from this snapshot."""
        routes = list(snapshot.routes())
        self._versions = {
            version: self._versions.get(version) or native_version(self._native, version)
            for version in {version for _, _, version in routes}
        }
        self._native.publish([(model, name, self._versions[v]) for model, name, v in routes], snapshot)

    def refuse_new_calls(self) -> None:
        """Answer new prediction calls with DRAINING; streams that are open go on."""
        self._native.refuse_new_calls()

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, let those in flight end within the grace, then close."""
        self.refuse_new_calls()
        for call in list(self._calls.values()):
            if isinstance(call.method, StreamMethod):
                call.end()
        if not self._started:
            return
        self._started = False
        await self._wait_until_quiet(min(grace_seconds, _LONGEST_REFUSAL_SECONDS))
        await asyncio.to_thread(self._native.stop, grace_seconds)
        asyncio.get_running_loop().remove_reader(self._native.fileno())
        self._read_events()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait_until_quiet(self, limit_seconds: float) -> None:
        """Refuse calls until no more come, or the time is over: a refusal tells callers to go elsewhere."""
        deadline = monotonic() + limit_seconds
        refused = -1
        while refused != self._native.refused() and monotonic() < deadline:
            refused = self._native.refused()
            await asyncio.sleep(_QUIET_SECONDS)

    def _read_events(self) -> None:
        for event in self._native.take_events():
            match event:
                case ("open", number, path):
                    self._open(number, path)
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

    def _open(self, number: int, path: str) -> None:
        call = _Call(self._native, number, self._control[path])
        self._calls[number] = call
        task = asyncio.get_running_loop().create_task(call.run())
        call.task = task
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            del self._calls[number]

        task.add_done_callback(done)

    def _explain(self, question: scorewire_native.Question) -> _Failure:
        """Word a failure that the extension has found, by failing in the same way."""
        settings = self._settings
        snapshot, model, version, schema_fingerprint, row_count, number_count, text_count, answer_bytes = (
            question
        )
        try:
            check_answer(answer_bytes, settings.max_message_bytes)
            check_request(
                find_version(snapshot, model, version),
                schema_fingerprint=schema_fingerprint,
                row_count=row_count,
                number_count=number_count,
                text_count=text_count,
                max_rows=settings.max_rows,
            )
        except CallError as error:
            return _failure(error)
        fault = RuntimeError("the native engine refused what the control plane allows")
        log_fault(PREDICT, fault)
        return _failure(fault)


class _Call:
    """A control call: what its caller sent, for a handler, and what the handler says, for the caller."""

    def __init__(self, native: scorewire_native.Engine, number: int, method: ControlMethod) -> None:
        self.method = method
        self.task: asyncio.Task[None] | None = None
        self._native = native
        self._number = number
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._ended = False

    def take(self, data: bytes | None) -> None:
        """The message that was asked for; None where the caller sends no more."""
        self._arrived.put_nowait(data)

    def cancel(self) -> None:
        """The caller went away."""
        if self.task is not None:
            self.task.cancel()

    def end(self) -> None:
        """End the handler's iteration; the caller sees the call end well."""
        self._ended = True
        if self.task is not None:
            self.task.cancel()

    async def run(self) -> None:
        """Answer the call."""
        native, number, method = self._native, self._number, self.method
        try:
            if isinstance(method, UnaryMethod):
                data = await self._next()
                if data is None:
                    raise malformed()
                native.send(number, await method.handler(data))
            else:
                async for answer in method.handler(self._messages()):
                    native.send(number, answer)
        except asyncio.CancelledError:
            if self._ended:
                native.finish(number)
        except Exception as error:
            if not isinstance(error, CallError):
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


def _failure(error: BaseException) -> _Failure:
    status = to_status(error)
    return status.code, code_and_reason(error)[1], status.message, status.SerializeToString()


def _histogram(counts: list[int], sum_ns: int) -> Histogram:
    histogram = Histogram()
    histogram.counts[:] = counts
    histogram.sum_ns = sum_ns
    return histogram


def _processors() -> list[int]:
    """The processors that this process may run on."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return sorted(affinity(0)) if affinity is not None else list(range(os.cpu_count() or 1))
