"""HTTP connections of uvicorn, with bounds on their number and on how slow a client may be."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"retry-after: 1\r\nconnection: close\r\n\r\n%s"
)
_FULL_BODY = (
    b'{"error":{"code":503,"status":"UNAVAILABLE","reason":"TOO_MANY_CONNECTIONS",'
    b'"message":"the gateway has all the connections that --max-connections allows; try again later"}}'
)


def bounded_protocol(*, max_connections: int, max_stall_seconds: float) -> type[H11Protocol]:
    """The protocol of a server's connections.

    Args:
        max_connections: the most open connections; a further one gets 503 and is closed.
        max_stall_seconds: time for the whole head of a request, from its first byte, and from the start
            of a connection. Then the connection is closed.
    """

    class BoundedProtocol(H11Protocol):
        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
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


def quiet(_: Any) -> None:
    """Drop a log line of uvicorn."""
