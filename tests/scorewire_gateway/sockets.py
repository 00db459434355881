"""Raw HTTP/1.1 over a socket, for requests that no HTTP library would send."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx

from tests.processes import TIMEOUT_SECONDS

HEAD = b"POST /models/churn:predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@contextmanager
def connection(http: httpx.Client) -> Iterator[socket.socket]:
    """A new connection to the gateway of a client."""
    url = urlsplit(str(http.base_url))
    with socket.create_connection((url.hostname, url.port), TIMEOUT_SECONDS) as raw:
        yield raw


def read_to_end(raw: socket.socket) -> bytes:
    """What comes until the gateway closes the connection."""
    pieces = []
    try:
        while piece := raw.recv(65_536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def read_answer(raw: socket.socket) -> tuple[bytes, bytes]:
    """The head and the body of one answer, which has a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = raw.recv(65_536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2])
    while len(body) < length:
        piece = raw.recv(65_536)
        assert piece, "the connection ended in the middle of the answer"
        body += piece
    return head, body
