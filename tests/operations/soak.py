"""Makes calls for a long time while versions come and go; the server's memory must not grow."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpc import aio

from tests import http2
from tests.bench.h2load import put_load
from tests.operations.load import MODEL, PREDICT, Operator, Seen, request, under_load
from tests.operations.scenarios import assert_unhurt, publish, resident
from tests.processes import TIMEOUT_SECONDS, ServerProcess

_CHECKED_PER_SECOND = 20.0
_CONNECTIONS, _IN_FLIGHT = 4, 64
# Allocators keep some memory, and the first rounds have not reached every code path.
GROWTH_BYTES = 16 << 20


@dataclass(slots=True)
class Soaked:
    """The result of a soak: calls of the generator, cancelled calls, and resident bytes by round."""

    calls: int = 0
    cancels: int = 0
    seen: Seen = field(default_factory=Seen)
    resident_bytes: list[int] = field(default_factory=list)


async def soak(
    server: ServerProcess, models: Path, folder: Path, *, rounds: int, calls: int, cancels: int
) -> Soaked:
    """In each round, publish a release while calls are made and other calls are cancelled.

    The server begins with version 1.0.0. Every call must be answered, the server may use
    no more memory in the second half of the rounds than in the first, and no call may
    stay in flight.
    """
    message, soaked = folder / "message", Soaked()
    data = request(0).SerializeToString()
    message.write_bytes(http2.message(data))
    failed = _failures(server)
    async with under_load(server.address, rate=_CHECKED_PER_SECOND) as (operator, soaked.seen):
        for number in range(1, rounds + 1):
            await asyncio.gather(
                asyncio.to_thread(
                    put_load,
                    f"{server.address}{PREDICT}",
                    message,
                    calls=calls,
                    in_flight=_IN_FLIGHT,
                    log=folder / "log.h2load",
                    connections=_CONNECTIONS,
                ),
                _replace(operator, models, number),
                _cancel(server.address, cancels),
            )
            soaked.calls += calls
            soaked.cancels += cancels
            soaked.resident_bytes.append(resident(server))
    assert_unhurt(soaked.seen)
    assert _failures(server) == failed, "the generator does not see gRPC's status, the server counts it"
    await _until_idle(server)
    half = max(1, rounds // 2)
    first, second = soaked.resident_bytes[:half], soaked.resident_bytes[half:]
    assert max(second, default=0) <= max(first) + GROWTH_BYTES, soaked.resident_bytes
    return soaked


async def _replace(operator: Operator, models: Path, number: int) -> None:
    """Publish a new release, and remove the one before."""
    publish(models, f"1.{number}.0")
    await operator.until_default(f"1.{number}.0")
    shutil.rmtree(models / MODEL / f"1.{number - 1}.0")
    await operator.until_state(f"1.{number - 1}.0", None)


async def _cancel(address: str, count: int) -> None:
    """Make calls that are cancelled: before they are sent, in flight, or after their end."""
    data = request(0).SerializeToString()
    async with aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        method: Any = channel.unary_unary(PREDICT)
        for number in range(count):
            call = method(data, timeout=TIMEOUT_SECONDS)
            if number % 2:
                await asyncio.sleep(0)
            if number % 10 == 0:
                await call
            call.cancel()


def _failures(server: ServerProcess) -> dict[Any, float]:
    """Counts of failed calls by reason, without those that were cancelled."""
    found = server.metrics()
    return {key: count for key, count in found.items() if key[0] == "scorewire_errors_total"}


async def _until_idle(server: ServerProcess) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while server.metrics()["scorewire_in_flight", frozenset()]:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.02)
