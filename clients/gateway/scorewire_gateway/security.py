"""Which requests the gateway answers at all, and the headers that protect its pages.

- The end of a body must be certain: what has both a length and chunks could be two requests for a
  proxy in front, and one here (request smuggling).
- The Host header must name this gateway while only this machine reaches it: a web page
  could otherwise point a name of its own at the loopback address (DNS rebinding).
- A page of another origin reads nothing, unless `--cors-origin` names the origin.
- A page of another origin changes nothing: routes that change something call `check_origin`.
- Pages take scripts, styles and data from the gateway only.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scorewire import Code
from scorewire_gateway.errors import RequestError, error_response
from scorewire_gateway.settings import Settings

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityMiddleware:
    """Checks the Host header, and adds the headers that protect pages, unless a route has set them."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = _LOCAL | {settings.host} | set(settings.hosts)
        self._check = settings.is_loopback or bool(settings.hosts)
        self._shared = bool(settings.cors_origin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if self._shared:
                    headers["Cross-Origin-Resource-Policy"] = "cross-origin"
            await send(message)

        if refusal := self._refusal(scope):
            await error_response(refusal)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> RequestError | None:
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            return RequestError(
                "a request has Content-Length or Transfer-Encoding, not both",
                reason="AMBIGUOUS_LENGTH",
                close=True,
            )
        if self._check and not self._is_ours(scope):
            return RequestError(
                "this Host header does not name the gateway; allow the name with --hosts",
                code=Code.PERMISSION_DENIED,
                reason="HOST_NOT_ALLOWED",
                http_code=421,
                close=True,
            )
        return None

    def _is_ours(self, scope: Scope) -> bool:
        names = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        return len(names) == 1 and host_of(names[0]) in self._hosts


def host_of(authority: str) -> str:
    """The host of a Host header, in lower case, without its port and brackets."""
    text = authority.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def check_origin(request: Request, settings: Settings) -> None:
    """Check that no page of another origin has sent a request that changes something.

    A browser says whether the page has the origin of the request, which also holds behind a proxy
    that sends another Host; over plain HTTP, it names the page's origin only. Other clients send
    neither header.

    Raises:
        RequestError: the page has another origin than the gateway, and --cors-origin does not name it.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if site is not None:
        is_ours = site in ("none", "same-origin")
    else:
        is_ours = (
            origin is None or origin.lower().partition("://")[2] == request.headers.get("host", "").lower()
        )
    if not is_ours and (origin is None or origin.lower() not in settings.cors_origin):
        raise RequestError(
            "a page of another origin cannot change anything here; allow the origin with --cors-origin",
            code=Code.PERMISSION_DENIED,
            reason="ORIGIN_NOT_ALLOWED",
            close=True,
        )
