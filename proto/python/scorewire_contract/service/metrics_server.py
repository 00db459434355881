"""Serves /metrics over HTTP/1.1 from one thread, with bounds on everything that a client can use up.

Each connection has one request. A connection is cut off if its request or its
answer takes too long, or if it is the oldest one when a new one needs its place.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from threading import Thread
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, make_wsgi_app

from scorewire_contract.service.logs import log_fault
from scorewire_contract.service.start import StartError

MAX_CONNECTIONS = 32
MAX_HEAD_BYTES = 8192
REQUEST_SECONDS = 10.0
ANSWER_SECONDS = 30.0
_BACKLOG = 128
_PATH = "/metrics"


class MetricsServer:
    """Answers GET and HEAD of /metrics from a thread, until `close`.

    Args:
        registry: the metrics.
        host: the host to listen on.
        port: the port; 0 is one that is free.
        admit: tells, from the values of the header Authorization, whether a request may be answered; called
            in the thread of the page. Everybody may ask without it.

    Raises:
        StartError: the port cannot be bound.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        host: str,
        port: int,
        admit: Callable[[Sequence[str]], bool] | None = None,
    ) -> None:
        self._collect = make_wsgi_app(registry)
        self._admit = admit
        # Sorted by age, the oldest first.
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        try:
            listener = listen(host.strip("[]"), port)
        except OSError as error:
            raise StartError(f"--metrics-port {port} cannot be bound: {error.strerror or error}") from None
        self.address = f"{host}:{listener.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._closed = asyncio.Event()
        self._thread = Thread(target=self._run, args=(listener,), name="metrics", daemon=True)
        self._thread.start()

    @property
    def open_connections(self) -> int:
        """The number of connections that are open now."""
        return len(self._connections)

    def close(self) -> None:
        """Free the port, and cut off the open connections."""
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join()

    def _run(self, listener: socket.socket) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(listener))

    async def _serve(self, listener: socket.socket) -> None:
        def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(self._connections) >= MAX_CONNECTIONS:
                self._cut_off(next(iter(self._connections)))
            self._connections[writer] = self._loop.create_task(self._converse(reader, writer))

        server = await asyncio.start_server(connect, sock=listener, limit=MAX_HEAD_BYTES)
        await self._closed.wait()
        server.close()
        conversations = list(self._connections.values())
        for writer in list(self._connections):
            self._cut_off(writer)
        await asyncio.gather(*conversations)

    def _cut_off(self, writer: asyncio.StreamWriter) -> None:
        """Abort a connection; its task, which may not have begun, then finds it closed."""
        del self._connections[writer]
        writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Without a buffer, drain waits until the whole answer has left the process.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            writer.write(self._answer(await _read_head(reader)))
            async with asyncio.timeout(ANSWER_SECONDS):
                await writer.drain()
        except (OSError, EOFError, TimeoutError):
            writer.transport.abort()
        finally:
            self._connections.pop(writer, None)
            writer.close()

    def _answer(self, head: str | None) -> bytes:
        """The whole answer to a request, by its head; None is a head that was too long."""
        if head is None:
            return _plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        first, *lines = head.split("\r\n")
        try:
            method, target, version = first.split(" ")
            url = urlsplit(target)
        except ValueError:
            return _plain(HTTPStatus.BAD_REQUEST)
        named = [
            (name.strip().lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines)
        ]
        # Before the path is looked at: who may not ask learns nothing of what is here.
        shown = [value for name, value in named if name == "authorization"]
        if self._admit is not None and not self._admit(shown):
            return _plain(HTTPStatus.UNAUTHORIZED, ("WWW-Authenticate", "Bearer"))
        if refusal := _refusal(method, url.path, version):
            return refusal
        fields = dict(named)
        try:
            headers, body = self._scrape(url.query, fields)
        except Exception as error:
            log_fault("metrics", error)
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)
        return _message(HTTPStatus.OK, headers, body, with_body=method == "GET")

    def _scrape(self, query: str, fields: dict[str, str]) -> tuple[list[tuple[str, str]], bytes]:
        """The metrics in the format and compression that the request's header fields ask for."""
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": _PATH,
            "QUERY_STRING": query,
            "HTTP_ACCEPT": fields.get("accept", ""),
            "HTTP_ACCEPT_ENCODING": fields.get("accept-encoding", ""),
        }
        headers: list[tuple[str, str]] = []
        body = b"".join(self._collect(environ, lambda _, fields: headers.extend(fields)))
        return headers, body


async def _read_head(reader: asyncio.StreamReader) -> str | None:
    """The head of a request; None if it is longer than `MAX_HEAD_BYTES`."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n\r\n")
    except asyncio.LimitOverrunError:
        return None


def _refusal(method: str, path: str, version: str) -> bytes | None:
    if not version.startswith("HTTP/1."):
        return _plain(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    if path != _PATH:
        return _plain(HTTPStatus.NOT_FOUND, note=f"the metrics are at {_PATH}")
    if method not in ("GET", "HEAD"):
        return _plain(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD"), note="use GET")
    return None


def _plain(status: HTTPStatus, *headers: tuple[str, str], note: str = "") -> bytes:
    text = f"{status.value} {status.phrase}{note and f': {note}'}\n".encode()
    return _message(status, [("Content-Type", "text/plain; charset=utf-8"), *headers], text)


def _message(
    status: HTTPStatus, headers: Iterable[tuple[str, str]], body: bytes, *, with_body: bool = True
) -> bytes:
    fields = [*headers, ("Content-Length", str(len(body))), ("Connection", "close")]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode("latin-1") + (
        body if with_body else b""
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the first address of a host.

    Raises:
        OSError: the address cannot be bound.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
