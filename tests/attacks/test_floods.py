"""Floods of frames that cost the sender almost nothing."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from tests.attacks.healthy import healthy
from tests.attacks.held import Held
from tests.conformance.wire import PREDICT, PREDICT_STREAM, sum_request
from tests.http2 import (
    CANCEL,
    DATA,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Connection,
    call,
    frame,
    grpc_head,
    head,
)
from tests.processes import ServerProcess

FRAMES = 100_000
RESETS = 20_000
_BATCH = 1_000
# A sender that flow control blocks has finished its flood.
_HELD_BACK_SECONDS = 1
_OPEN_STREAM = head(1, grpc_head(PREDICT_STREAM))
# The frames before each flood, and the frame that is repeated.
FLOODS: Mapping[str, tuple[bytes, bytes]] = {
    "PING": (b"", frame(PING, 0, 0, b"12345678")),
    "SETTINGS": (b"", frame(SETTINGS, 0, 0)),
    "SETTINGS that change": (b"", frame(SETTINGS, 0, 0, b"\x00\x04\x00\x00\xff\xff")),
    "PRIORITY": (b"", frame(PRIORITY, 0, 1, b"\x00\x00\x00\x00\x10")),
    "WINDOW_UPDATE": (_OPEN_STREAM, frame(WINDOW_UPDATE, 0, 1, b"\x00\x00\x00\x01")),
    "empty DATA": (_OPEN_STREAM, frame(DATA, 0, 1)),
    "of an unknown type": (b"", frame(0xBB, 0, 0)),
}


@pytest.mark.parametrize("reads", [True, False], ids=["read", "unread"])
@pytest.mark.parametrize("flood", FLOODS)
def test_floods_hold_nobody_up_and_leave_nothing(
    server: ServerProcess, held: Held, flood: str, reads: bool
) -> None:
    opening, one = FLOODS[flood]
    with healthy(server.address) as client, Connection(server.address) as connection:
        connection.send(opening)
        reader = threading.Thread(target=lambda: list(connection.frames()))
        if reads:
            reader.start()
        else:
            connection.socket.settimeout(_HELD_BACK_SECONDS)
        for _ in range(FRAMES // _BATCH):
            if not connection.try_send(one * _BATCH):
                break
        client.goes_on()
        connection.hang_up()
        if reads:
            reader.join()
    held.comes_back()


def test_calls_that_are_reset_at_once_end_their_connection(server: ServerProcess, held: Held) -> None:
    request = sum_request().SerializeToString()
    with healthy(server.address), Connection(server.address) as connection:
        told: list[int] = []
        reader = threading.Thread(
            target=lambda: told.extend(one.error for one in connection.frames() if one.kind == GOAWAY)
        )
        reader.start()
        reset = CANCEL.to_bytes(4)
        for number in range(RESETS):
            stream = 2 * number + 1
            if not connection.try_send(call(stream, PREDICT, request) + frame(RST_STREAM, 0, stream, reset)):
                break
        # This ends when the server has closed the connection.
        reader.join()
        # The server's last frames may be lost together with the bytes that it did not read.
        assert set(told) <= {ENHANCE_YOUR_CALM}
    held.comes_back()
