"""Calls a service through the SDK at a steady rate until its input ends; then prints JSON with its counts."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

import click

from scorewire import AsyncClient, ScorewireError
from tests.bundles import expected_value

_ROWS = [{"x0": float(i), "x1": 2.0, "country": "de"} for i in range(10)]
_WANTED = [expected_value([float(i), 2.0], "de") for i in range(10)]


@click.command(help=__doc__)
@click.option("--address", required=True)
@click.option("--rate", default=100.0, show_default=True, help="Calls per second.")
def main(address: str, rate: float) -> None:
    click.echo(json.dumps(asyncio.run(_call(address, rate))))


async def _call(address: str, rate: float) -> dict[str, object]:
    counts: Counter[str] = Counter()
    failures: list[str] = []

    async def once(client: AsyncClient) -> None:
        try:
            predictions = await client.predict("sum", _ROWS)
        except ScorewireError as error:
            counts["failed"] += 1
            failures.append(f"{error.code.name}: {error}")
        else:
            counts["answered"] += 1
            counts["wrong"] += predictions.scores.tolist() != _WANTED

    async with AsyncClient(address) as client:
        await client.wait_ready("sum")
        click.echo("ready")
        loop = asyncio.get_running_loop()
        end = loop.run_in_executor(None, sys.stdin.read)
        due = loop.time()
        tasks: set[asyncio.Task[None]] = set()
        while not end.done():
            task = asyncio.create_task(once(client))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - loop.time()))
        await asyncio.gather(*tasks)
    return {**counts, "failures": failures[:10]}


if __name__ == "__main__":
    main()
