"""Slow loris: many connections that begin something and continue very slowly."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import ExitStack, suppress

import pytest

from tests.attacks.healthy import healthy
from tests.attacks.held import Held
from tests.certificates import Certificates
from tests.conformance.wire import PREDICT, PREDICT_STREAM, sum_request
from tests.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    SETTINGS,
    Connection,
    call,
    frame,
    grpc_head,
    head,
    message,
)
from tests.processes import ServerProcess

CONNECTIONS = 30
# The pause between two bytes of a handshake.
_GREETING = PREFACE + frame(SETTINGS, 0, 0)
_REQUEST = sum_request().SerializeToString()
_BLOCK = grpc_head(PREDICT)
# A setting and its value: streams begin with an empty window for responses.
_NO_WINDOW = frame(SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x00")
# The bytes that each connection sends at once, and those that it then sends one by one.
KINDS: Mapping[str, tuple[bytes, bytes]] = {
    "says nothing": (b"", b""),
    "greets slowly": (b"", PREFACE[:-1]),
    "speaks HTTP/1.1 slowly": (b"", b"POST / HTTP/1.1\r\nhost: h\r\n"),
    "begins nothing": (_GREETING, b""),
    "sends the head of a frame slowly": (_GREETING, frame(HEADERS, END_HEADERS, 1, _BLOCK)[:8]),
    "sends the head of a call slowly": (_GREETING + frame(HEADERS, 0, 1, _BLOCK), frame(9, 0, 1, b"x" * 40)),
    "sends its message slowly": (_GREETING + head(1, _BLOCK), frame(DATA, 0, 1, message(_REQUEST)[:-1])),
    "never ends its stream": (
        _GREETING + head(1, grpc_head(PREDICT_STREAM)),
        frame(DATA, 0, 1) + frame(DATA, 0, 1) * 3,
    ),
    "takes no answer": (
        PREFACE + _NO_WINDOW + b"".join(call(2 * i + 1, PREDICT, _REQUEST) for i in range(50)),
        frame(SETTINGS, 0, 0),
    ),
    "ends nothing that it asks": (
        _GREETING + b"".join(head(2 * i + 1, _BLOCK) for i in range(100)),
        frame(DATA, END_STREAM, 1)[:-1],
    ),
}


def hold(
    server: ServerProcess, held: Held, opening: bytes, rest: bytes, authority: bytes | None = None
) -> None:
    """Send the beginning on many connections and the rest byte by byte, beside a healthy client."""
    with healthy(server.address, authority) as client, ExitStack() as stack:
        connections = [stack.enter_context(Connection(server.address, opening)) for _ in range(CONNECTIONS)]
        client.goes_on()
        for place in range(len(rest)):
            for connection in connections:
                connection.try_send(rest[place : place + 1])
        client.goes_on()
    held.comes_back()


@pytest.mark.parametrize("kind", KINDS)
def test_slow_connections_hold_nobody_up_and_leave_nothing(
    server: ServerProcess, held: Held, kind: str
) -> None:
    hold(server, held, *KINDS[kind])


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["silent", "half", "whole"])
def test_slow_handshakes_hold_nobody_up_and_leave_nothing(
    tls_server: ServerProcess, certificates: Certificates, share: float
) -> None:
    hello = client_hello()
    opening = hello[: int(share * len(hello))]
    hold(
        tls_server, Held(tls_server), opening, hello[len(opening) :][:50], certificates.authority.read_bytes()
    )


def client_hello() -> bytes:
    """The first message of a TLS client."""
    said = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), said, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return said.read()
