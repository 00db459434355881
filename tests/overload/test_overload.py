"""Bursts are answered, overload is shed, and no client loses its connection.

How many calls are answered in time depends on the machine; `python -m tests.overload` measures it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests import http2
from tests.conformance.engines import NATIVE_MISSING
from tests.http2 import (
    ACK,
    CANCEL,
    DATA,
    END_STREAM,
    GOAWAY,
    PING,
    RST_STREAM,
    Connection,
    frame,
    grpc_head,
    message,
)
from tests.overload.offer import offer
from tests.overload.scenarios import KINDS, PREDICT, overloaded_server
from tests.processes import ServerProcess

# More resets than a connection may send at once, often enough that a slow machine does not hide it.
CANCELS = 20_000
CANCELS_AT_ONCE = 500
CANCELS_A_SECOND = 10_000
# A response to the calls, or the end of the connection.
ENDS = {(PING, ACK), (GOAWAY, 0)}

pytestmark = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)


@pytest.fixture(scope="module", params=KINDS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ServerProcess, bytes]]:
    with overloaded_server(tmp_path_factory.mktemp("overload"), "native", request.param) as found:
        yield found


def test_a_burst_without_deadlines_is_answered_whole(served: tuple[ServerProcess, bytes]) -> None:
    server, data = served
    burst = offer(server.address, PREDICT, data, rate=1e6, seconds=0.0008, patience=60.0)
    assert (burst.sent, burst.good) == (800, 800)


def test_calls_that_come_too_fast_are_refused_and_those_after_them_answered(
    served: tuple[ServerProcess, bytes],
) -> None:
    server, data = served
    flood = offer(server.address, PREDICT, data, rate=10_000, seconds=0.7, timeout_seconds=0.2)
    assert flood.refused + flood.expired > 0
    assert flood.connections_lost == 0
    after = offer(server.address, PREDICT, data, rate=10, seconds=1.0, patience=60.0, connections=1)
    assert after.good == 10


def test_a_client_that_cancels_thousands_of_calls_keeps_its_connection(
    served: tuple[ServerProcess, bytes],
) -> None:
    server, data = served
    head, body = grpc_head(PREDICT, [("grpc-timeout", "20m")]), message(data)
    cancelled = 0
    with Connection(server.address) as connection:
        while cancelled < CANCELS:
            streams = [2 * (cancelled + i) + 1 for i in range(CANCELS_AT_ONCE)]
            calls = (http2.head(stream, head) + frame(DATA, END_STREAM, stream, body) for stream in streams)
            connection.send(b"".join(calls))
            connection.send(b"".join(frame(RST_STREAM, 0, stream, CANCEL.to_bytes(4)) for stream in streams))
            # The server acknowledges the ping after it has read the calls.
            connection.send(frame(PING, 0, 0, cancelled.to_bytes(8)))
            answers = (one for one in connection.frames() if (one.kind, one.flags) in ENDS)
            assert next(answers).kind == PING, f"the connection ended after {cancelled} calls"
            cancelled += len(streams)
            # No faster than allowed; slower only on a slow machine.
            time.sleep(CANCELS_AT_ONCE / CANCELS_A_SECOND)
