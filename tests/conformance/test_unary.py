"""Unary calls have exactly one message, and are answered after the caller has ended its side."""

from __future__ import annotations

import grpc
import pytest

from tests.conformance.wire import PREDICT, Wire, sum_request
from tests.http2 import (
    ACK,
    DATA,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    Connection,
    frame,
    grpc_head,
    head,
    message,
)
from tests.processes import TIMEOUT_SECONDS

UNIMPLEMENTED = 12
BURST = 3000
CONTROL = "/scorewire.v1.ModelService/ListModels"
PATHS = {PREDICT: sum_request().SerializeToString(), CONTROL: b""}

pytestmark = pytest.mark.parametrize("path", PATHS)


def opened(path: str, *, ended: bool = False) -> bytes:
    """The header block of a call, which may also end the call."""
    return head(1, grpc_head(path), END_STREAM if ended else 0)


def status(connection: Connection) -> int:
    """The status of a call whose response has no message."""
    frames = [one for one in connection.until_end(1) if one.kind in (HEADERS, DATA)]
    assert [one.kind for one in frames] == [HEADERS]
    return frames[0].status


@pytest.mark.parametrize("ends_in_its_head", [True, False])
def test_a_call_without_a_message_is_unimplemented(address: str, path: str, ends_in_its_head: bool) -> None:
    with Connection(address) as connection:
        connection.send(opened(path, ended=ends_in_its_head))
        if not ends_in_its_head:
            connection.send(frame(DATA, END_STREAM, 1))
        assert status(connection) == UNIMPLEMENTED


@pytest.mark.parametrize("together", [True, False])
def test_a_second_message_is_unimplemented(address: str, path: str, together: bool) -> None:
    one = message(PATHS[path])
    with Connection(address) as connection:
        connection.send(opened(path))
        if together:
            connection.send(frame(DATA, END_STREAM, 1, one + one))
        else:
            connection.send(frame(DATA, 0, 1, one))
            connection.send(frame(DATA, END_STREAM, 1, one))
        assert status(connection) == UNIMPLEMENTED


def test_a_call_is_answered_once_its_caller_has_ended(address: str, path: str) -> None:
    with Connection(address) as connection:
        connection.take_settings()
        connection.send(opened(path) + frame(DATA, 0, 1, message(PATHS[path])))
        # The server has acknowledged these pings, so it had time to answer.
        for _ in range(20):
            connection.send(frame(SETTINGS, 0, 0))
            for one in connection.frames():
                assert one.stream == 0 or one.kind not in (HEADERS, DATA, RST_STREAM)
                if one.kind == SETTINGS and one.flags & ACK:
                    break
        connection.send(frame(DATA, END_STREAM, 1))
        kinds = [one.kind for one in connection.until_end(1)]
        assert kinds == [HEADERS, DATA, HEADERS]


def test_calls_that_come_at_once_are_all_answered(wire: Wire, path: str) -> None:
    method = wire.unary(path)
    calls = [method.future(PATHS[path], timeout=TIMEOUT_SECONDS) for _ in range(BURST)]
    codes = [call.code() for call in calls]
    assert codes.count(grpc.StatusCode.OK) == BURST, {code: codes.count(code) for code in codes}
