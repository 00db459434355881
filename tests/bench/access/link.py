"""A connection that makes prepared calls, so that one core makes hundreds of thousands a second."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tests import http2

_LARGEST_WINDOW = (1 << 31) - 1
_HEAD = struct.Struct(">HBBBI")


class Calls(Protocol):
    """Gives the frames of calls."""

    def calls(self, first_stream: int, count: int) -> bytes:
        """The frames of calls on consecutive streams."""
        ...


def stream_ids(first: int, count: int) -> NDArray[np.uint8]:
    """The ids of consecutive streams, as frames have them: four bytes in each row."""
    return np.arange(first, first + 2 * count, 2, dtype=">u4").view(np.uint8).reshape(count, 4)


class Link:
    """One connection with up to `in_flight` calls in flight, which begins with `opening`."""

    def __init__(
        self, address: str, source: Calls, in_flight: int, host: str = "127.0.0.1", opening: bytes = b""
    ) -> None:
        server, _, port = address.rpartition(":")
        self.socket = socket.create_connection((server, int(port)), source_address=(host, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        window = struct.pack(">I", _LARGEST_WINDOW - 65535)
        self._unsent = bytearray(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0))
        self._unsent += http2.frame(http2.WINDOW_UPDATE, 0, 0, window)
        self._unsent += opening
        self._received = b""
        self._source = source
        self._batch = in_flight // 2
        self._next = 3 if opening else 1
        self.in_flight = 1 if opening else 0
        self.lost = False

    @property
    def wants_to_write(self) -> bool:
        """Whether there are bytes to write."""
        return bool(self._unsent)

    def fill(self) -> int:
        """Queue a batch of calls if half of those that may be in flight have ended; returns how many."""
        if self.in_flight > self._batch or self._unsent:
            return 0
        self._unsent += self._source.calls(self._next, self._batch)
        self._next += 2 * self._batch
        self.in_flight += self._batch
        return self._batch

    def write(self) -> None:
        """Write as much as the socket takes."""
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
                ended["ended"] += 1
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
