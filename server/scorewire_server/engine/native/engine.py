"""The native engine behind the port of all engines.

The extension answers predictions in threads of its own. What it cannot answer comes
as events: the extension's file descriptor wakes the event loop, which reads the
events here and sends answers back by the number of the call. So the extension's
threads never wait for the interpreter.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from weakref import WeakKeyDictionary

import scorewire_native
from scorewire_contract.service.logs import log_fault
from scorewire_contract.service.start import StartError
from scorewire_server.engine.access import AccessOptions, AccessTable, Principal
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.encodings.methods import TENSOR_METHODS, PredictionMethod
from scorewire_server.engine.encodings.positional import malformed
from scorewire_server.engine.interpreted.failures import (
    cannot_bind,
    draining,
    expired,
    over_share,
    overloaded,
    permission_denied,
    run_failed,
    run_stopped,
    too_many_failing,
    too_many_in_flight,
    unauthenticated,
)
from scorewire_server.engine.interpreted.predictor import Limits, Predictor
from scorewire_server.engine.native.access import NativeAccess, access_parts
from scorewire_server.engine.native.calls import ForwardedCall
from scorewire_server.engine.native.context import read_context
from scorewire_server.engine.native.explanation import explain, failure_of, limit_failure
from scorewire_server.engine.native.limits import NativeLimits
from scorewire_server.engine.native.pool import NativePool
from scorewire_server.engine.native.recording import (
    NativeSources,
    read_counts,
    record_lanes,
    record_parts,
)
from scorewire_server.engine.native.session import load_runtime
from scorewire_server.engine.native.statistics import read_statistics
from scorewire_server.engine.native.tracing import NativeTraces, trace_parts
from scorewire_server.engine.native.version import native_version
from scorewire_server.engine.port import Certificate, ControlMethod, StreamMethod, UnaryMethod
from scorewire_server.engine.recording import NO_SOURCES, RecordCounts, RecordOptions, Sources
from scorewire_server.engine.snapshot import LoadedVersion, Route, Snapshot
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.engine.statistics import BUCKETS_SECONDS, RouteKey, Statistics
from scorewire_server.engine.tls import read_certificate
from scorewire_server.engine.tracing import TraceOptions, TraceQueue
from scorewire_server.settings import Settings

# The settings that bound connections.
_CONNECTION_LIMITS = (
    "max_streams",
    "max_metadata_bytes",
    "max_connection_age_grace_seconds",
    "max_connection_age_seconds",
    "max_connection_idle_seconds",
    "max_connections",
    "max_connections_per_address",
    "max_stall_seconds",
    "max_stream_seconds",
)


class NativeEngine:
    """An `Engine` in Rust; to be used from one event loop.

    Raises:
        StartError: onnxruntime's library cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        control: Iterable[ControlMethod],
        records: RecordOptions | None = None,
        traces: TraceOptions | None = None,
        access: AccessOptions | None = None,
    ) -> None:
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
            "over_share": over_share(),
            "run_stopped": run_stopped(settings.max_run_seconds),
            "draining": draining(),
            "internal": RuntimeError(),
            "unauthenticated": unauthenticated(),
            "permission_denied": permission_denied(),
        }
        self._native = scorewire_native.Engine(
            {
                "max_rows": settings.max_rows,
                "max_in_flight": settings.max_in_flight,
                "max_message_bytes": settings.max_message_bytes,
                "max_run_seconds": settings.max_run_seconds,
                "max_buffered_bytes": settings.buffered_bytes,
                "threads": threads,
                "bounds_ns": [round(bound * 1e9) for bound in BUCKETS_SECONDS],
                "records": None if records is None else record_parts(records),
                "traces": None if traces is None else trace_parts(traces),
                "access": None if access is None else access_parts(access, self._control.values()),
            },
            {name: failure_of(error) for name, error in fixed.items()} | {"caller_limit": limit_failure()},
        )
        self._versions: dict[LoadedVersion, scorewire_native.Version] = {}
        # Prepared, and not in a snapshot yet.
        self._prepared: WeakKeyDictionary[LoadedVersion, scorewire_native.Version] = WeakKeyDictionary()
        # No longer in the snapshot, but calls may still use them.
        self._leaving: dict[LoadedVersion, scorewire_native.Version] = {}
        # Answers the tensors that the extension does not read itself, on the extension's graphs.
        self._sources = NativeSources(self._native)
        lanes = None if records is None else record_lanes(self._native, self._sources, records.start)
        self._traces = None if traces is None else NativeTraces(self._native, traces)
        self._access = None if access is None else NativeAccess(self._native, access, settings.max_in_flight)
        self._predictor = Predictor(
            Limits.of(settings),
            NativePool(self._native),
            lanes,
            tracing=traces is not None,
            callers=None if access is None else NativeLimits(self._native),
        )
        # All methods whose calls the extension forwards.
        self._forwarded = self._control | {each.path: self._prediction(each) for each in TENSOR_METHODS}
        self._calls: dict[int, ForwardedCall] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False
        self._stopping = False
        self.publish(build_snapshot(()))

    @property
    def statistics(self) -> Statistics:
        """The statistics so far."""
        return read_statistics(self._native, self._predictor.statistics)

    @property
    def records(self) -> RecordCounts | None:
        """What became of the rows so far; None without --records."""
        return read_counts(self._native)

    @property
    def traces(self) -> TraceQueue | None:
        """The traced calls that have ended; None without --traces."""
        return self._traces

    async def start(self) -> str:
        """Bind the address and answer calls; returns the real address as HOST:PORT."""
        settings = self._settings
        certificate = read_certificate(settings)
        if certificate is not None:
            self.use_certificate(certificate)
        try:
            port = self._native.start(
                settings.listen,
                {
                    "batch_threads": settings.batch_threads,
                    "processors": _processors() if settings.pin_threads == "on" else [],
                    "spin_us": settings.spin_us,
                },
                {name: getattr(settings, name) for name in _CONNECTION_LIMITS}
                | {"max_connection_bytes": settings.connection_bytes},
                set(self._control),
            )
        except OSError as error:
            raise cannot_bind(settings.listen, f" ({error})") from None
        self._started = True
        asyncio.get_running_loop().add_reader(self._native.fileno(), self._read_events)
        return f"{settings.listen.rpartition(':')[0]}:{port}"

    def prepare(self, version: LoadedVersion) -> None:
        """Make the extension's version ahead of its publication."""
        self._prepared[version] = native_version(self._native, version)

    def publish(
        self,
        snapshot: Snapshot,
        *,
        loading: bool = False,
        sources: Sources = NO_SOURCES,
    ) -> None:
        """Answer new calls from this snapshot."""
        routes = list(snapshot.routes())
        served = {version for each in routes for version in each.versions()}
        versions = {loaded: self._made(loaded) for loaded in served}
        services = [
            (name, each.model, each.major, each.route.name) for name, each in snapshot.services.items()
        ]
        choices = {key: self._sources.choice(source) for key, source in sources.items()}
        # Everything that can fail is done with this call; a failure has changed nothing.
        self._native.publish([_route(each, versions, choices) for each in routes], services, snapshot)
        self._predictor.publish(snapshot, loading=loading, sources=sources)
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
        """Show a certificate to new connections, and verify their clients'; open connections go on."""
        try:
            self._native.use_certificate(
                certificate.chain, certificate.key, certificate.client_ca, certificate.client_crl
            )
        except ValueError as error:
            raise StartError(f"the native engine cannot use the files of TLS: {error}") from None

    def use_access(self, table: AccessTable) -> None:
        """Ask callers for credentials of a new table."""
        if self._access is None:
            raise ValueError("the engine was made without access")
        self._access.use(table)

    def count_denied(self, principal: Principal) -> None:
        """Count a control call that was refused for a missing right."""
        self._native.count_denied(principal.name)

    def in_use(self, version: LoadedVersion) -> bool:
        """Whether a call or a copy for a shadow still uses a version."""
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
        """Ask clients to begin no more calls, answer the calls that still come, then close."""
        self._stopping = True
        self._predictor.first_load.give_up()
        for call in list(self._calls.values()):
            self._end_stream(call)
        if self._started:
            self._started = False
            await asyncio.to_thread(self._native.stop, grace_seconds)
            asyncio.get_running_loop().remove_reader(self._native.fileno())
            self._read_events()
            # Cancels the work that waits for threads which have ended.
            self._predictor.close()
            if self._access is not None:
                await self._access.close()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        # All answers have been recorded by now.
        await asyncio.to_thread(self._native.close_records)

    def _end_stream(self, call: ForwardedCall) -> None:
        """End a call if it is a control stream, since those may never end by themselves."""
        if isinstance(call.method, StreamMethod) and call.method.path in self._control:
            call.end()

    def _read_events(self) -> None:
        for event in self._native.take_events():
            match event:
                case ("open", number, (path, metadata, peer, age_ns, seconds_left, span, principal)):
                    context = read_context(path, metadata, peer, age_ns, seconds_left)
                    self._open(number, self._traced(context, span), principal)
                case ("verify", number, question) if self._access is not None:
                    self._access.ask(number, question)
                case ("refused", _, refusal) if self._access is not None:
                    self._access.refused(refusal)
                case ("ask", number, question):
                    self._native.answer(number, self._explain(question))
                case ("fault", _, (method, text)):
                    log_fault(method, run_failed(text))
                case ("message", number, data) if call := self._calls.get(number):
                    call.take(data)
                case ("end", number, _) if call := self._calls.get(number):
                    call.take(None)
                case ("gone", number, _) if call := self._calls.get(number):
                    call.cancel()

    def _open(self, number: int, context: CallContext, principal: str | None) -> None:
        if principal is not None and self._access is not None:
            found = self._access.principal(principal)
            if found is None:
                # Without a principal the call would look like one that needs no credential.
                self._native.finish(number, failure_of(unauthenticated()))
                return
            context = context.identified(found)
        call = ForwardedCall(self._native, number, self._forwarded[context.method], context)
        self._calls[number] = call
        task = asyncio.get_running_loop().create_task(call.run())
        call.task = task
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            # Here, since a task that is cancelled before it begins runs no code.
            call.close()
            self._tasks.discard(task)
            del self._calls[number]

        task.add_done_callback(done)
        if self._stopping:
            # A stream that begins now would keep its connection from becoming idle.
            self._end_stream(call)

    def _traced(self, context: CallContext, span: scorewire_native.SpanContext | None) -> CallContext:
        """The context with the trace of a prediction that the extension traces."""
        if span is None or self._traces is None:
            return context
        stream = isinstance(self._forwarded[context.method], StreamMethod)
        trace = self._traces.resume(context.method, span, context.received_ns, stream=stream)
        return replace(context, trace=trace)

    def _prediction(self, method: PredictionMethod) -> ControlMethod:
        """A prediction method, as the handler of calls that the extension forwards."""
        predictor = self._predictor

        async def answer(data: bytes, context: CallContext) -> bytes:
            return await predictor.answer(method, context, data)

        async def answer_all(messages: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
            async for data in messages:
                yield await predictor.answer(method, context, data)

        return StreamMethod(method.path, answer_all) if method.stream else UnaryMethod(method.path, answer)

    def _explain(self, question: scorewire_native.Question) -> scorewire_native.Failure:
        settings = self._settings
        return explain(question, max_rows=settings.max_rows, max_message_bytes=settings.max_message_bytes)


def _route(
    route: Route,
    versions: Mapping[LoadedVersion, scorewire_native.Version],
    choices: Mapping[RouteKey, scorewire_native.RecordChoice],
) -> scorewire_native.Route:
    def choice(version: LoadedVersion, *, shadow: bool = False) -> scorewire_native.RecordChoice | None:
        return choices.get(RouteKey(route.model, version.version, route.name, shadow))

    targets = [
        (versions[each.version], each.weight, each.seed, choice(each.version)) for each in route.targets
    ]
    if route.shadow is None:
        return route.model, route.name, targets, None
    version, share = route.shadow
    return route.model, route.name, targets, (versions[version], share, choice(version, shadow=True))


def _processors() -> list[int]:
    """The processors that this process may run on."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return sorted(affinity(0)) if affinity is not None else list(range(os.cpu_count() or 1))
