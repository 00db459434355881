"""Bounds on what requests may take: how many at one time, how long a body, how slow a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scorewire import Code
from scorewire_gateway.connection import CONNECTION
from scorewire_gateway.errors import RequestError, error_response

MAX_HEAD_BYTES = 32_768
# Paths that balancers and people must reach when the gateway is full.
_ALWAYS = ("/health", "/v2/health/live", "/v2/health/ready")


class LimitsMiddleware:
    """Refuses requests beyond `max_in_flight`, and ends those whose client does not take the answer."""

    def __init__(self, app: ASGIApp, *, max_in_flight: int, max_stall_seconds: float) -> None:
        self._app = app
        self._max_in_flight = max_in_flight
        self._max_stall_seconds = max_stall_seconds
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._max_stall_seconds):
                    await send(message)
            except TimeoutError:
                # A connection that is only closed would wait for its client to read what is buffered.
                if (connection := scope.get("state", {}).get(CONNECTION)) is not None:
                    connection.transport.abort()
                raise

        if refusal := self._refusal(scope):
            await error_response(refusal)(scope, receive, send_in_time)
            return
        self._in_flight += 1
        try:
            await self._app(scope, receive, send_in_time)
        finally:
            self._in_flight -= 1

    def _refusal(self, scope: Scope) -> RequestError | None:
        if _head_bytes(scope) > MAX_HEAD_BYTES:
            return RequestError(
                f"the path and the headers are longer than {MAX_HEAD_BYTES} bytes",
                code=Code.RESOURCE_EXHAUSTED,
                reason="HEAD_TOO_LARGE",
                http_code=431,
                close=True,
            )
        if self._in_flight >= self._max_in_flight and scope["path"] not in _ALWAYS:
            return RequestError(
                f"the gateway answers {self._max_in_flight} requests already; try again later",
                code=Code.RESOURCE_EXHAUSTED,
                reason="TOO_MANY_IN_FLIGHT",
                headers={"Retry-After": "1"},
                close=_has_body(scope),
            )
        return None


async def read_body(request: Request, *, max_bytes: int, max_stall_seconds: float) -> bytes:
    """Read the body of a request.

    Raises:
        RequestError: the body is longer than `max_bytes`, or a piece of it did not come in time.
    """
    pieces = [
        piece
        async for piece in read_pieces(request, max_bytes=max_bytes, max_stall_seconds=max_stall_seconds)
    ]
    return b"".join(pieces)


async def read_pieces(request: Request, *, max_bytes: int, max_stall_seconds: float) -> AsyncIterator[bytes]:
    """Yield the pieces of a request's body as they come.

    A length that the client announces is checked before anything is read.

    Args:
        request: the request.
        max_bytes: the most bytes of the body.
        max_stall_seconds: the longest time without a piece.

    Raises:
        RequestError: the body is longer than `max_bytes`, or a piece of it did not come in time.
    """
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > max_bytes:
        raise _too_large(max_bytes)
    pieces = request.stream().__aiter__()
    count = 0
    while True:
        try:
            async with asyncio.timeout(max_stall_seconds):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise RequestError(
                f"no piece of the body came for {max_stall_seconds:g} seconds",
                code=Code.DEADLINE_EXCEEDED,
                reason="BODY_TOO_SLOW",
                http_code=408,
                close=True,
            ) from None
        except ClientDisconnect:
            raise RequestError(
                "the client closed the connection", code=Code.CANCELLED, reason="CLIENT_CLOSED_REQUEST"
            ) from None
        count += len(piece)
        if count > max_bytes:
            raise _too_large(max_bytes)
        if piece:
            yield piece


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(
        f"the body is longer than {max_bytes} bytes; send fewer rows in one request",
        code=Code.RESOURCE_EXHAUSTED,
        reason="BODY_TOO_LARGE",
        http_code=413,
        close=True,
    )


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


def _head_bytes(scope: Scope) -> int:
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    return headers + len(scope["raw_path"]) + len(scope["query_string"])
