"""What the routes share: the settings, the client of the server, and whether the gateway drains."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from scorewire import AsyncClient
from scorewire_gateway.guard import Guard
from scorewire_gateway.jobs.jobs import Jobs
from scorewire_gateway.metrics import Metrics
from scorewire_gateway.settings import Settings


@dataclass(slots=True, kw_only=True)
class State:
    """What the routes share.

    Attributes:
        settings: the settings.
        client: the client of the scoring server.
        guard: asks the server who may use what the gateway itself offers.
        metrics: what the gateway counts.
        parts: the parts that are on and need not be, such as "records"; each router adds its own.
        jobs: the training jobs; None without --jobs.
        draining: whether the gateway is about to stop; /health tells it.
        started_at: when the gateway was made.
    """

    settings: Settings
    client: AsyncClient
    guard: Guard
    metrics: Metrics
    parts: list[str] = field(default_factory=list)
    jobs: Jobs | None = None
    draining: bool = False
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
