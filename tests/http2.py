"""An HTTP/2 client that writes its own frames, so that it can send anything."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

# Frame types.
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 6, 7, 8, 9
# Flags.
END_STREAM, ACK, END_HEADERS = 1, 1, 4
# Error codes.
NO_ERROR, PROTOCOL_ERROR, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 8, 11

# The length of a gRPC message prefix.
MESSAGE_HEAD_BYTES = 5
# The client preface, which every server accepts.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME_BYTES = 1 << 14
TIMEOUT_SECONDS = 60
_HEAD_BYTES = 9
# "grpc-status" in HPACK: as a plain literal, and Huffman-coded.
_GRPC_STATUS_NAMES = (b"\x0bgrpc-status", b"\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f")
_LONGEST_SHORT = 127


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Encode a frame, valid or not."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def integer(value: int, prefix_bits: int, first: int = 0) -> bytes:
    """Encode an HPACK integer after the bits of its first byte."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes([first | value])
    out, value = bytearray([first | limit]), value - limit
    while value > _LONGEST_SHORT:
        out.append(value & _LONGEST_SHORT | 0x80)
        value >>= 7
    return bytes([*out, value])


def literal(name: str, value: str | bytes, *, kept: bool = False) -> bytes:
    """Encode a header field as an HPACK literal, added to the dynamic table or not."""
    text = value if isinstance(value, bytes) else value.encode()
    head = b"\x40" if kept else b"\x00"
    return head + integer(len(name), 7) + name.encode() + integer(len(text), 7) + text


def grpc_head(path: str, fields: Iterable[tuple[str, str | bytes]] = ()) -> bytes:
    """The header block of a gRPC call."""
    block = b"\x83\x86" + literal(":path", path) + literal(":authority", "h")
    block += literal("te", "trailers") + literal("content-type", "application/grpc")
    return block + b"".join(literal(name, value) for name, value in fields)


def message(data: bytes, flag: int = 0) -> bytes:
    """Encode a gRPC message with its prefix; flag 1 means that it is compressed."""
    return struct.pack(">BI", flag, len(data)) + data


def head(stream: int, block: bytes, flags: int = 0) -> bytes:
    """A header block in as many frames as necessary."""
    parts = [block[start : start + MAX_FRAME_BYTES] for start in range(0, len(block), MAX_FRAME_BYTES)]
    frames = [
        frame(CONTINUATION if i else HEADERS, 0 if i else flags, stream, part) for i, part in enumerate(parts)
    ]
    frames[-1] = frames[-1][:4] + bytes([frames[-1][4] | END_HEADERS]) + frames[-1][5:]
    return b"".join(frames)


def call(stream: int, path: str, data: bytes, fields: Iterable[tuple[str, str | bytes]] = ()) -> bytes:
    """The frames of a complete unary call."""
    return head(stream, grpc_head(path, fields)) + frame(DATA, END_STREAM, stream, message(data))


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame from the server."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def error(self) -> int:
        """The error code of a RST_STREAM or GOAWAY frame."""
        at = 4 if self.kind == GOAWAY else 0
        return int.from_bytes(self.payload[at : at + 4])

    @property
    def status(self) -> int:
        """The gRPC status in the frame, if it is the first on the connection; later ones are indexed."""
        (start,) = [
            self.payload.index(name) + len(name) for name in _GRPC_STATUS_NAMES if name in self.payload
        ]
        length = self.payload[start]
        return int(self.payload[start + 1 : start + 1 + length])

    @property
    def ends(self) -> bool:
        """Whether the frame ends the server's side of its stream."""
        return self.kind == RST_STREAM or (self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM))


class Connection:
    """A connection that has sent the preface and empty SETTINGS, unless told otherwise."""

    def __init__(self, address: str, opening: bytes = PREFACE + frame(SETTINGS, 0, 0)) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS)
        self._arrived = b""
        self.send(opening)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            OSError: the server has closed the connection.
        """
        self.socket.sendall(data)

    def try_send(self, data: bytes) -> bool:
        """Send bytes; returns False if the server has closed the connection."""
        try:
            self.send(data)
        except (ConnectionError, TimeoutError):
            return False
        return True

    def hang_up(self) -> None:
        """Shut the connection down; a reader sees its end."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def frames(self) -> Iterator[Frame]:
        """The frames from the server, until it closes the connection."""
        while True:
            while len(self._arrived) >= _HEAD_BYTES:
                length = int.from_bytes(self._arrived[:3])
                if len(self._arrived) < _HEAD_BYTES + length:
                    break
                kind, flags, stream = struct.unpack(">BBI", self._arrived[3:_HEAD_BYTES])
                payload = self._arrived[_HEAD_BYTES : _HEAD_BYTES + length]
                self._arrived = self._arrived[_HEAD_BYTES + length :]
                yield Frame(kind, flags, stream, payload)
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionError:
                return
            if not data:
                return
            self._arrived += data

    def take_settings(self) -> None:
        """Acknowledge the server's SETTINGS; grpc's server enforces them only after that."""
        for one in self.frames():
            if one.kind == SETTINGS and not one.flags & ACK:
                return self.send(frame(SETTINGS, ACK, 0))
        raise AssertionError("the connection ended before its settings")

    def until_end(self, stream: int) -> list[Frame]:
        """The frames of a stream up to the one that ends it, without WINDOW_UPDATE frames.

        Raises:
            AssertionError: the connection ended before.
        """
        found = []
        for one in self.frames():
            if one.stream == stream and one.kind != WINDOW_UPDATE:
                found.append(one)
                if one.ends:
                    return found
        raise AssertionError(f"the connection ended before stream {stream}, which had {found}")

    def goaway(self) -> Frame | None:
        """The last GOAWAY before the server closes the connection."""
        told = None
        for one in self.frames():
            if one.kind == GOAWAY:
                told = one
        return told
