"""The control plane of traces: what is traced, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from scorewire_contract.service.logs import logger
from scorewire_server.engine.tracing import TraceOptions, TraceQueue
from scorewire_server.problem_log import ProblemLog
from scorewire_server.settings import Settings
from scorewire_server.tracing.collector import Collector
from scorewire_server.tracing.exporter import Exporter, TraceLedger
from scorewire_server.tracing.request import resource

# The time that the last pass may take when the server stops.
LAST_PASS_SECONDS = 5.0
# The calls that wait in the engine: those of a few seconds, within bounds.
_WAITING_SECONDS = 4
_WAITING = (4096, 65_536)


class Traces:
    """The traces of one server; to be used from one event loop, but `ledger` from any thread.

    Whatever goes wrong after the start, no call fails or waits.

    Args:
        settings: the settings, with --traces.
        queue: gives the engine's queue.

    Raises:
        StartError: the collector cannot be used with these settings.
    """

    def __init__(self, settings: Settings, queue: Callable[[], TraceQueue | None]) -> None:
        assert settings.traces is not None  # noqa: S101 - as documented
        low, high = _WAITING
        self.options = TraceOptions(
            share=settings.traces_share,
            per_second=settings.traces_per_second,
            waiting=min(max(_WAITING_SECONDS * settings.traces_per_second, low), high),
        )
        self._started = False
        self._collector = Collector(settings.traces, settings.traces_headers_file)
        log = ProblemLog("traces are not sent as they should be", "traces are sent again")
        self._exporter = Exporter(queue, self._collector.export, resource(settings.traces_service_name), log)

    @property
    def ledger(self) -> TraceLedger:
        """What became of every span so far."""
        return self._exporter.ledger

    def start(self) -> None:
        """Start to send."""
        self._started = True
        self._exporter.start()

    async def close(self) -> None:
        """Send what is left, within a bounded time; to be called when the engine has stopped."""
        await asyncio.to_thread(self._exporter.close, LAST_PASS_SECONDS)
        self._collector.close()
        if not self._started:
            return
        ledger = self.ledger
        logger().info(
            "traces of this start",
            sampled=ledger.sampled,
            sent=ledger.sent,
            dropped=sum(ledger.dropped.values()),
            limited=ledger.limited,
        )
