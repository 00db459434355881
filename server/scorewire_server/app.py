"""The server put together, and its life: start, load, serve, drain, stop."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

from scorewire_proto.v1 import models_pb2
from scorewire_server.control.health import Health
from scorewire_server.control.model_service import ModelService
from scorewire_server.control.reflection import Reflection
from scorewire_server.engine.choice import choose
from scorewire_server.engine.port import StartError
from scorewire_server.engine.snapshot import Snapshot, VersionRecord, build_snapshot
from scorewire_server.loader import announce, load, refuse
from scorewire_server.logs import logger
from scorewire_server.metrics import Metrics, MetricsServer
from scorewire_server.repository import Candidate, scan
from scorewire_server.settings import Settings
from scorewire_server.trial import Trial

_SECOND_SIGNAL_EXIT_CODE = 130
# Those who watch health are told, whatever the pause.
_LEAST_PAUSE_SECONDS = 0.05


class App:
    """One server; to be used from one event loop.

    Raises:
        StartError: the folder of bundles cannot be read, or the certificate not be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._candidates = scan(settings.models)
        self._snapshot: Snapshot = build_snapshot(())
        self._health = Health()
        control = [
            *ModelService(lambda: self._snapshot).methods(),
            *self._health.methods(),
            *Reflection().methods(),
        ]
        self._kind = choose(settings.engine)
        self._engine = self._kind.make(settings, control)
        self._trial: Trial | None = None
        self._metrics_server: MetricsServer | None = None
        self._loading: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Answer calls, and load the bundles meanwhile; returns the address.

        Raises:
            StartError: a port cannot be bound.
        """
        settings = self._settings
        metrics = Metrics(lambda: self._engine.statistics, lambda: self._snapshot)
        try:
            if self._candidates and settings.trial_seconds:
                self._trial = Trial(
                    seconds=settings.trial_seconds,
                    memory_bytes=settings.trial_memory_bytes,
                    threads=settings.graph_threads,
                    engine=self._kind.name,
                )
                await self._trial.start()
            address = await self._engine.start()
            if settings.metrics_port is not None:
                host = settings.listen.rpartition(":")[0]
                self._metrics_server = MetricsServer(metrics, host, settings.metrics_port)
        except StartError:
            await self._close(grace_seconds=0)
            raise
        self._loading = asyncio.create_task(self._load_all(address))
        return address

    async def loaded(self) -> None:
        """Wait until every bundle serves or is refused."""
        if self._loading is not None:
            await self._loading

    async def drain(self) -> None:
        """Stop in order: health first, then a pause, then the calls in flight, then the ports."""
        log, settings = logger(), self._settings
        self._health.drain()
        log.info("draining", drain_seconds=settings.drain_seconds, grace_seconds=settings.grace_seconds)
        await asyncio.sleep(max(settings.drain_seconds, _LEAST_PAUSE_SECONDS))
        await self._close(settings.grace_seconds)
        log.info("stopped")

    async def _close(self, grace_seconds: float) -> None:
        """End whatever was started."""
        if self._loading is not None:
            self._loading.cancel()
        if self._trial is not None:
            await self._trial.close()
        await self._engine.stop(grace_seconds)
        if self._metrics_server is not None:
            self._metrics_server.close()

    async def _load_all(self, address: str) -> None:
        """Load every candidate, the highest version of a model first, publishing after each."""
        log = logger()
        records = {candidate: announce(candidate) for candidate in self._candidates}
        self._publish(records, loading=True)
        by_key = {(candidate.model, candidate.version): candidate for candidate in self._candidates}
        order = [
            by_key[record.model, record.version]
            for model in self._snapshot.models.values()
            for record in model.versions
        ]
        for candidate in order:
            record = records[candidate] = await self._load(candidate)
            if record.state == models_pb2.VERSION_STATE_SERVING:
                log.info("version serves", model=record.model, version=record.version)
            else:
                log.error("version refused", model=record.model, version=record.version, reason=record.reason)
            self._publish(records, loading=True)
        if self._trial is not None:
            await self._trial.close()
        self._publish(records, loading=False)
        metrics_address = self._metrics_server.address if self._metrics_server is not None else None
        if self._settings.port_file is not None:
            _write_port_file(self._settings.port_file, address, metrics_address)
        if self._health.serving:
            log.info("serving", address=address, metrics=metrics_address, engine=self._kind.description)
        else:
            log.warning(
                "not serving: no bundle under --models may serve",
                address=address,
                models=str(self._settings.models),
                found=len(order),
            )

    async def _load(self, candidate: Candidate) -> VersionRecord:
        """Load a candidate that has passed its trial."""
        if self._trial is not None and (reason := await self._trial.refusal(candidate)):
            return refuse(candidate, reason)
        open_graph = partial(self._kind.open_session, threads=self._settings.graph_threads)
        return await asyncio.to_thread(load, candidate, open_graph)

    def _publish(self, records: dict[Candidate, VersionRecord], *, loading: bool) -> None:
        self._snapshot = build_snapshot(records.values())
        self._engine.publish(self._snapshot)
        self._health.update(self._snapshot, loading=loading)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

    Raises:
        StartError: the server cannot start.
    """
    app = App(settings)
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(_SECOND_SIGNAL_EXIT_CODE)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
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


def _write_port_file(path: Path, address: str, metrics_address: str | None) -> None:
    """Whole or not at all, for programs that wait for it."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    lines = [address] if metrics_address is None else [address, metrics_address]
    try:
        scratch.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise StartError(f"--port-file {path} cannot be written: {error.strerror}") from None
