"""What versions have answered, by route."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from scorewire import Distribution, RouteStatistics
from scorewire_gateway.calls import call_options
from scorewire_gateway.errors import JSON
from scorewire_gateway.json_values import to_text
from scorewire_gateway.state import State

_QUANTILES = (0.5, 0.9, 0.99, 0.999)
# Names of models are shorter.
_MAX_NAME = 200


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["models"])

    @routes.get("/stats", summary="Statistics by version and route", response_model=None)
    async def statistics(
        request: Request,
        model: Annotated[str, Query(max_length=_MAX_NAME, description="a model's name; all models")] = "",
    ) -> Response:
        """Calls, rows, errors, latency and scores of each version since it was loaded, by route."""
        found = await state.client.statistics(model, **call_options(request, state.settings))
        return Response(to_text({"statistics": [_to_json(each) for each in found]}), media_type=JSON)

    @routes.get("/stats/records", summary="What became of the rows to record", response_model=None)
    async def ledger(request: Request) -> Response:
        """The server's ledger of records since its start; null if it keeps none.

        The sums that hold: offered = sampled_out + dropped + buffered + spooled, and
        spooled = stored + pending + set_aside + expired.
        """
        found = await state.client.record_ledger(**call_options(request, state.settings))
        told = None if found is None else asdict(found) | {"dropped": dict(found.dropped)}
        return Response(to_text({"records": told}), media_type=JSON)

    return routes


def _to_json(found: RouteStatistics) -> dict[str, Any]:
    return {
        "model": found.model,
        "version": found.version,
        "route": found.route,
        "shadow": found.shadow,
        "since": found.loaded_at.isoformat(),
        "calls": found.calls,
        "failed": found.failed,
        "errors": dict(found.errors),
        "rows": found.rows,
        "failed_rows": found.failed_rows,
        "row_errors": dict(found.row_errors),
        "dropped": found.dropped,
        "latency_seconds": distribution_to_json(found.latency_seconds),
        "scores": distribution_to_json(found.scores),
    }


def distribution_to_json(found: Distribution) -> dict[str, Any]:
    """A histogram, with the middle of the bucket of each quantile; null where nothing was counted."""
    return {
        "count": found.count,
        "quantiles": {
            f"{quantile:g}": found.quantile(quantile) if found.buckets else None for quantile in _QUANTILES
        },
        "buckets": [
            {"inner": each.inner, "outer": each.outer, "count": each.count} for each in found.buckets
        ],
    }
