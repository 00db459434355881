"""Measures what HTTP/JSON costs next to gRPC: `python -m tests.bench.gateway`.

The same rows go to one server by the SDK's asyncio client, and through a gateway, in rounds that follow
each other. The SDK's client runs on the core where the gateway runs, since that is the work that the
gateway does for its clients; the server and the HTTP client, which only sends and counts bytes, have
the other core. `core ms` is the processor time of that core for a call, which other load on the machine
changes least. The ratios are medians of the ratios of rounds.
"""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psutil

from scorewire import AsyncClient
from tests.bench import servers
from tests.bench.measure import cores, pinned
from tests.bench.scored_model import NAME, ScoredModel, make_model
from tests.bench.servers import Server
from tests.processes import COMMAND, ServerProcess, service

_LOADS = [(1, 1), (1, 16), (1, 64), (1000, 1)]
_HEAD = (
    "POST /models/{name}:predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    "Content-Length: {length}\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Round:
    """One load: its calls a second, the median of the latencies, and the core's processor time per call."""

    calls_per_second: float
    latency_ms: float
    core_ms: float


@click.command(help=__doc__)
@click.option("--engine", type=click.Choice(["native", "reference"]), default="native", show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.05), default=1.0, show_default=True)
@click.option("--quick", is_flag=True, help="A smoke test: one short round, whose numbers are meaningless.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(engine: str, rounds: int, seconds: float, quick: bool, as_json: bool) -> None:
    if quick:
        rounds, seconds = 1, 0.05
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        model = make_model(folder / "models", train_rows=1_000 if quick else 20_000)
        server_core, core = cores()
        with pinned(server_core):
            server = stack.enter_context(servers.engine(engine, folder, folder / "models"))
        with pinned(core):
            gateway = stack.enter_context(
                service(folder / "gateway", COMMAND, "gateway", "--server", server.address)
            )
        found = asyncio.run(
            _measure(
                server, gateway, model, rounds=rounds, seconds=seconds, client_core=server_core, core=core
            )
        )
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo("| rows | in flight | | calls/s | median ms | core ms |\n|---|---|---|---|---|---|")
    for load in found:
        for way in ("SDK", "gateway", "ratio"):
            cells = [f"{load[way][key]:,.3g}" for key in ("calls_per_second", "latency_ms", "core_ms")]
            click.echo(f"| {load['rows']} | {load['in_flight']} | {way} | {' | '.join(cells)} |")


async def _measure(
    server: Server,
    gateway: ServerProcess,
    model: ScoredModel,
    *,
    rounds: int,
    seconds: float,
    client_core: int | None,
    core: int | None,
) -> list[dict[str, Any]]:
    """All loads; `core` is that of the gateway and of the SDK."""
    found = []
    with pinned(core):
        # The threads of grpc stay on this core.
        client = AsyncClient(server.address)
        await client.model(NAME)
    async with client:
        for rows, in_flight in _LOADS:
            pairs = []
            for _ in range(rounds):
                with pinned(core):
                    sdk = await _by_sdk(client, _rows(model, rows), in_flight, seconds)
                with pinned(client_core):
                    http = await _by_http(gateway, _rows(model, rows), in_flight, seconds)
                pairs.append((sdk, http))
            found.append({"rows": rows, "in_flight": in_flight, **_summary(pairs)})
    return found


def _summary(pairs: list[tuple[Round, Round]]) -> dict[str, Any]:
    """Medians of both ways, and of the ratio of the gateway to the SDK."""
    keys = ("calls_per_second", "latency_ms", "core_ms")
    return {
        "SDK": {key: statistics.median(getattr(sdk, key) for sdk, _ in pairs) for key in keys},
        "gateway": {key: statistics.median(getattr(http, key) for _, http in pairs) for key in keys},
        "ratio": {
            key: statistics.median(getattr(http, key) / getattr(sdk, key) for sdk, http in pairs)
            for key in keys
        },
    }


def _rows(model: ScoredModel, count: int) -> list[dict[str, float | None]]:
    names = [feature.name for feature in model.bundle.manifest.schema.features]
    found = [model.rows[i % len(model.rows)].tolist() for i in range(count)]
    return [
        {name: None if math.isnan(value) else value for name, value in zip(names, values, strict=True)}
        for values in found
    ]


async def _by_sdk(
    client: AsyncClient, rows: list[dict[str, float | None]], in_flight: int, seconds: float
) -> Round:
    given: Any = rows if len(rows) > 1 else rows[0]

    async def call() -> None:
        await client.predict(NAME, given)

    await call()
    return await _load([call] * in_flight, seconds, psutil.Process())


async def _by_http(
    gateway: ServerProcess, rows: list[dict[str, float | None]], in_flight: int, seconds: float
) -> Round:
    body = json.dumps({"rows": rows} if len(rows) > 1 else {"row": rows[0]}).encode()
    request = _HEAD.format(name=NAME, length=len(body)).encode() + body
    host, _, port = gateway.address.rpartition(":")
    lanes = [await asyncio.open_connection(host, int(port), limit=1 << 24) for _ in range(in_flight)]

    def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            await reader.readexactly(int(length))

        return call

    calls = [caller(*lane) for lane in lanes]
    try:
        await calls[0]()
        return await _load(calls, seconds, psutil.Process(gateway.pid))
    finally:
        for _, writer in lanes:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _load(
    calls: list[Callable[[], Awaitable[None]]], seconds: float, measured: psutil.Process
) -> Round:
    """Make calls in a closed loop, one lane for each of `calls`."""
    latencies: list[float] = []
    before, begin = measured.cpu_times(), time.perf_counter()

    async def lane(call: Callable[[], Awaitable[None]]) -> None:
        while (start := time.perf_counter()) < begin + seconds:
            await call()
            latencies.append(time.perf_counter() - start)

    await asyncio.gather(*map(lane, calls))
    took, after = time.perf_counter() - begin, measured.cpu_times()
    busy = after.user + after.system - before.user - before.system
    count = len(latencies)
    return Round(count / took, statistics.median(latencies) * 1000, max(busy, 1e-3) / count * 1000)


if __name__ == "__main__":
    main()
