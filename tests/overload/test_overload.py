"""Bursts are answered, floods refused, and neither costs a client its connection.

What is answered in time depends on the machine: `python -m tests.overload` measures it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.engines import NATIVE_MISSING, Server
from tests.overload.offer import offer
from tests.overload.scenarios import KINDS, PREDICT, overloaded_server

pytestmark = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)


@pytest.fixture(scope="module", params=KINDS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, bytes]]:
    with overloaded_server(tmp_path_factory.mktemp("overload"), "native", request.param) as found:
        yield found


def test_a_burst_without_deadlines_is_answered_whole(served: tuple[Server, bytes]) -> None:
    server, data = served
    burst = offer(server.address, PREDICT, data, rate=1e6, seconds=0.0008, patience=60.0)
    assert (burst.sent, burst.good) == (800, 800)


def test_calls_that_come_too_fast_are_refused_and_those_after_them_answered(
    served: tuple[Server, bytes],
) -> None:
    server, data = served
    flood = offer(server.address, PREDICT, data, rate=10_000, seconds=0.7, timeout_seconds=0.2)
    assert flood.refused + flood.expired > 0
    assert flood.connections_lost == 0
    after = offer(server.address, PREDICT, data, rate=10, seconds=1.0, patience=60.0, connections=1)
    assert after.good == 10


def test_a_client_that_cancels_thousands_of_calls_keeps_its_connection(served: tuple[Server, bytes]) -> None:
    server, data = served
    gone = offer(server.address, PREDICT, data, rate=2500, seconds=3.0, timeout_seconds=0.02, connections=1)
    assert gone.connections_lost == 0
