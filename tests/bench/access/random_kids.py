"""Calls with tokens of random keys, at a rate that no honest callers reach.

`python -m tests.bench.access.random_kids HOST:PORT` prints a line when it begins, runs for some seconds, and
then prints how its calls ended. Each call is the shortest one that a client can make: a header block, whose
token names a key (`kid`) that no other one does.
"""

from __future__ import annotations

import base64
import json
import select
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass

import click
import numpy as np
from numpy.typing import NDArray

from tests import http2
from tests.conformance.wire import PREDICT

_IN_FLIGHT, _BATCH = 256, 128
# The longest pause between two batches.
_WAIT_SECONDS = 0.0005
_GROUP_BYTES, _GROUPS = 3, 8
_SIGNATURE_BYTES = 64
_LARGEST_WINDOW = (1 << 31) - 1
_HEAD = struct.Struct(">HBBBI")


@dataclass(frozen=True, slots=True)
class Template:
    """The frames of a call, and the places in them that differ from call to call."""

    call: NDArray[np.uint8]
    kid_at: int
    # Base64 of each group of three hexadecimal digits.
    groups: NDArray[np.uint8]

    @classmethod
    def make(cls, issuer: str) -> Template:
        """The template of tokens of an issuer."""
        begin = '{"alg":"RS256","typ":"JWT","kid":"'
        # Spaces bring the key's name to the beginning of a group of Base64.
        begin = begin[0] + " " * (-len(begin) % _GROUP_BYTES) + begin[1:]
        kid = "0" * (_GROUP_BYTES * _GROUPS)
        claims = {"iss": issuer, "aud": "scorewire", "sub": "s", "exp": int(time.time()) + 3600}
        parts = [f'{begin}{kid}"}}'.encode(), json.dumps(claims).encode(), bytes(_SIGNATURE_BYTES)]
        token = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
        block = http2.grpc_head(PREDICT, [("authorization", b"Bearer " + token)])
        call = http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 1, block)
        at = call.index(token) + len(begin) // _GROUP_BYTES * 4
        digits = [f"{number:03x}".encode() for number in range(16**_GROUP_BYTES)]
        table = b"".join(base64.b64encode(three) for three in digits)
        return cls(np.frombuffer(call, np.uint8), at, np.frombuffer(table, np.uint8).reshape(len(digits), 4))

    def calls(self, first_stream: int, count: int, draw: np.random.Generator) -> bytes:
        """The frames of calls on consecutive streams, each with a key's name of its own."""
        made = np.tile(self.call, (count, 1))
        streams = np.arange(first_stream, first_stream + 2 * count, 2, dtype=">u4")
        made[:, 5:9] = streams.view(np.uint8).reshape(count, 4)
        chosen = self.groups[draw.integers(len(self.groups), size=(count, _GROUPS))]
        made[:, self.kid_at : self.kid_at + 4 * _GROUPS] = chosen.reshape(count, 4 * _GROUPS)
        return made.tobytes()


class Link:
    """One connection with calls in flight."""

    def __init__(self, address: str, source: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        window = struct.pack(">I", _LARGEST_WINDOW - 65535)
        self._unsent = bytearray(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0))
        self._unsent += http2.frame(http2.WINDOW_UPDATE, 0, 0, window)
        self._received = b""
        self._next = 1
        self.in_flight = 0
        self.lost = False

    @property
    def wants_to_write(self) -> bool:
        return bool(self._unsent)

    def fill(self, template: Template, draw: np.random.Generator) -> int:
        """Queue a batch of calls if so many have been answered; returns how many."""
        if self.in_flight > _IN_FLIGHT - _BATCH or self._unsent:
            return 0
        self._unsent += template.calls(self._next, _BATCH, draw)
        self._next += 2 * _BATCH
        self.in_flight += _BATCH
        return _BATCH

    def write(self) -> None:
        try:
            del self._unsent[: self.socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.lost = True

    def read(self, ended: Counter[str]) -> None:
        """Take what has come, and count how calls ended."""
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.lost = True
            return
        received, at = self._received + data, 0
        while len(received) - at >= _HEAD.size:
            high, low, kind, flags, _ = _HEAD.unpack_from(received, at)
            end = at + _HEAD.size + (high << 8 | low)
            if len(received) < end:
                break
            if kind == http2.HEADERS and flags & http2.END_STREAM:
                ended["refused"] += 1
                self.in_flight -= 1
            elif kind == http2.RST_STREAM:
                ended["reset"] += 1
            elif kind == http2.DATA and end > at + _HEAD.size:
                ended["answered"] += 1
            elif kind == http2.SETTINGS and not flags & http2.ACK:
                self._unsent += http2.frame(http2.SETTINGS, http2.ACK, 0)
            elif kind == http2.PING and not flags & http2.ACK:
                self._unsent += http2.frame(http2.PING, http2.ACK, 0, received[at + _HEAD.size : end])
            elif kind == http2.GOAWAY:
                self.lost = True
            at = end
        self._received = received[at:]


@click.command(help=__doc__)
@click.argument("address")
@click.option("--issuer", default="https://login.example/", show_default=True)
@click.option("--source", default="127.0.0.1", show_default=True, help="The address of the client.")
@click.option("--seconds", type=float, default=1.0, show_default=True)
@click.option("--rate", type=float, default=100_000.0, show_default=True, help="Calls a second.")
@click.option("--connections", type=click.IntRange(min=1), default=4, show_default=True)
def main(*, address: str, issuer: str, source: str, seconds: float, rate: float, connections: int) -> None:
    template, draw = Template.make(issuer), np.random.default_rng()
    links = [Link(address, source) for _ in range(connections)]
    ended: Counter[str] = Counter()
    click.echo("begun")
    sys.stdout.flush()
    begin, made = time.monotonic(), 0
    while time.monotonic() < begin + seconds:
        for place, link in enumerate(links):
            if link.lost:
                ended["connections lost"] += 1
                link.socket.close()
                links[place] = Link(address, source)
        for link in links:
            if made < rate * (time.monotonic() - begin):
                made += link.fill(template, draw)
        writers = [link.socket for link in links if link.wants_to_write]
        readable, writable, _ = select.select([link.socket for link in links], writers, [], _WAIT_SECONDS)
        for link in links:
            if link.socket in writable:
                link.write()
            if link.socket in readable:
                link.read(ended)
    click.echo(json.dumps({"seconds": time.monotonic() - begin, **ended}))


if __name__ == "__main__":
    main()
