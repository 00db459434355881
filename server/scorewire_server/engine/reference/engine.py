"""The reference engine behind the port of all engines: the socket, its options and its certificate."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import grpc
from grpc import aio

from scorewire_server.engine.access import AccessOptions, AccessTable, Principal
from scorewire_server.engine.interpreted.failures import cannot_bind
from scorewire_server.engine.interpreted.limits import CallerLimits
from scorewire_server.engine.interpreted.predictor import Limits, Predictor
from scorewire_server.engine.port import Certificate, ControlMethod
from scorewire_server.engine.recording import NO_SOURCES, RecordCounts, RecordOptions, Sources
from scorewire_server.engine.reference import compression
from scorewire_server.engine.reference.admission import Admission
from scorewire_server.engine.reference.calls import Calls
from scorewire_server.engine.reference.spool.recorder import Recorder
from scorewire_server.engine.snapshot import LoadedVersion, Snapshot
from scorewire_server.engine.statistics import Statistics
from scorewire_server.engine.tls import read_certificate
from scorewire_server.engine.tracer import Tracer
from scorewire_server.engine.tracing import TraceOptions, TraceQueue
from scorewire_server.settings import Settings

# Calls that wait until a handler begins, for each call in flight; grpc cancels calls beyond that.
_PENDING_PER_CALL = 4
_LEAST_PENDING = 4096


class ReferenceEngine:
    """An `Engine` on grpc.aio; to be used from one event loop."""

    def __init__(
        self,
        settings: Settings,
        control: Iterable[ControlMethod],
        records: RecordOptions | None = None,
        traces: TraceOptions | None = None,
        access: AccessOptions | None = None,
    ) -> None:
        self._settings = settings
        self._recorder = None if records is None else Recorder(records, version("scorewire-server"))
        pool = ThreadPoolExecutor(settings.batch_threads, thread_name_prefix="score")
        lanes = None if self._recorder is None else self._recorder.lanes
        self._tracer = None if traces is None else Tracer(traces)
        self._callers = None if access is None else CallerLimits(settings.max_in_flight)
        if access is not None and self._callers is not None:
            self._callers.use(access.table.principals)
        self._predictor = Predictor(
            Limits.of(settings), pool, lanes, tracing=traces is not None, callers=self._callers
        )
        self._admission = Admission(access, settings.max_in_flight, self._callers)
        self._calls = Calls(
            settings, self._predictor, control, self._tracer, self._admission, callers=self._callers
        )
        self._server: aio.Server | None = None
        # The next certificate, until the first handshake takes it.
        self._certificates: deque[grpc.ServerCertificateConfiguration] = deque(maxlen=1)

    @property
    def statistics(self) -> Statistics:
        """The statistics so far."""
        statistics = self._predictor.statistics
        if self._callers is not None:
            statistics.principals = self._callers.counts
            statistics.credentials_refused = dict(self._admission.refused)
        return statistics

    @property
    def records(self) -> RecordCounts | None:
        """What became of the rows so far; None without --records."""
        return None if self._recorder is None else self._recorder.counts

    @property
    def traces(self) -> TraceQueue | None:
        """The traced calls that have ended; None without --traces."""
        return self._tracer

    async def start(self) -> str:
        """Bind the address and answer calls; returns the real address as HOST:PORT."""
        server = aio.server(options=_options(self._settings))
        server.add_generic_rpc_handlers((self._calls,))
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
            raise cannot_bind(listen)
        await server.start()
        self._server = server
        return f"{listen.rpartition(':')[0]}:{port}"

    def prepare(self, version: LoadedVersion) -> None:
        """Do nothing: this engine uses a version as it was loaded."""

    def publish(self, snapshot: Snapshot, *, loading: bool = False, sources: Sources = NO_SOURCES) -> None:
        """Answer new calls from this snapshot, and record what `sources` say."""
        self._predictor.publish(snapshot, loading=loading, sources=sources)

    def use_certificate(self, certificate: Certificate) -> None:
        """Show a certificate to new connections, and verify their clients'; open connections go on."""
        self._certificates.append(_configuration(certificate))
        self._admission.use_revocations(_revoked(certificate))

    def use_access(self, table: AccessTable) -> None:
        """Ask callers for credentials of a new table."""
        if self._callers is not None:
            self._callers.use(table.principals)
        self._admission.use_access(table)

    def count_denied(self, principal: Principal) -> None:
        """Count a control call that was refused for a missing right."""
        if self._callers is not None:
            self._callers.deny(principal)

    def in_use(self, version: LoadedVersion) -> bool:
        """Whether a call or a copy for a shadow still uses a version."""
        return self._predictor.in_use(version)

    async def stop(self, grace_seconds: float) -> None:
        """Ask clients to begin no more calls, let calls end within the grace, then close."""
        self._calls.stop()
        self._predictor.first_load.give_up()
        if self._server is not None:
            await self._server.stop(grace_seconds)
        await self._admission.close()
        self._predictor.close()
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.close)

    def _credentials(self) -> grpc.ServerCredentials | None:
        certificate = read_certificate(self._settings)
        if certificate is None:
            return None

        def changed() -> Any:
            # Called by grpc's threads before each handshake; None keeps the certificate before.
            with suppress(IndexError):
                return self._certificates.pop()
            return None

        self._admission.use_revocations(_revoked(certificate))
        # grpc in Python cannot ask clients for a certificate without requiring one.
        required = certificate.client_ca is not None
        return grpc.dynamic_ssl_server_credentials(_configuration(certificate), changed, required)


def _options(settings: Settings) -> list[tuple[str, int]]:
    # Calls over `max_in_flight` get RESOURCE_EXHAUSTED when they leave the queue.
    pending = max(_LEAST_PENDING, _PENDING_PER_CALL * settings.max_in_flight)
    options = [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", settings.max_streams),
        # Between two different limits grpc would refuse calls at random.
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        # With a shorter queue grpc would drop some calls of a burst before a handler sees them.
        ("grpc.server.max_pending_requests", pending),
        ("grpc.server.max_pending_requests_hard_limit", pending),
        ("grpc.http.overload_protection", 0),
        # A port that is in use must be an error; with this option two servers would share it.
        ("grpc.so_reuseport", 0),
        *compression.OPTIONS,
        # Clients may ping every 10 seconds, even without a call.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Connections whose other end is gone are closed within 80 seconds.
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
    if settings.max_connection_age_grace_seconds:
        grace = round(settings.max_connection_age_grace_seconds * 1000)
        options.append(("grpc.max_connection_age_grace_ms", grace))
    return options


def _configuration(certificate: Certificate) -> grpc.ServerCertificateConfiguration:
    pairs = [(certificate.key, certificate.chain)]
    return grpc.ssl_server_certificate_configuration(pairs, certificate.client_ca)


def _revoked(certificate: Certificate) -> Callable[[bytes], bool] | None:
    """Whether a client's certificate, in DER, is revoked; None if there are no revocation lists."""
    if certificate.client_ca is None or certificate.client_crl is None:
        return None
    # Only servers that ask clients for certificates load the library.
    from scorewire_server.engine.revocations import parse_revocations  # noqa: PLC0415

    revocations = parse_revocations(certificate.client_ca, certificate.client_crl)
    return lru_cache(maxsize=1024)(revocations.has_der)
