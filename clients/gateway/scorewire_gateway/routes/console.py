"""The console: pages for people."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from scorewire import Code
from scorewire_gateway.console.pages import Page, read_console
from scorewire_gateway.errors import RequestError
from scorewire_gateway.state import State

_READ = ["GET", "HEAD"]
# The page names the assets of this very release, so it must be asked for each time.
_PAGE_CACHING = "no-cache"
# An asset's address changes with it.
_ASSET_CACHING = "public, max-age=31536000, immutable"


def router(_: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(include_in_schema=False)
    console = read_console()

    @routes.api_route("/", methods=_READ, response_model=None)
    @routes.api_route("/console", methods=_READ, response_model=None)
    async def begin() -> Response:
        # Relative, so that it also holds behind a proxy that serves the gateway below a path.
        return RedirectResponse("console/", 307)

    @routes.api_route("/console/", methods=_READ, response_model=None)
    async def page(request: Request) -> Response:
        return _answer(request, console.index, _PAGE_CACHING)

    @routes.api_route("/console/assets/{version}/{path:path}", methods=_READ, response_model=None)
    async def asset(request: Request, version: str, path: str) -> Response:
        found = console.assets.get(path) if version == console.version else None
        if found is None:
            raise RequestError(
                "the console has no such file; load its page again",
                code=Code.NOT_FOUND,
                reason="ASSET_NOT_FOUND",
                # While releases change, the next answer may have it.
                headers={"Cache-Control": "no-store"},
            )
        return _answer(request, found, _ASSET_CACHING)

    return routes


def _answer(request: Request, page: Page, caching: str) -> Response:
    """The answer to a request for a file: the file, or that the client has it."""
    with_gzip = any(
        coding.split(";")[0].strip() == "gzip" and "q=0" not in coding.replace(" ", "").split(";")
        for coding in request.headers.get("accept-encoding", "").lower().split(",")
    )
    tag = f'"{page.digest}-gzip"' if with_gzip else f'"{page.digest}"'
    headers = {"Cache-Control": caching, "ETag": tag, "Vary": "Accept-Encoding"}
    known = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
    if known & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    if with_gzip:
        headers["Content-Encoding"] = "gzip"
    body = page.compressed if with_gzip else page.body
    return Response(body, headers=headers, media_type=page.content_type)
