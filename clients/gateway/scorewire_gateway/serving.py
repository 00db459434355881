"""Runs the gateway: listens, serves, drains, stops."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import uvicorn

from scorewire_contract.service.logs import logger
from scorewire_contract.service.metrics_server import MetricsServer, listen
from scorewire_contract.service.start import StartError, write_port_file
from scorewire_contract.service.stopping import MARGIN_SECONDS, SIGNALS, StopWatch
from scorewire_gateway.app import create_app
from scorewire_gateway.connection import bounded_protocol
from scorewire_gateway.limits import MAX_HEAD_BYTES
from scorewire_gateway.settings import Settings
from scorewire_gateway.state import State

# Open files beside the connections: uploads, files for download, jobs, the connection to the server.
_OTHER_FILES = 1024


class Gateway:
    """One gateway; to be used from one event loop.

    Attributes:
        address: HOST:PORT, once it is started.
        metrics_address: HOST:PORT of the metrics; None without them.

    Raises:
        SettingError: the settings contradict each other, or a file that they name cannot be read.
        StartError: the certificate cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        app = create_app(settings)
        self._state: State = app.state.gateway
        self.address = ""
        self.metrics_address: str | None = None
        self._metrics_server: MetricsServer | None = None
        self._app = app
        # What runs beside the requests; here and not in uvicorn, which would swallow its errors.
        self._running = AsyncExitStack()
        self._context = context = _tls_context(settings)
        config = uvicorn.Config(
            app,
            http=bounded_protocol(
                max_connections=settings.max_connections, max_stall_seconds=settings.max_stall_seconds
            ),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=round(settings.max_idle_seconds),
            timeout_graceful_shutdown=max(1, round(settings.grace_seconds)),
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            ssl_context_factory=None if context is None else lambda *_: context,
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, and begin to answer.

        Raises:
            StartError: a port cannot be bound.
        """
        settings = self._settings
        host, _, port = settings.listen.rpartition(":")
        try:
            listener = listen(host.strip("[]"), int(port))
        except OSError as error:
            raise StartError(
                f"--listen {settings.listen} cannot be bound: {error.strerror or error}"
            ) from None
        if settings.metrics_port is not None:
            try:
                self._metrics_server = MetricsServer(
                    self._state.metrics.registry, host, settings.metrics_port
                )
            except StartError:
                listener.close()
                raise
            self.metrics_address = self._metrics_server.address
        self.address = f"{host}:{listener.getsockname()[1]}"
        try:
            await self._running.enter_async_context(self._app.router.lifespan_context(self._app))
        except BaseException:
            listener.close()
            await self._close()
            raise
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        await self._server.begun.wait()

    def reread_certificate(self) -> None:
        """Read the certificate's files again; new connections get the new one."""
        log, settings = logger(), self._settings
        if self._context is None or settings.tls_cert is None:
            log.info("there is no certificate to read again: TLS is off")
            return
        try:
            # Its own context first, so that files that do not fit change nothing.
            _tls_context(settings)
            self._context.load_cert_chain(settings.tls_cert, settings.tls_key)
        except (OSError, StartError) as error:
            log.error("the certificate is not replaced, the one before stays", reason=str(error))
        else:
            log.info("certificate read again", file=str(settings.tls_cert))

    async def drain(self) -> None:
        """Stop in order: /health turns 503, a pause for balancers, the port closes, requests end."""
        log, settings = logger(), self._settings
        self._state.draining = True
        log.info("draining", drain_seconds=settings.drain_seconds, grace_seconds=settings.grace_seconds)
        await asyncio.sleep(settings.drain_seconds)
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        await self._close()
        log.info("stopped")

    async def _close(self) -> None:
        await self._running.aclose()
        if self._metrics_server is not None:
            await asyncio.to_thread(self._metrics_server.close)


class _Server(uvicorn.Server):
    """uvicorn's server, in a process that handles the signals itself.

    Attributes:
        begun: set once requests are answered.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.begun.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain. A second signal ends the process at once.

    On SIGHUP the gateway reads the certificate's files again.

    Raises:
        SettingError: the settings contradict each other, or a file that they name cannot be read.
        StartError: the gateway cannot start.
    """
    _allow_open_files(settings.max_connections + _OTHER_FILES)
    gateway = Gateway(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, gateway.reread_certificate)
    with StopWatch(settings.drain_seconds + settings.grace_seconds + MARGIN_SECONDS):
        await gateway.start()
        if settings.port_file is not None:
            write_port_file(settings.port_file, gateway.address, gateway.metrics_address)
        logger().info(
            "serving", address=gateway.address, metrics=gateway.metrics_address, server=settings.server
        )
        try:
            await stop.wait()
        finally:
            await gateway.drain()


def _allow_open_files(count: int) -> None:
    """Raise the limit of open files to a count, as far as the system lets a process do so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < count:
        logger().warning(
            "the system allows fewer open files than --max-connections needs", allowed=allowed, needed=count
        )


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS settings of the HTTP port; None without TLS.

    Raises:
        StartError: the certificate and its key cannot be used.
    """
    if settings.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"--tls-cert and --tls-key cannot be used: {error}") from None
    return context
