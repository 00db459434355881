"""The SDK's circuit breaker where a server is killed and comes back."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from scorewire import AsyncClient, BreakerState, CircuitBreaker, Client, Retries, UnavailableError
from tests.bundles import expected_value, write_sum_bundle
from tests.conformance.engines import ENGINES
from tests.processes import ServerProcess, serving, wait_until

ROW = {"x0": 1.0, "x1": 2.0, "country": "de"}
WANTED = expected_value([1.0, 2.0], "de")


def breaker() -> CircuitBreaker:
    return CircuitBreaker(minimum_calls=4, window_seconds=1, open_seconds=0.5, probes=2)


def kill(server: ServerProcess) -> None:
    server.signal(signal.SIGKILL)
    server.wait()


@pytest.mark.parametrize("engine", ENGINES)
def test_calls_fail_at_once_until_a_killed_server_is_back(engine: str, tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_sum_bundle(models)
    own = breaker()

    def reason(client: Client) -> str | None:
        """Why a call failed; None if it did not."""
        try:
            assert client.predict("sum", ROW).score == WANTED
        except UnavailableError as error:
            return error.reason
        return None

    with serving(tmp_path / "first", models, "--engine", engine) as first:
        client = Client(first.address, breaker=own, retries=Retries(attempts=1))
        assert reason(client) is None
        kill(first)
        wait_until(lambda: reason(client) == "CIRCUIT_OPEN", "an open circuit breaker")
        assert own.state is not BreakerState.CLOSED
    with serving(tmp_path / "second", models, "--engine", engine, "--listen", first.address), client:
        wait_until(lambda: reason(client) is None and own.state is BreakerState.CLOSED, "a closed breaker")


@pytest.mark.parametrize("engine", ENGINES)
async def test_many_tasks_find_a_server_that_is_back(engine: str, tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_sum_bundle(models)
    own = breaker()
    opened = asyncio.Event()
    closed = asyncio.Event()

    async def work(client: AsyncClient) -> None:
        while not (opened.is_set() and closed.is_set()):
            try:
                assert (await client.predict("sum", ROW)).score == WANTED
            except UnavailableError as error:
                if error.reason == "CIRCUIT_OPEN":
                    opened.set()
                await asyncio.sleep(0.02)
            else:
                if opened.is_set() and own.state is BreakerState.CLOSED:
                    closed.set()
            await asyncio.sleep(0)

    with serving(tmp_path / "first", models, "--engine", engine) as first:
        client = AsyncClient(first.address, breaker=own, retries=Retries(attempts=1))
        await client.wait_ready("sum")
        tasks = [asyncio.create_task(work(client)) for _ in range(16)]
        kill(first)
        async with asyncio.timeout(60):
            await opened.wait()
    flags = ("--engine", engine, "--listen", first.address)
    async with client, asyncio.timeout(60):
        # A server takes seconds to start, in which the tasks go on.
        with await asyncio.to_thread(_Started, tmp_path / "second", models, flags):
            await asyncio.gather(*tasks)


class _Started:
    """`serving`, entered in the thread that makes it."""

    def __init__(self, folder: Path, models: Path, flags: tuple[str, ...]) -> None:
        self._context = serving(folder, models, *flags)
        self._context.__enter__()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)
