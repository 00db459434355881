"""A client that sends each call when it is due, as many independent callers do.

It writes the same HTTP/2 frames for every call, so that it can offer far more calls
than the server answers. Like every gRPC client, it cancels calls at their deadline.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests import http2

_HEAD = 9
_LARGEST_WINDOW = (1 << 31) - 1
_CANCEL = struct.pack(">I", http2.CANCEL)
# Below the server's limit of open calls on one connection.
_MAX_OPEN = 1000


def request_head(path: str, timeout_seconds: float | None, metadata: Sequence[tuple[str, str]] = ()) -> bytes:
    """The header fields of a request, none of which enters HPACK's dynamic table."""
    timeout = () if timeout_seconds is None else (("grpc-timeout", f"{round(timeout_seconds * 1000)}m"),)
    return http2.grpc_head(path, (*timeout, *metadata))


@dataclass
class Offered:
    """Counts of calls by outcome: `good` were answered in time and `late` after it, `refused` failed,
    `expired` were cancelled at their deadline, and `unsent` found no room on a connection.
    """

    seconds: float = 0.0
    sent: int = 0
    good: int = 0
    late: int = 0
    refused: int = 0
    expired: int = 0
    unsent: int = 0
    connections_lost: int = 0
    latencies: list[float] = field(default_factory=list)

    @property
    def goodput(self) -> float:
        """Calls per second that were answered in time."""
        return self.good / self.seconds


class Connection:
    """One connection with non-blocking reads and writes of frames."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        window = struct.pack(">I", _LARGEST_WINDOW - 65535)
        self.unsent = bytearray(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0))
        self.unsent += http2.frame(http2.WINDOW_UPDATE, 0, 0, window)
        self._received = bytearray()
        self._next = 1
        # For each open call: when it was due, and whether it has been answered.
        self.open: dict[int, float] = {}
        self._answered: set[int] = set()
        self.lost = False

    def begin(self, head: bytes, body: bytes, due: float) -> int:
        """Queue a call; returns its stream id."""
        stream, self._next = self._next, self._next + 2
        self.unsent += http2.frame(http2.HEADERS, http2.END_HEADERS, stream, head)
        self.unsent += http2.frame(http2.DATA, http2.END_STREAM, stream, body)
        self.open[stream] = due
        return stream

    def cancel(self, stream: int) -> None:
        """Queue a reset of an open call."""
        del self.open[stream]
        self._answered.discard(stream)
        self.unsent += http2.frame(http2.RST_STREAM, 0, stream, _CANCEL)

    def write(self) -> None:
        """Write as much as the socket takes."""
        try:
            while self.unsent:
                del self.unsent[: self.socket.send(self.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.lost = True

    def read(self) -> list[tuple[float, bool]]:
        """The calls that have ended: when each was due, and whether it was answered."""
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.lost = True
            return []
        self._received += data
        received, at, ended = self._received, 0, []
        while len(received) - at >= _HEAD:
            length = int.from_bytes(received[at : at + 3], "big")
            if len(received) - at < _HEAD + length:
                break
            kind, flags = received[at + 3], received[at + 4]
            stream = int.from_bytes(received[at + 5 : at + 9], "big")
            if kind == http2.DATA and length:
                self._answered.add(stream)
            elif kind == http2.PING and not flags & http2.ACK:
                content = bytes(received[at + _HEAD : at + _HEAD + length])
                self.unsent += http2.frame(http2.PING, http2.ACK, 0, content)
            elif kind == http2.SETTINGS and not flags & http2.ACK:
                self.unsent += http2.frame(http2.SETTINGS, http2.ACK, 0)
            elif kind == http2.GOAWAY:
                self.lost = True
            if (kind in (http2.DATA, http2.HEADERS) and flags & http2.END_STREAM) or kind == http2.RST_STREAM:
                answered = stream in self._answered
                self._answered.discard(stream)
                due = self.open.pop(stream, None)
                if due is not None:
                    ended.append((due, answered and kind != http2.RST_STREAM))
            at += _HEAD + length
        del received[:at]
        return ended


def offer(
    address: str,
    path: str,
    data: bytes,
    *,
    rate: float,
    seconds: float,
    timeout_seconds: float | None = None,
    patience: float | None = None,
    connections: int = 8,
    metadata: Sequence[tuple[str, str]] = (),
) -> Offered:
    """Offer calls at a rate, and count their outcomes.

    Args:
        address: HOST:PORT of the server.
        path: the path of the method.
        data: the message of each call.
        rate: calls per second.
        seconds: how long to make calls.
        timeout_seconds: the timeout of each call; None for no deadline.
        patience: seconds after which a call is cancelled; by default the timeout, or else 10 s.
        connections: the number of connections, used in turn.
        metadata: names and values that each call sends.
    """
    links = [Connection(address) for _ in range(connections)]
    head, body = request_head(path, timeout_seconds, metadata), http2.message(data)
    offered, total = Offered(seconds=seconds), round(rate * seconds)
    waiting: deque[tuple[float, Connection, int]] = deque()
    begin, begun = time.perf_counter(), 0
    patience = patience or timeout_seconds or 10.0
    while begun < total or any(link.open for link in links):
        now = time.perf_counter()
        while begun < total and (due := begin + begun / rate) <= now:
            link = links[begun % connections]
            begun += 1
            if link.lost or len(link.open) >= _MAX_OPEN:
                offered.unsent += 1
                continue
            offered.sent += 1
            waiting.append((due, link, link.begin(head, body, due)))
        while waiting and waiting[0][0] + patience <= now:
            _, link, stream = waiting.popleft()
            if stream in link.open:
                link.cancel(stream)
                offered.expired += 1
        for link in links:
            if not link.lost:
                link.write()
        live = [link for link in links if not link.lost]
        if not live:
            break
        readable, _, _ = select.select([link.socket for link in live], [], [], 0.001)
        now = time.perf_counter()
        for link in live:
            if link.socket in readable:
                for due, answered in link.read():
                    _take(offered, now - due, answered, patience)
    for link in links:
        offered.connections_lost += link.lost
        link.socket.close()
    return offered


def _take(offered: Offered, latency: float, answered: bool, patience: float) -> None:
    if not answered:
        offered.refused += 1
    elif latency > patience:
        offered.late += 1
    else:
        offered.good += 1
        offered.latencies.append(latency)
