from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scorewire import (
    AsyncClient,
    Client,
    Code,
    DeadlineExceededError,
    Hedging,
    InvalidArgumentError,
    NotFoundError,
    Retries,
    ScorewireError,
    UnavailableError,
)
from scorewire._hedging import Hedger
from scorewire._retries import RESERVE, RetryBudget
from scorewire.testing import FakeServer
from tests.fake_models import SUM
from tests.scorewire.test_client import wait_until

ROW = {"x": 1.0, "y": 0.0}


@pytest.fixture
def pair() -> Iterator[tuple[FakeServer, FakeServer]]:
    with FakeServer(SUM) as fast, FakeServer(SUM) as slow:
        yield fast, slow


def predicts(server: FakeServer) -> int:
    return sum(call.method == "Predict" for call in server.calls)


def connected(connect: Any, servers: tuple[FakeServer, FakeServer], hedging: Hedging, **settings: Any) -> Any:
    """A client that has calls on both servers, in turn."""
    client = connect([server.address for server in servers], hedging=hedging, **settings)

    def reaches_both() -> bool:
        return client.predict("sum", ROW).score == 1 and all(predicts(server) for server in servers)

    assert wait_until(reaches_both)
    for server in servers:
        server.calls.clear()
    return client


def test_the_first_answer_wins_and_the_other_copy_is_cancelled(connect: Any, pair: Any) -> None:
    fast, slow = pair
    client = connected(connect, pair, Hedging(delay=0.05), retries=Retries(budget=1.0))
    slow.delay = 60
    for _ in range(8):
        # A call at the slow server would last to its timeout.
        assert client.predict("sum", ROW, timeout=30).score == 1
    assert predicts(fast) == 8
    # The slow server still waits, and nobody waits for it.
    assert slow.waiting >= 1
    slow.stop()


def test_hedges_come_out_of_the_budget_of_retries(connect: Any, server: FakeServer) -> None:
    client = connect(server.address, hedging=Hedging(delay=0.01, attempts=5), retries=Retries(budget=0.0))
    client.predict("sum", ROW)
    server.calls.clear()
    server.delay = 0.1
    for _ in range(10):
        assert client.predict("sum", ROW).score == 1
    server.delay = 0.0
    assert wait_until(lambda: server.waiting == 0)
    assert predicts(server) <= 10 + RESERVE
    server.calls.clear()
    server.fail(Code.UNAVAILABLE, "out")
    with pytest.raises(UnavailableError, match="out"):
        client.predict("sum", ROW)
    assert predicts(server) == 1


@pytest.mark.parametrize(
    ("call", "method"),
    [
        (lambda client: client.predict_stream("sum", [ROW]), "PredictStream"),
        (lambda client: client.models(), "ListModels"),
        (lambda client: client.model("sum"), "GetModel"),
    ],
    ids=["stream", "models", "model"],
)
def test_only_predict_is_hedged(
    connect: Any, server: FakeServer, call: Callable[[Any], Any], method: str
) -> None:
    client = connect(server.address, hedging=Hedging(delay=0.001))
    server.delay = 0.05
    call(client)
    assert sum(each.method == method for each in server.calls) == 1


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED], ids=str)
def test_a_copy_that_fails_does_not_end_a_call_that_another_copy_may_answer(
    connect: Any, pair: Any, code: Code
) -> None:
    fast, slow = pair
    client = connected(connect, pair, Hedging(delay=0.05), retries=Retries(attempts=1))
    # Longer than a busy machine keeps the second copy from being sent, or from failing first.
    slow.delay, fast.delay = 2.5, 1.0
    # One of the two copies.
    fast.fail(code, "out")
    assert client.predict("sum", ROW).score == 1
    slow.delay = 1.0
    fast.fail(code, "out")
    slow.fail(code, "out")
    with pytest.raises(ScorewireError, match="out") as raised:
        client.predict("sum", ROW)
    assert raised.value.code is code
    # An error of the caller's is one at any server.
    fast.fail(Code.INVALID_ARGUMENT, "wrong")
    slow.fail(Code.INVALID_ARGUMENT, "wrong")
    with pytest.raises(InvalidArgumentError, match="wrong"):
        client.predict("sum", ROW)


def test_a_hedged_call_keeps_its_deadline_and_its_errors(connect: Any, server: FakeServer) -> None:
    client = connect(server.address, hedging=Hedging(delay=0.02))
    client.predict("sum", ROW)
    with pytest.raises(NotFoundError):
        client.predict("sum", ROW, version="9.0.0")
    server.delay = 60
    with pytest.raises(DeadlineExceededError):
        client.predict("sum", ROW, timeout=0.2)
    server.stop()


def test_a_hedged_batch_beyond_the_limit_goes_in_parts(connect: Any, server: FakeServer) -> None:
    server.max_rows = 2
    client = connect(server.address, hedging=Hedging(delay=0.02))
    assert client.predict("sum", [ROW] * 5).scores.tolist() == [1] * 5


def test_closing_a_client_ends_hedged_calls(server: FakeServer) -> None:
    async def main() -> None:
        client = AsyncClient(server.address, hedging=Hedging(delay=0.02))
        await client.predict("sum", ROW)
        server.delay = 60
        call = asyncio.create_task(client.predict("sum", ROW))
        assert await asyncio.to_thread(wait_until, lambda: server.waiting == 2)
        await client.close()
        with pytest.raises(ScorewireError, match="the client was closed"):
            await call

    asyncio.run(main())
    with Client(server.address, hedging=Hedging(delay=0.02)) as client:
        server.delay = 0
        client.predict("sum", ROW)
        server.delay = 60
        before = server.waiting

        async def close() -> None:
            assert await asyncio.to_thread(wait_until, lambda: server.waiting >= before + 2)
            client.close()

        async def both() -> list[Any]:
            return await asyncio.gather(
                asyncio.to_thread(client.predict, "sum", ROW), close(), return_exceptions=True
            )

        raised, _ = asyncio.run(both())
        assert isinstance(raised, ScorewireError)
        assert raised.code is Code.CANCELLED
    server.stop()


def test_cancelling_a_hedged_call_cancels_its_copies(server: FakeServer) -> None:
    async def main() -> None:
        async with AsyncClient(server.address, hedging=Hedging(delay=0.02)) as client:
            await client.predict("sum", ROW)
            server.delay = 60
            call = asyncio.create_task(client.predict("sum", ROW))
            assert await asyncio.to_thread(wait_until, lambda: server.waiting == 2)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    server.stop()


# The delay


def test_without_a_delay_it_is_what_most_calls_took() -> None:
    hedger = Hedger(Hedging(), RetryBudget(0.1))
    for _ in range(19):
        hedger.answered(0.010)
    assert hedger.delay is None
    hedger.answered(0.500)
    assert hedger.delay == 0.500
    for _ in range(180):
        hedger.answered(0.010)
    assert hedger.delay == 0.010
    for _ in range(200):
        hedger.answered(0.000_01)
    assert hedger.delay == 0.001


def test_a_delay_that_is_given_stays() -> None:
    hedger = Hedger(Hedging(delay=0.2), RetryBudget(0.1))
    for _ in range(100):
        hedger.answered(0.010)
    assert hedger.delay == 0.2


def test_calls_are_hedged_once_enough_were_seen(connect: Any, server: FakeServer) -> None:
    client = connect(server.address, hedging=Hedging())
    for _ in range(25):
        client.predict("sum", ROW)
    server.calls.clear()
    # Longer than any of the calls before took on a busy machine.
    server.delay = 1.5
    assert client.predict("sum", ROW).score == 1
    assert predicts(server) >= 1
    assert len(server.calls) + server.waiting == 2


@pytest.mark.parametrize(
    "settings", [{"delay": 0}, {"delay": 1e9}, {"attempts": 1}, {"attempts": 6}], ids=str
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Hedging(**settings)
