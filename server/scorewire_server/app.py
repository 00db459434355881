"""The server as a whole, and its life: start, load, serve, drain, stop."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version

from scorewire_contract.service.logs import log_fault, logger
from scorewire_contract.service.metrics_server import MetricsServer
from scorewire_contract.service.start import StartError, write_port_file
from scorewire_contract.service.stopping import MARGIN_SECONDS, SIGNALS, StopWatch
from scorewire_proto.v1 import models_pb2
from scorewire_server.callers import Callers
from scorewire_server.catalog.catalog import Catalog
from scorewire_server.catalog.repository import BundleFolder, refuse_misplaced, scan
from scorewire_server.catalog.state import StateFile
from scorewire_server.catalog.version_policy import parse_version_policy
from scorewire_server.catalog.versions import Versions
from scorewire_server.catalog.watch import changes
from scorewire_server.certificates import Certificates
from scorewire_server.control.audit import Audit
from scorewire_server.control.audit_file import AuditFile
from scorewire_server.control.guard import Guard
from scorewire_server.control.health import Health
from scorewire_server.control.inference_service import InferenceService
from scorewire_server.control.model_service import ModelService
from scorewire_server.control.reflection import Reflection
from scorewire_server.control.stream_limit import limit_streams
from scorewire_server.engine.access import AccessTable, Principal
from scorewire_server.engine.factory import choose_engine
from scorewire_server.engine.recording import NO_SOURCES
from scorewire_server.engine.snapshot import LoadedVersion, Snapshot, VersionRecord
from scorewire_server.loading.loader import load
from scorewire_server.loading.sandbox import Sandbox
from scorewire_server.loading.sandboxed_loader import SandboxedLoader
from scorewire_server.metrics import Metrics
from scorewire_server.records import shipper
from scorewire_server.records.records import Records
from scorewire_server.settings import Settings
from scorewire_server.tracing import traces
from scorewire_server.tracing.traces import Traces

STATE_FILE = ".scorewire-state.json"
# A look at the repository whose loads take longer than this no longer holds up the next look, unless as
# many looks as `_MAX_LOOKS` are under way.
_LOOK_PATIENCE_SECONDS = 2.0
_MAX_LOOKS = 8
# Even without --drain-seconds, watchers of health get NOT_SERVING before the port closes.
_LEAST_PAUSE_SECONDS = 0.05


class App:
    """One server; to be used from one event loop.

    Raises:
        StartError: the repository cannot be read, --models names a bundle or the folder of a model,
            --state-file names a folder or is in use by another server, the file of --audit cannot be
            written, that of --access or the engine cannot be used, or records cannot be kept, or traces not
            sent, with these settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        if not scan(settings.models):
            refuse_misplaced(settings.models)
        state_file = settings.state_file or settings.models / STATE_FILE
        if state_file.is_dir():
            # Otherwise the folder would be renamed, as a broken state file is.
            raise StartError(f"--state-file {state_file} is a folder; name a file")
        self._health = Health(lists_models=settings.access is None)
        self._kind = choose_engine(settings.engine, settings.kernel)
        self._sandbox = Sandbox(
            seconds=settings.trial_seconds,
            memory_bytes=settings.trial_memory_bytes,
            threads=settings.graph_threads,
            engine=self._kind.name,
            kernel=settings.kernel,
            processes=settings.trial_processes,
        )
        self._loader = SandboxedLoader(self._sandbox if settings.trial_seconds else None, self._load)
        self._records = (
            None
            if settings.records is None
            else Records(
                settings, lambda: self._engine.records, lambda: self._publish(self._catalog.snapshot)
            )
        )
        self._traces = None if settings.traces is None else Traces(settings, lambda: self._engine.traces)
        self._callers = None if settings.access is None else Callers(settings, self._use_access)
        self._audit = Audit(None if settings.audit is None else AuditFile(settings.audit))
        self._state_file = StateFile(state_file)
        self._state_file.open()
        versions = Versions(
            settings.models,
            policy=parse_version_policy(settings.version_policy),
            state_file=self._state_file,
            load=self._loader.load,
            publish=self._publish,
            in_use=self._in_use,
        )
        self._catalog = Catalog(versions)
        models = ModelService(
            self._catalog,
            lambda: self._engine.statistics,
            lambda: self._records.ledger if self._records is not None else None,
            self._describe,
            max_rows=settings.max_rows,
            max_message_bytes=settings.max_message_bytes,
        )
        inference = InferenceService(
            self._catalog,
            lambda: self._engine.statistics,
            lambda: self._health.serving,
            server_version=version("scorewire-server"),
            max_rows=settings.max_rows,
        )
        callers = self._callers
        table = None if callers is None else lambda: callers.table
        guard = Guard(table, self._audit, self._count_denied, controllable=settings.controllable)
        reflection = Reflection(lambda: self._catalog.snapshot, guard.caller)
        control = [
            method
            for service in (models, inference, self._health, reflection)
            for method in service.methods()
        ]
        self._engine = self._kind.make(
            settings,
            limit_streams(guard.around(control), settings.max_watches),
            self._records.options if self._records is not None else None,
            self._traces.options if self._traces is not None else None,
            callers.options(self._audit.refused) if callers is not None else None,
        )
        self._certificates = Certificates(settings, self._engine.use_certificate)
        self._metrics_server: MetricsServer | None = None
        self._started_at = datetime.now(UTC)
        self._loading = True
        self._first_load: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._following: list[asyncio.Task[None]] = []

    async def start(self) -> str:
        """Answer calls, and begin to load the bundles.

        Returns:
            The address as HOST:PORT.

        Raises:
            StartError: a port cannot be bound, or the certificate cannot be used.
        """
        settings = self._settings
        metrics = Metrics(
            self._kind,
            lambda: self._engine.statistics,
            lambda: self._catalog.snapshot,
            self._certificates,
            access=None if self._callers is None else self._callers.access,
            audit=None if settings.audit is None else self._audit.counts,
            records=self._records,
            traces=self._traces,
        )
        try:
            if settings.trial_seconds and scan(settings.models):
                await self._sandbox.start()
            self._publish(self._catalog.snapshot)
            # Before the first call, so that a caller learns that a model is LOADING.
            await self._catalog.announce()
            address = await self._engine.start()
            if settings.metrics_port is not None:
                host = settings.listen.rpartition(":")[0]
                admit = None if self._callers is None else self._callers.may_scrape
                self._metrics_server = MetricsServer(metrics.registry, host, settings.metrics_port, admit)
        except StartError:
            await self._close(grace_seconds=0)
            raise
        self._started_at = datetime.now(UTC)
        if self._records is not None:
            self._records.start()
        if self._traces is not None:
            self._traces.start()
        self._warn(address)
        self._following = [asyncio.create_task(self._certificates.follow())]
        if self._callers is not None:
            self._following.append(asyncio.create_task(self._callers.follow()))
        self._first_load = asyncio.create_task(self._load_all(address))
        return address

    def reread_files(self) -> None:
        """Read the files of the certificate and of who may call at once, and log the results."""
        self._certificates.look_now()
        if self._callers is not None:
            self._callers.look_now()

    async def loaded(self) -> None:
        """Wait until each bundle of the first look serves or is refused."""
        if self._first_load is not None:
            await self._first_load

    async def drain(self) -> None:
        """Stop in order: NOT_SERVING, then a pause for balancers, then the engine, which lets calls end."""
        log, settings = logger(), self._settings
        self._health.drain()
        # A load in the sandbox may never end by itself.
        await self._sandbox.close()
        log.info("draining", drain_seconds=settings.drain_seconds, grace_seconds=settings.grace_seconds)
        await asyncio.sleep(max(settings.drain_seconds, _LEAST_PAUSE_SECONDS))
        await self._close(settings.grace_seconds)
        log.info("stopped")

    async def _close(self, grace_seconds: float) -> None:
        """End all tasks, processes and servers that were started, also when one of these steps fails."""
        async with AsyncExitStack() as last_steps:
            # They are done from the last to the first, when no call is left that could change the state, and
            # the spool is complete.
            last_steps.callback(self._state_file.close)
            last_steps.push_async_callback(self._audit.close)
            if self._metrics_server is not None:
                last_steps.callback(self._metrics_server.close)
            if self._records is not None:
                last_steps.push_async_callback(self._records.close)
            if self._traces is not None:
                last_steps.push_async_callback(self._traces.close)
            started = (self._first_load, self._watching, *self._following)
            tasks = [task for task in started if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._sandbox.close()
            await self._catalog.close()
            await self._engine.stop(grace_seconds)

    def _warn(self, address: str) -> None:
        """Log what is open to others than this machine."""
        if self._settings.on_loopback:
            return
        if self._callers is None:
            logger().warning("everybody who reaches the server may call; see --access", address=address)
        elif self._settings.tls_cert is None:
            logger().warning("keys and tokens are sent in the clear; see --tls-cert", address=address)

    async def _load_all(self, address: str) -> None:
        """Load the bundles, announce that the server serves, and follow the repository from then on."""
        log, settings = logger(), self._settings
        # Watching begins before the first look, so that no change in between is missed.
        self._watching = asyncio.create_task(self._watch())
        await asyncio.sleep(0)
        await self._look()
        self._loading = False
        self._publish(self._catalog.snapshot)
        metrics_address = self._metrics_server.address if self._metrics_server is not None else None
        if settings.port_file is not None:
            write_port_file(settings.port_file, address, metrics_address)
        if self._health.serving:
            log.info("serving", address=address, metrics=metrics_address, engine=self._kind.description)
        else:
            log.warning(
                "not serving: no bundle under --models may serve",
                address=address,
                models=str(settings.models),
                found=sum(len(model.versions) for model in self._catalog.snapshot.models.values()),
            )

    async def _watch(self) -> None:
        """Look at the repository whenever it may have changed."""
        settings = self._settings
        looks: set[asyncio.Task[None]] = set()
        try:
            async for _ in changes(settings.models, settings.watch, settings.watch_seconds):
                looks.add(asyncio.create_task(self._look()))
                patience = _LOOK_PATIENCE_SECONDS if len(looks) < _MAX_LOOKS else None
                _, looks = await asyncio.wait(looks, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for look in looks:
                look.cancel()

    async def _look(self) -> None:
        """Bring the catalog in line with the repository; a failure is logged, and later looks go on."""
        try:
            await self._catalog.refresh()
        except StartError as error:
            logger().error("the folder of bundles cannot be read", reason=str(error))
        except Exception as error:
            log_fault("look", error)

    def _load(self, folder: BundleFolder, digest: str) -> VersionRecord:
        open_graph = partial(self._kind.open_session, threads=self._settings.graph_threads)
        return load(
            folder,
            open_graph,
            self._engine.prepare,
            digest,
            compile_graph=self._kind.compile_graph,
            open_trees=self._kind.open_trees,
        )

    def _publish(self, snapshot: Snapshot) -> None:
        sources = self._records.sources(snapshot) if self._records is not None else NO_SOURCES
        self._engine.publish(snapshot, loading=self._loading, sources=sources)
        self._health.update(snapshot, loading=self._loading)

    def _in_use(self, version: LoadedVersion) -> bool:
        return self._engine.in_use(version)

    def _use_access(self, table: AccessTable) -> None:
        self._engine.use_access(table)

    def _count_denied(self, principal: Principal) -> None:
        self._engine.count_denied(principal)

    def _describe(self) -> models_pb2.GetServerResponse:
        answer = models_pb2.GetServerResponse(
            version=version("scorewire-server"),
            engine=self._kind.name,
            description=self._kind.description,
            control=self._settings.controllable,
        )
        answer.started_at.FromDatetime(self._started_at)
        return answer


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    A second signal ends the process at once. So does the end of the time to drain, if
    something hangs. On SIGHUP the server reads the files again that it follows.

    Raises:
        StartError: the server cannot start.
    """
    app = App(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, app.reread_files)
    last_pass = shipper.LAST_PASS_SECONDS if settings.records is not None else 0.0
    last_pass += traces.LAST_PASS_SECONDS if settings.traces is not None else 0.0
    with StopWatch(settings.drain_seconds + settings.grace_seconds + last_pass + MARGIN_SECONDS):
        await _serve(app, settings, stop)


async def _serve(app: App, settings: Settings, stop: asyncio.Event) -> None:
    address = await app.start()
    logger().info("listening", address=address, models=str(settings.models))
    stopped = asyncio.create_task(stop.wait())
    loaded = asyncio.create_task(app.loaded())
    await asyncio.wait((stopped, loaded), return_when=asyncio.FIRST_COMPLETED)
    try:
        if loaded.done():
            await loaded
            await stopped
    finally:
        await app.drain()
