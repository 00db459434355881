"""HTTP connections of uvicorn, with bounds on their number and on how slow a client may be.

A request whose client leaves is cancelled, so that it takes no place and no time of the server.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

# The key, in the state of a request's scope, of the connection that the request came on.
CONNECTION = "connection"
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"retry-after: 1\r\nconnection: close\r\n\r\n%s"
)
_FULL_BODY = (
    b'{"error":{"code":503,"status":"UNAVAILABLE","reason":"TOO_MANY_CONNECTIONS",'
    b'"message":"the gateway has all the connections that --max-connections allows; try again later"}}'
)


class CancelMiddleware:
    """Tells the connection of a request which task answers it; see `bounded_protocol`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        connection = scope.get("state", {}).get(CONNECTION)
        if connection is None:
            await self._app(scope, receive, send)
            return
        connection.running = task = asyncio.current_task()
        try:
            await self._app(scope, receive, send)
        finally:
            # The next request of the connection may have begun, since this one was answered.
            if connection.running is task:
                connection.running = None


def bounded_protocol(*, max_connections: int, max_stall_seconds: float) -> type[H11Protocol]:
    """The protocol of a server's connections.

    Args:
        max_connections: the most open connections; a further one gets 503 and is closed.
        max_stall_seconds: time for the whole head of a request, from its first byte, and from the start
            of a connection. Then the connection is closed.
    """

    class BoundedProtocol(H11Protocol):
        # The task that answers the request; a middleware sets it.
        running: asyncio.Task[None] | None = None
        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            # The scope of each request gets a copy.
            self.app_state = {**self.app_state, CONNECTION: self}
            if len(self.connections) > max_connections:
                transport.write(_FULL % (len(_FULL_BODY), _FULL_BODY))
                transport.close()
                return
            self._arm()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self._head_timer is None and self._is_between_requests():
                self._arm()
            super().data_received(data)
            if not self._is_between_requests():
                self._disarm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)
            if self.running is not None:
                # Nobody waits for the answer any more.
                self.running.cancel()

        def _is_between_requests(self) -> bool:
            return self.cycle is None or bool(self.cycle.response_complete)

        def _arm(self) -> None:
            self._head_timer = self.loop.call_later(max_stall_seconds, self._end)

        def _disarm(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _end(self) -> None:
            self._head_timer = None
            if self._is_between_requests():
                self.transport.abort()

    return BoundedProtocol
