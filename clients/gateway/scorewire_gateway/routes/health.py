"""Whether the gateway and its server can answer: /health for balancers, /status for people."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from scorewire import ScorewireError
from scorewire_gateway.calls import call_options
from scorewire_gateway.errors import json_response
from scorewire_gateway.state import State

# A balancer asks often, and waits for little.
_HEALTH_SECONDS = 2.0


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["health"])

    @routes.get("/health", summary="Whether predictions are answered", response_model=None)
    async def health() -> Response:
        """200 while the gateway and its server answer; 503 while one does not, or the gateway stops."""
        status = "NOT_SERVING" if state.draining else await _server_health(state)
        return json_response({"status": status}, 200 if status == "SERVING" else 503)

    @routes.get("/status", summary="The server and the gateway", response_model=None)
    async def status(request: Request) -> Response:
        """Releases, the engine, times of start, and how many versions are in which state."""
        options = call_options(request, state.settings)
        server = await state.client.server(**options)
        models = await state.client.models(**options)
        states = Counter(str(each.state) for model in models for each in model.versions)
        answer: dict[str, Any] = {
            "server": {
                "version": server.version,
                "engine": server.engine,
                "description": server.description,
                "control": server.control,
                "started_at": server.started_at.isoformat(),
                "uptime_seconds": _since(server.started_at),
            },
            "gateway": {
                "version": version("scorewire-gateway"),
                "draining": state.draining,
                "parts": state.parts,
                "started_at": state.started_at.isoformat(),
                "uptime_seconds": _since(state.started_at),
            },
            "models": len(models),
            "versions": dict(sorted(states.items())),
        }
        return json_response(answer)

    return routes


async def _server_health(state: State) -> str:
    try:
        timeout = min(_HEALTH_SECONDS, state.settings.timeout)
        return "SERVING" if await state.client.health(timeout=timeout) else "NOT_SERVING"
    except ScorewireError:
        return "NOT_SERVING"


def _since(moment: datetime) -> float:
    return round(max(0.0, (datetime.now(UTC) - moment).total_seconds()), 3)
