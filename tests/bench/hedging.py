"""Measures what hedging does to slow calls: `python -m tests.bench.hedging`.

Two servers answer one client in turn, and the second one pauses for a part of each second, as a
garbage collector or a busy neighbour would make it. Calls come at random times, whether the last ones
were answered or not. `copies` is the number of copies for each call that the two servers answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path

import click
import numpy as np

from scorewire import AsyncClient, Hedging, Retries
from tests.bench import servers
from tests.bundles import write_sum_bundle

_ROW = {"x0": 1.0, "x1": 2.0, "country": "de"}
_ROUND_SECONDS = 4.0
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
_KINDS: dict[str, tuple[Hedging | None, Retries]] = {
    "no hedging": (None, Retries()),
    "after the 95th percentile": (Hedging(), Retries()),
    "after 20 ms": (Hedging(delay=0.02), Retries()),
    "after 20 ms, budget of 1": (Hedging(delay=0.02), Retries(budget=1.0)),
    "after 20 ms, 4 copies, budget of 1": (Hedging(delay=0.02, attempts=4), Retries(budget=1.0)),
}


@click.command(help=__doc__)
@click.option("--rate", default=50.0, show_default=True, help="Calls per second.")
@click.option("--rounds", default=8, show_default=True, help="Of 4 seconds, for each way of hedging in turn.")
@click.option("--pause-ms", default=500.0, show_default=True, help="How long the second server pauses.")
@click.option("--every-ms", default=4000.0, show_default=True, help="How often it pauses.")
@click.option("--quick", is_flag=True, help="A smoke test, whose numbers are meaningless.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(*, rate: float, rounds: int, pause_ms: float, every_ms: float, quick: bool, as_json: bool) -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        write_sum_bundle(folder / "models")
        pair = [
            stack.enter_context(servers.engine("native", folder / number, folder / "models"))
            for number in ("first", "second")
        ]
        found = asyncio.run(
            _measure(
                pair,
                rate,
                rounds=1 if quick else rounds,
                round_seconds=0.5 if quick else _ROUND_SECONDS,
                pause=pause_ms / 1000,
                every=every_ms / 1000,
            )
        )
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"| hedging | {' | '.join(_QUANTILES)} | copies |\n|{'---|' * (len(_QUANTILES) + 2)}")
    for kind, figures in found.items():
        cells = [f"{figures[quantile]:.1f} ms" for quantile in _QUANTILES]
        click.echo(f"| {kind} | {' | '.join(cells)} | {figures['copies']:.2f} |")


async def _measure(
    pair: list[servers.Server], rate: float, *, rounds: int, round_seconds: float, pause: float, every: float
) -> dict[str, dict[str, float]]:
    addresses = [server.address for server in pair]
    latencies: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    answered = dict.fromkeys(_KINDS, 0)
    async with AsyncExitStack() as stack:
        clients = {}
        for kind, (hedging, retries) in _KINDS.items():
            client = AsyncClient(addresses, hedging=hedging, retries=retries)
            clients[kind] = await stack.enter_async_context(client)
            # What is measured begins with a client that has seen calls.
            await _call(client, rate, round_seconds / 4)
        async with _pausing(pair[1].pid, pause, every):
            for _ in range(rounds):
                for kind, client in clients.items():
                    before = _answered(pair)
                    latencies[kind] += await _call(client, rate, round_seconds)
                    answered[kind] += _answered(pair) - before
    found = {}
    for kind, seconds in latencies.items():
        figures = {name: float(np.quantile(seconds, share)) * 1e3 for name, share in _QUANTILES.items()}
        found[kind] = figures | {"copies": answered[kind] / len(seconds)}
    return found


async def _call(client: AsyncClient, rate: float, seconds: float) -> list[float]:
    """Seconds from when each call was due to its answer."""
    latencies: list[float] = []

    async def once(due: float) -> None:
        await client.predict("sum", _ROW)
        latencies.append(time.monotonic() - due)

    begin = time.monotonic()
    async with asyncio.TaskGroup() as group:
        due = begin
        while (due := due + random.expovariate(rate)) < begin + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(once(due))
    return latencies


@asynccontextmanager
async def _pausing(pid: int, pause: float, every: float) -> AsyncIterator[None]:
    """Stop a process for a part of each interval."""

    async def run() -> None:
        while True:
            await asyncio.sleep(every - pause)
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(pause)
            os.kill(pid, signal.SIGCONT)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        os.kill(pid, signal.SIGCONT)


def _answered(pair: list[servers.Server]) -> int:
    return sum(sum(server.answered()) for server in pair if server.answered is not None)


if __name__ == "__main__":
    main()
