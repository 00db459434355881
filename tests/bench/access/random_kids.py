"""Calls with tokens of random keys, at a rate that no honest callers reach.

`python -m tests.bench.access.random_kids HOST:PORT` prints a line when it begins, runs for some seconds, and
then prints how its calls ended. Each call is the shortest one that a client can make: a header block, whose
token names a key (`kid`) that no other one does.
"""

from __future__ import annotations

import base64
import json
import select
import sys
import time
from collections import Counter
from dataclasses import dataclass

import click
import numpy as np
from numpy.typing import NDArray

from tests import http2
from tests.bench.access.link import Link, stream_ids
from tests.conformance.wire import PREDICT

_IN_FLIGHT = 256
# The longest pause between two batches.
_WAIT_SECONDS = 0.0005
_GROUP_BYTES, _GROUPS = 3, 8
_SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Template:
    """The frames of a call, and the places in them that differ from call to call."""

    call: NDArray[np.uint8]
    kid_at: int
    # Base64 of each group of three hexadecimal digits.
    groups: NDArray[np.uint8]
    draw: np.random.Generator

    @classmethod
    def make(cls, issuer: str, draw: np.random.Generator) -> Template:
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
        groups = np.frombuffer(table, np.uint8).reshape(len(digits), 4)
        return cls(np.frombuffer(call, np.uint8), at, groups, draw)

    def calls(self, first_stream: int, count: int) -> bytes:
        """The frames of calls on consecutive streams, each with a key's name of its own."""
        made = np.tile(self.call, (count, 1))
        made[:, 5:9] = stream_ids(first_stream, count)
        chosen = self.groups[self.draw.integers(len(self.groups), size=(count, _GROUPS))]
        made[:, self.kid_at : self.kid_at + 4 * _GROUPS] = chosen.reshape(count, 4 * _GROUPS)
        return made.tobytes()


@click.command(help=__doc__)
@click.argument("address")
@click.option("--issuer", default="https://login.example/", show_default=True)
@click.option("--source", default="127.0.0.1", show_default=True, help="The address of the client.")
@click.option("--seconds", type=float, default=1.0, show_default=True)
@click.option("--rate", type=float, default=100_000.0, show_default=True, help="Calls a second.")
@click.option("--connections", type=click.IntRange(min=1), default=4, show_default=True)
def main(*, address: str, issuer: str, source: str, seconds: float, rate: float, connections: int) -> None:
    template = Template.make(issuer, np.random.default_rng())
    links = [Link(address, template, _IN_FLIGHT, source) for _ in range(connections)]
    ended: Counter[str] = Counter()
    click.echo("begun")
    sys.stdout.flush()
    begin, made = time.monotonic(), 0
    while time.monotonic() < begin + seconds:
        for place, link in enumerate(links):
            if link.lost:
                ended["connections lost"] += 1
                link.socket.close()
                links[place] = Link(address, template, _IN_FLIGHT, source)
        for link in links:
            if made < rate * (time.monotonic() - begin):
                made += link.fill()
        writers = [link.socket for link in links if link.wants_to_write]
        readable, writable, _ = select.select([link.socket for link in links], writers, [], _WAIT_SECONDS)
        for link in links:
            if link.socket in writable:
                link.write()
            if link.socket in readable:
                link.read(ended)
    refused = {"refused": ended.pop("ended", 0) - ended["answered"]}
    click.echo(json.dumps({"seconds": time.monotonic() - begin, **refused, **ended}))


if __name__ == "__main__":
    main()
