"""An HTTP/2 client that sends as much as flow control allows, on many calls in turn."""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass
from types import TracebackType

from tests import http2

_INITIAL_WINDOW_SIZE = 4
_DEFAULT_WINDOW = 65_535
_LARGEST_WINDOW = (1 << 31) - 1
_FRAME_BYTES = 1 << 14
_SEND_BYTES = 1 << 18
_HEAD_BYTES = 9
_SETTING_BYTES = 6


@dataclass
class Call:
    """The state of one call."""

    unsent: memoryview
    ends: bool
    window: int
    received: int = 0
    over: bool = False


class Client:
    """One connection; `window` is the flow-control window of each call's response."""

    def __init__(self, address: str, *, window: int = _DEFAULT_WINDOW) -> None:
        host, _, port = address.rpartition(":")
        self.calls: dict[int, Call] = {}
        self.gone = False
        self._socket = socket.create_connection((host, int(port)))
        self._arrived = b""
        self._connection_window = self._first_window = _DEFAULT_WINDOW
        settings = _INITIAL_WINDOW_SIZE.to_bytes(2) + window.to_bytes(4)
        self._out = bytearray(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, settings))
        # No response ever waits for the connection's window.
        more = (_LARGEST_WINDOW - _DEFAULT_WINDOW).to_bytes(4)
        self._out += http2.frame(http2.WINDOW_UPDATE, 0, 0, more)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def call(
        self, path: str, body: bytes, *, ends: bool = True, fields: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Begin a call; `pump` sends its bytes."""
        stream = 2 * len(self.calls) + 1
        head = http2.grpc_head(path, fields)
        self._out += http2.frame(http2.HEADERS, http2.END_HEADERS, stream, head)
        self.calls[stream] = Call(memoryview(body), ends, self._first_window)

    @property
    def ended(self) -> int:
        """How many calls the server has ended."""
        return sum(call.over for call in self.calls.values())

    @property
    def received(self) -> int:
        """The bytes of all responses."""
        return sum(call.received for call in self.calls.values())

    def pump(self, *, quiet_seconds: float = 1.0, at_most_seconds: float = http2.TIMEOUT_SECONDS) -> None:
        """Send and receive until all calls have ended, nothing moves any more, or the server has closed."""
        begin = moved = time.monotonic()
        while not self.gone and self.ended < len(self.calls):
            now = time.monotonic()
            if now > moved + quiet_seconds or now > begin + at_most_seconds:
                return
            self._fill()
            writes = [self._socket] if self._out else []
            readable, writable, _ = select.select([self._socket], writes, [], quiet_seconds / 4)
            try:
                if writable:
                    del self._out[: self._socket.send(self._out[:_SEND_BYTES])]
                if readable:
                    self._read()
            except OSError:
                self.gone = True
            if readable or writable:
                moved = time.monotonic()

    def _fill(self) -> None:
        """Send as much of every body as the windows allow, in turn."""
        if len(self._out) > _SEND_BYTES:
            return
        for stream, call in self.calls.items():
            count = min(_FRAME_BYTES, len(call.unsent), call.window, self._connection_window)
            if call.over or count <= 0:
                continue
            chunk, call.unsent = bytes(call.unsent[:count]), call.unsent[count:]
            call.window -= count
            self._connection_window -= count
            last = call.ends and not call.unsent
            self._out += http2.frame(http2.DATA, http2.END_STREAM if last else 0, stream, chunk)

    def _read(self) -> None:
        data = self._socket.recv(_SEND_BYTES)
        self.gone = not data
        self._arrived += data
        at = 0
        while len(self._arrived) >= at + _HEAD_BYTES:
            end = at + _HEAD_BYTES + int.from_bytes(self._arrived[at : at + 3])
            if len(self._arrived) < end:
                break
            stream = int.from_bytes(self._arrived[at + 5 : at + 9])
            payload = self._arrived[at + _HEAD_BYTES : end]
            self._take(http2.Frame(self._arrived[at + 3], self._arrived[at + 4], stream, payload))
            at = end
        self._arrived = self._arrived[at:]

    def _take(self, frame: http2.Frame) -> None:
        call = self.calls.get(frame.stream)
        if frame.kind == http2.SETTINGS and not frame.flags & http2.ACK:
            self._out += http2.frame(http2.SETTINGS, http2.ACK, 0)
            for at in range(0, len(frame.payload), _SETTING_BYTES):
                if int.from_bytes(frame.payload[at : at + 2]) == _INITIAL_WINDOW_SIZE:
                    self._change_windows(int.from_bytes(frame.payload[at + 2 : at + _SETTING_BYTES]))
        elif frame.kind == http2.PING and not frame.flags & http2.ACK:
            self._out += http2.frame(http2.PING, http2.ACK, 0, frame.payload)
        elif frame.kind == http2.WINDOW_UPDATE and frame.stream == 0:
            self._connection_window += int.from_bytes(frame.payload)
        elif frame.kind == http2.WINDOW_UPDATE and call:
            call.window += int.from_bytes(frame.payload)
        elif call:
            call.received += len(frame.payload) if frame.kind == http2.DATA else 0
            call.over |= frame.ends

    def _change_windows(self, window: int) -> None:
        for call in self.calls.values():
            call.window += window - self._first_window
        self._first_window = window
