"""An endpoint of JWK Sets that counts how often it is asked, and can misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Answers one request; it may take as long as it wants, and may look at `over`.
Answer = Callable[[BaseHTTPRequestHandler, threading.Event], None]


class JwksServer:
    """A running endpoint.

    Attributes:
        url: where it is asked.
        asked_at: when each request came, by `time.monotonic`.
        answer: what it does with a request; may be replaced at any time.
    """

    def __init__(self, jwks: Mapping[str, Any]) -> None:
        self.asked_at: list[float] = []
        self.answer: Answer = answer_json(jwks)
        self._over = threading.Event()
        told, counted = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with counted:
                    told.asked_at.append(time.monotonic())
                # The client may hang up at any time.
                with suppress(OSError):
                    told.answer(self, told._over)

            def log_message(self, *_: object) -> None:
                """Write no log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks.json"

    def close(self) -> None:
        """End the endpoint, and the requests that it has not answered."""
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def serving_jwks(jwks: Mapping[str, Any]) -> Iterator[JwksServer]:
    """Run an endpoint."""
    server = JwksServer(jwks)
    try:
        yield server
    finally:
        server.close()


def answer_json(value: Mapping[str, Any]) -> Answer:
    """The answer of an endpoint that is well."""
    data = json.dumps(value).encode()

    def answer(request: BaseHTTPRequestHandler, _: threading.Event) -> None:
        _begin(request, 200, {"content-length": str(len(data)), "content-type": "application/json"})
        request.wfile.write(data)

    return answer


def hang(_: BaseHTTPRequestHandler, over: threading.Event) -> None:
    """Answer nothing, for as long as the endpoint runs."""
    over.wait()


def trickle(request: BaseHTTPRequestHandler, over: threading.Event) -> None:
    """Answer byte by byte, and never end."""
    _begin(request, 200, {"content-type": "application/json"})
    while not over.wait(0.05):
        request.wfile.write(b" ")
        request.wfile.flush()


def flood(request: BaseHTTPRequestHandler, over: threading.Event) -> None:
    """Answer with a gigabyte."""
    size, chunk = 1 << 30, b" " * (1 << 20)
    _begin(request, 200, {"content-type": "application/json", "content-length": str(size)})
    for _ in range(size // len(chunk)):
        if over.is_set():
            return
        request.wfile.write(chunk)


def flood_unannounced(request: BaseHTTPRequestHandler, over: threading.Event) -> None:
    """Answer with bytes without end, and without a length."""
    _begin(request, 200, {"content-type": "application/json"})
    while not over.is_set():
        request.wfile.write(b" " * (1 << 20))


def redirect(url: str) -> Answer:
    """Send the client elsewhere."""

    def answer(request: BaseHTTPRequestHandler, _: threading.Event) -> None:
        _begin(request, 302, {"location": url, "content-length": "0"})

    return answer


def fail(request: BaseHTTPRequestHandler, _: threading.Event) -> None:
    """Answer with a failure of the endpoint."""
    _begin(request, 500, {"content-length": "0"})


def answer_text(text: bytes) -> Answer:
    """Answer with bytes that may be no JSON."""

    def answer(request: BaseHTTPRequestHandler, _: threading.Event) -> None:
        _begin(request, 200, {"content-length": str(len(text)), "content-type": "application/json"})
        request.wfile.write(text)

    return answer


def _begin(request: BaseHTTPRequestHandler, status: int, fields: Mapping[str, str]) -> None:
    request.send_response(status)
    for name, value in fields.items():
        request.send_header(name, value)
    request.end_headers()
