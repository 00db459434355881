"""Calls whose token is in the table of HPACK, as clients in Go and Java send it: one byte from the second on.

The generator of `scorewire load` sends all bytes of the token with each call, since nghttp2 never indexes
`authorization`.
"""

from __future__ import annotations

import select
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests import http2
from tests.bench.access.callers import Bench, Caller
from tests.bench.access.link import Link, stream_ids
from tests.bench.h2load import LoadError
from tests.bench.measure import pinned
from tests.bench.native_load import WARMUP_SECONDS
from tests.conformance.wire import PREDICT

IN_FLIGHT = 64
# The index of the field that entered HPACK's table last.
_NEWEST = 62


@dataclass(slots=True)
class Indexed:
    """Calls with the same header fields, and messages in turn.

    Attributes:
        opening: the first call of a connection, which adds the fields to the table.
    """

    opening: bytes
    _call: NDArray[np.uint8]
    _messages: NDArray[np.uint8]
    _data_at: int
    _turn: int = 0

    @classmethod
    def make(cls, token: str | None, requests: list[bytes]) -> Indexed:
        """Calls of requests of one length."""
        fields = [(":path", PREDICT), (":authority", "h"), ("te", "trailers")]
        fields += [("content-type", "application/grpc")]
        fields += [] if token is None else [("authorization", f"Bearer {token}")]
        block = b"\x83\x86" + b"".join(http2.literal(*each, kept=True) for each in fields)
        known = b"\x83\x86" + bytes(0x80 | _NEWEST + place for place in reversed(range(len(fields))))
        messages = [http2.message(request) for request in requests]
        first = http2.head(1, block) + http2.frame(http2.DATA, http2.END_STREAM, 1, messages[0])
        head = http2.head(1, known)
        call = head + http2.frame(http2.DATA, http2.END_STREAM, 1, messages[0])
        table = np.frombuffer(b"".join(messages), np.uint8).reshape(len(messages), len(messages[0]))
        return cls(first, np.frombuffer(call, np.uint8), table, len(head))

    def calls(self, first_stream: int, count: int) -> bytes:
        """The frames of calls on consecutive streams; see `link.Calls`."""
        made = np.tile(self._call, (count, 1))
        made[:, 5:9] = made[:, self._data_at + 5 : self._data_at + 9] = stream_ids(first_stream, count)
        rows = np.arange(self._turn, self._turn + count) % len(self._messages)
        made[:, self._data_at + 9 :] = self._messages[rows]
        self._turn += count
        return made.tobytes()


def rate(bench: Bench, caller: Caller) -> float:
    """Calls a second on one connection.

    Raises:
        LoadError: a call was not answered.
    """
    source = Indexed.make(caller.token, [call.request for call in bench.calls])
    ended: Counter[str] = Counter()
    with pinned(bench.core):
        link = Link(caller.server.address, source, IN_FLIGHT, opening=source.opening)
        begin = time.monotonic() + WARMUP_SECONDS
        before, now = 0, time.monotonic()
        while now < begin + bench.seconds:
            if not before and now >= begin:
                begin, before = now, ended["ended"]
            link.fill()
            writers = [link.socket] if link.wants_to_write else []
            readable, writable, _ = select.select([link.socket], writers, [])
            if writable:
                link.write()
            if readable:
                link.read(ended)
            if link.lost:
                raise LoadError(f"{caller.server.name} closed the connection after {ended}")
            now = time.monotonic()
        link.socket.close()
    if ended["answered"] < ended["ended"] or ended["reset"]:
        raise LoadError(f"{caller.server.name} refused calls: {ended}")
    return (ended["ended"] - before) / (now - begin)
