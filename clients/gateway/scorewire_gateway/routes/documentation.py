"""OpenAPI documents, and the pages that show them; all that the pages load comes from the gateway."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from scorewire import Code
from scorewire_gateway.calls import call_options
from scorewire_gateway.documents import Documents
from scorewire_gateway.errors import JSON, RequestError
from scorewire_gateway.state import State

_SWAGGER = "fastapi_swagger.resources"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Scorewire API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"><noscript>This page needs JavaScript; the document is /openapi.json.</noscript></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """\
const model = new URLSearchParams(location.search).get("model");
SwaggerUIBundle({
  url: model ? `models/${encodeURIComponent(model)}/openapi.json` : "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  filter: !model,
  validatorUrl: null,
});
"""
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
    "start.js": "text/javascript; charset=utf-8",
}
_CACHE = {"Cache-Control": "max-age=3600"}
_FRESH = {"Cache-Control": "no-cache"}


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["documentation"])
    documents = Documents(state.client)

    @routes.get("/openapi.json", summary="The OpenAPI document of the gateway", response_model=None)
    async def openapi(request: Request) -> Response:
        """All paths, with those of each model that serves."""
        document = await documents.of_gateway(request.app, call_options(request, state.settings))
        return Response(document, media_type=JSON, headers=_FRESH)

    @routes.get(
        "/models/{name}/openapi.json", summary="The OpenAPI document of one model", response_model=None
    )
    async def model_openapi(
        request: Request,
        name: str,
        version: Annotated[str, Query(description="a version or an alias; the default version")] = "",
    ) -> Response:
        """The paths of one model, with its real features and outputs, and an example row."""
        model = await state.client.model(name, version, **call_options(request, state.settings))
        return Response(await documents.of_model(model), media_type=JSON, headers=_FRESH)

    @routes.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(_PAGE, media_type="text/html; charset=utf-8", headers=_FRESH)

    @routes.get("/docs/{asset}", include_in_schema=False)
    async def docs_asset(asset: Annotated[str, Path(max_length=100)]) -> Response:
        media = _ASSETS.get(asset)
        if media is None:
            raise RequestError("there is no such file", code=Code.NOT_FOUND, reason="NOT_FOUND")
        return Response(_asset(asset), media_type=media, headers=_CACHE)

    return routes


@cache
def _asset(name: str) -> bytes:
    if name == "start.js":
        return _START.encode()
    return resources.files(_SWAGGER).joinpath(name).read_bytes()
