"""The models of the server."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from scorewire_gateway.calls import call_options
from scorewire_gateway.descriptions import model_to_json, status_to_json
from scorewire_gateway.errors import JSON
from scorewire_gateway.json_values import to_text
from scorewire_gateway.state import State


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["models"])

    @routes.get("/models", summary="All models", response_model=None)
    async def models(request: Request) -> Response:
        """Each model, its versions with their states, and which versions answer which calls."""
        found = await state.client.models(**call_options(request, state.settings))
        return Response(to_text({"models": [status_to_json(each) for each in found]}), media_type=JSON)

    @routes.get("/models/{name}", summary="One model", response_model=None)
    async def model(
        request: Request,
        name: str,
        version: Annotated[str, Query(description="a version or an alias; the default version")] = "",
    ) -> Response:
        """A version's schema, metrics and limits, an example row, and all versions of the model."""
        found = await state.client.model(name, version, **call_options(request, state.settings))
        return Response(to_text(model_to_json(found)), media_type=JSON)

    return routes
