"""The native engine where its threads look for the next call before they sleep (--spin-us)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import psutil
import pytest
from grpc import aio

from tests import bundles
from tests.conformance.engines import NATIVE_MISSING
from tests.conformance.wire import PREDICT, Wire, sum_request
from tests.processes import ServerProcess, serving
from tests.property.encoding import bytes_field

pytestmark = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)

LONGEST_US = 1000
CALLS = 1_000
# A server that spins all the time uses 1 s of a processor in each.
WATCHED_SECONDS = 1.0
# What spinning may cost where it does not pay, in seconds of a processor.
MOST_SECONDS = 0.1
# A thread that spun in vain after each rare call would use three times as much.
RARE_CALLS = 300
# A field that requests do not have, whose size the server takes several reads for.
UNKNOWN_FIELD, UNKNOWN_BYTES = 1000, 1 << 20
ROUNDS = 20
PROCESSORS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[ServerProcess]]:
    """A server that spins, and one that does not."""
    models = tmp_path / "models"
    bundles.write_sum_bundle(models)
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                serving(
                    tmp_path / str(spin_us),
                    models,
                    "--engine", "native", "--threads", "2", "--spin-us", str(spin_us),
                    "--state-file", tmp_path / str(spin_us) / "state.json",
                )
            )
            for spin_us in (LONGEST_US, 0)
        ]  # fmt: skip


def _call(
    wire: Wire,
    count: int,
    pause_seconds: float = 0.0,
    more: bytes = b"",
) -> None:
    data = sum_request().SerializeToString() + more
    for _ in range(count):
        assert wire.call(PREDICT, data)
        time.sleep(pause_seconds)


def _idle_processors() -> float:
    """How many of the processors that this process may use were idle since the last call."""
    times = psutil.cpu_times_percent(percpu=True)
    return sum(times[processor].idle for processor in PROCESSORS) / 100


def _processor_seconds(server: ServerProcess) -> float:
    times = psutil.Process(server.pid).cpu_times()
    return times.user + times.system


def test_a_server_that_is_idle_or_called_rarely_costs_what_it_does_without_spinning(
    pair: list[ServerProcess],
) -> None:
    wires = [Wire(server.address) for server in pair]
    with wires[0].channel, wires[1].channel:
        for wire in wires:
            _call(wire, CALLS)
        before = [_processor_seconds(server) for server in pair]
        time.sleep(WATCHED_SECONDS)
        idle = [_processor_seconds(server) - then for server, then in zip(pair, before, strict=True)]
        assert idle[0] < idle[1] + MOST_SECONDS
        # The gaps are longer than the time for which the server may spin.
        for wire in wires:
            _call(wire, RARE_CALLS, pause_seconds=4 * LONGEST_US / 1e6)
        rare = [_processor_seconds(server) - then for server, then in zip(pair, before, strict=True)]
        assert rare[0] < rare[1] + MOST_SECONDS


def test_the_segments_of_rare_requests_do_not_count_as_calls_that_follow_each_other(
    pair: list[ServerProcess],
) -> None:
    unknown = bytes_field(UNKNOWN_FIELD, bytes(UNKNOWN_BYTES))
    spent = []
    for server in pair:
        wire = Wire(server.address)
        with wire.channel:
            _call(wire, 1, more=unknown)
            before = _processor_seconds(server)
            _call(wire, RARE_CALLS, pause_seconds=4 * LONGEST_US / 1e6, more=unknown)
            spent.append(_processor_seconds(server) - before)
    assert spent[0] < spent[1] * 1.2 + MOST_SECONDS


@pytest.mark.skipif(len(PROCESSORS) < 2, reason="caller and server need a processor each")
def test_a_server_that_is_called_without_a_pause_spins(pair: list[ServerProcess]) -> None:
    spins, sleeps = ((server, Wire(server.address)) for server in pair)

    def spent(server: ServerProcess, wire: Wire) -> float:
        before = _processor_seconds(server)
        _call(wire, CALLS)
        return _processor_seconds(server) - before

    calm_rounds = 0
    with spins[1].channel, sleeps[1].channel:
        for _ in range(ROUNDS):
            _idle_processors()
            slept = spent(*sleeps)
            is_calm = _idle_processors() > len(PROCESSORS) - 1.5
            if spent(*spins) > 2 * slept + MOST_SECONDS / 2:
                return
            calm_rounds += is_calm
    # A thread does not spin where other processes take its processor.
    if calm_rounds < ROUNDS / 2:
        pytest.skip("other processes need the processors")
    pytest.fail("the server has not spun")


async def test_a_server_that_spins_answers_every_call_and_drains(pair: list[ServerProcess]) -> None:
    data = sum_request().SerializeToString()
    ended: list[grpc.StatusCode] = []
    async with aio.insecure_channel(pair[0].address) as channel:
        method = channel.unary_unary(PREDICT)

        async def caller() -> None:
            while True:
                try:
                    assert await method(data, timeout=20)
                except aio.AioRpcError as error:
                    ended.append(error.code())
                    return

        callers = [asyncio.ensure_future(caller()) for _ in range(4)]
        await asyncio.sleep(WATCHED_SECONDS / 4)
        assert not ended
        began = time.monotonic()
        assert await asyncio.to_thread(pair[0].stop) == 0
        await asyncio.gather(*callers)
    # The server has closed its port.
    assert set(ended) == {grpc.StatusCode.UNAVAILABLE}
    assert time.monotonic() - began < 20
