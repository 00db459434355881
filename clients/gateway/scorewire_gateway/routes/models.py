"""The models of the server."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from scorewire import ModelStatus
from scorewire_gateway.calls import timeout_of
from scorewire_gateway.errors import json_response
from scorewire_gateway.state import State


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["models"])

    @routes.get("/models", summary="All models", response_model=None)
    async def models(request: Request) -> Response:
        """Each model, its versions with their states, and which versions answer which calls."""
        found = await state.client.models(timeout=timeout_of(request, state.settings))
        return json_response({"models": [status_to_json(each) for each in found]})

    return routes


def status_to_json(status: ModelStatus) -> dict[str, Any]:
    """A model with its versions and its routing."""
    shadow = status.routing.shadow
    return {
        "name": status.name,
        "default_version": status.default_version,
        "versions": [
            {
                "version": each.version,
                "state": str(each.state),
                "reason": each.reason,
                "serving_since": each.serving_since.isoformat() if each.serving_since else None,
            }
            for each in status.versions
        ],
        "routing": {
            "split": dict(status.routing.split),
            "aliases": dict(status.routing.aliases),
            "shadow": {"version": shadow.version, "share": shadow.share} if shadow else None,
        },
        "rollbacks": status.rollbacks,
        "warning": status.warning,
    }
