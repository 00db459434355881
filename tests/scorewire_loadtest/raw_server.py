"""An HTTP/2 server that writes its own frames, so that it can end calls and connections in any way."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from scorewire_proto.v1 import packed_pb2
from tests import http2
from tests.http2 import END_HEADERS, END_STREAM, Frame, frame, literal, message

# A header block of a response with the HTTP status 200.
HEAD = b"\x88" + literal("content-type", "application/grpc")


def head(stream: int) -> bytes:
    """The frame that begins a response."""
    return frame(http2.HEADERS, END_HEADERS, stream, HEAD)


def trailers(stream: int, status: int = 0) -> bytes:
    """The frame that ends a response whose head was sent."""
    return frame(http2.HEADERS, END_HEADERS | END_STREAM, stream, literal("grpc-status", str(status)))


def answer(stream: int) -> bytes:
    """A response to a unary call: an empty message."""
    return head(stream) + frame(http2.DATA, 0, stream, message(b"")) + trailers(stream)


def stream_answers(found: Frame) -> bytes:
    """Frames that answer the messages in a frame of PredictStream, and let the client send as many again."""
    out, data = b"", found.payload
    while data:
        end = http2.MESSAGE_HEAD_BYTES + int.from_bytes(data[1 : http2.MESSAGE_HEAD_BYTES])
        request = packed_pb2.PackedPredictStreamRequest.FromString(data[http2.MESSAGE_HEAD_BYTES : end])
        response = packed_pb2.PackedPredictStreamResponse(correlation_id=request.correlation_id)
        response.response.SetInParent()
        out += message(response.SerializeToString())
        data = data[end:]
    window = frame(http2.WINDOW_UPDATE, 0, found.stream, len(found.payload).to_bytes(4))
    return window + frame(http2.DATA, 0, found.stream, out)


def goaway(last_stream: int) -> bytes:
    """The frame by which a server tells that it takes no streams after `last_stream`."""
    return frame(http2.GOAWAY, 0, 0, last_stream.to_bytes(4) + bytes(4))


class Peer:
    """The server's end of a connection of HTTP/2; `number` counts the connections."""

    def __init__(self, connection: socket.socket, numbers: Iterator[int]) -> None:
        self.socket = connection
        self._arrived = b""
        # Some connections are made only to find out whether somebody listens.
        self._read(len(http2.PREFACE))
        self.number = next(numbers)

    def send(self, *frames: bytes) -> None:
        """Send frames in one segment."""
        self.socket.sendall(b"".join(frames))

    def frames(self) -> Iterator[Frame]:
        """The frames of the client, until it closes the connection."""
        self.send(frame(http2.SETTINGS, 0, 0))
        while True:
            start = self._read(9)
            payload = self._read(int.from_bytes(start[:3]))
            found = Frame(start[3], start[4], int.from_bytes(start[5:]), payload)
            if found.kind == http2.SETTINGS and not found.flags & http2.ACK:
                self.send(frame(http2.SETTINGS, http2.ACK, 0))
            if found.kind == http2.DATA and payload:
                self.send(frame(http2.WINDOW_UPDATE, 0, 0, len(payload).to_bytes(4)))
            yield found

    def _read(self, length: int) -> bytes:
        while len(self._arrived) < length:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionResetError
            self._arrived += data
        found, self._arrived = self._arrived[:length], self._arrived[length:]
        return found


@contextmanager
def listening(handle: Callable[[Peer], None]) -> Iterator[str]:
    """Handle each connection to a free loopback port on a thread of its own; yields the address."""
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []
    numbers = itertools.count()

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            handle(Peer(connection, numbers))

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections.append(connection)
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for connection in connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
