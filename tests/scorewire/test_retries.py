from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scorewire import AsyncClient, Client, Code, Retries, ScorewireError, UnavailableError
from scorewire._attempts import FailurePolicy
from scorewire._errors import ERRORS
from scorewire._methods import GET_SERVER, PREDICT, PREDICT_STREAM, ROLLBACK
from scorewire._retries import FADE_SECONDS, MAX_BALANCE, RESERVE, RetryBudget, pause_before_retry
from scorewire.testing import FakeServer
from tests.fake_models import SUM

ROW = {"x": 1.0, "y": 0.0}
THREADS = 12
CALLS = 600
STREAMS = 120


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outages of many calls would take minutes."""
    monkeypatch.setattr("scorewire._attempts.pause_before_retry", lambda failures: 0.001 * failures)


def received(server: FakeServer, method: str) -> int:
    return sum(call.method == method for call in server.calls)


# An outage: a server that answers UNAVAILABLE to all. What arrives there is at most 1.1 times the calls.


def begin_outage(server: FakeServer) -> None:
    server.calls.clear()
    server.fail(Code.UNAVAILABLE, "out", times=1_000_000)
    server.fail(Code.UNAVAILABLE, "out", times=100_000, method="PredictStream")


def fails(call: Callable[[], Any]) -> None:
    with pytest.raises(UnavailableError, match="out"):
        call()


def test_an_outage_costs_a_tenth_more_calls_at_most(server: FakeServer) -> None:
    """Many threads of one client, which was busy before."""
    with Client(server.address) as client, ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(client.predict, "sum", ROW) for _ in range(CALLS)]:
            assert future.result().score == 1
        begin_outage(server)
        for future in [pool.submit(fails, lambda: client.predict("sum", ROW)) for _ in range(CALLS)]:
            future.result()
    assert CALLS < received(server, "Predict") <= 1.1 * CALLS


def test_an_outage_of_streams_costs_a_tenth_more_streams_at_most(server: FakeServer) -> None:
    with Client(server.address) as client, ThreadPoolExecutor(THREADS) as pool:
        client.predict("sum", ROW)
        begin_outage(server)

        def stream() -> None:
            fails(lambda: list(client.predict_stream("sum", [ROW])))

        for future in [pool.submit(stream) for _ in range(STREAMS)]:
            future.result()
    # Each stream has one request.
    assert STREAMS < opened(server) <= 1.1 * STREAMS


def opened(server: FakeServer) -> int:
    """The streams that began in the outage: each ended with its first message."""
    return 100_000 - len(server._failures["PredictStream"])


def test_an_outage_costs_a_tenth_more_calls_at_most_in_asyncio(server: FakeServer) -> None:
    async def each(client: AsyncClient) -> None:
        with pytest.raises(UnavailableError, match="out"):
            await client.predict("sum", ROW)

    async def stream(client: AsyncClient) -> None:
        with pytest.raises(UnavailableError, match="out"):
            async for _ in client.predict_stream("sum", [ROW]):
                pass

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            for _ in range(CALLS // THREADS):
                await asyncio.gather(*(client.predict("sum", ROW) for _ in range(THREADS)))
            begin_outage(server)
            for _ in range(CALLS // THREADS):
                await asyncio.gather(*(each(client) for _ in range(THREADS)))
        assert CALLS < received(server, "Predict") <= 1.1 * CALLS
        async with AsyncClient(server.address) as client:
            server.fail(Code.UNAVAILABLE, "out", times=100_000, method="PredictStream")
            server._failures["PredictStream"].clear()
            begin_outage(server)
            for _ in range(STREAMS // THREADS):
                await asyncio.gather(*(stream(client) for _ in range(THREADS)))
        assert STREAMS < opened(server) <= 1.1 * STREAMS

    asyncio.run(main())


def test_many_clients_with_few_calls_are_bounded_each(server: FakeServer) -> None:
    """Ten new clients of 100 calls each, in threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        clients = [Client(server.address) for _ in range(10)]
        for client in clients:
            client.model("sum")
        server.calls.clear()
        begin_outage(server)

        def outage(client: Client) -> None:
            for _ in range(100):
                fails(lambda: client.predict("sum", ROW))

        for future in [pool.submit(outage, client) for client in clients]:
            future.result()
        for client in clients:
            client.close()
    assert 1000 < received(server, "Predict") <= 1100


# The budget, with a clock of the test's own


@pytest.fixture
def now() -> list[float]:
    return [0.0]


def taken(budget: RetryBudget) -> int:
    return next(count for count in range(1000) if not budget.withdraw())


def test_a_budget_begins_with_a_reserve_and_grows_with_calls_that_succeed(now: list[float]) -> None:
    budget = RetryBudget(0.1, lambda: now[0])
    assert taken(budget) == RESERVE
    for _ in range(25):
        budget.deposit()
    assert taken(budget) == 2


def test_a_budget_has_a_bound(now: list[float]) -> None:
    budget = RetryBudget(0.1, lambda: now[0])
    for _ in range(10_000):
        budget.deposit()
    assert taken(budget) == MAX_BALANCE


def test_what_a_client_does_not_use_fades_to_the_reserve(now: list[float]) -> None:
    budget = RetryBudget(0.1, lambda: now[0])
    for _ in range(10_000):
        budget.deposit()
    now[0] = FADE_SECONDS
    assert RESERVE < taken(budget) < MAX_BALANCE / 2
    now[0] += 3600
    assert taken(budget) == 0
    # A client of one call a second saves little beyond the reserve.
    steady = RetryBudget(0.1, lambda: now[0])
    for _ in range(1000):
        now[0] += 1
        steady.deposit()
    assert RESERVE <= taken(steady) <= RESERVE + 2


def test_a_budget_of_nothing_has_the_reserve_only(now: list[float]) -> None:
    budget = RetryBudget(0.0, lambda: now[0])
    for _ in range(1000):
        budget.deposit()
    assert taken(budget) == RESERVE


def test_threads_take_no_more_than_there_is() -> None:
    budget = RetryBudget(0.0)
    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(budget.withdraw) for _ in range(1000)]
    assert sum(future.result() for future in futures) == RESERVE


# The policy


def test_what_is_made_again() -> None:
    unavailable = UnavailableError("away")
    policy = FailurePolicy()
    for error in ERRORS.values():
        is_made_again = policy.begin(PREDICT).pause(error("failed"), 10) is not None
        assert is_made_again == (error is UnavailableError)
    for method in (PREDICT, GET_SERVER, PREDICT_STREAM):
        attempts = policy.begin(method)
        assert [attempts.pause(unavailable, 10) is None for _ in range(3)] == [False, False, True]
    # A second rollback goes a step further, and whoever polls calls again anyway.
    assert policy.begin(ROLLBACK).pause(unavailable, 10) is None
    assert policy.begin(GET_SERVER, is_poll=True).pause(unavailable, 10) is None


def test_a_stream_that_was_answered_is_opened_again_whatever_the_budget_has() -> None:
    """So all streams of a client survive a server that drains, or that dies."""
    policy = FailurePolicy(retries=Retries(budget=0.0))
    unavailable = UnavailableError("away")
    streams = [policy.begin(PREDICT_STREAM) for _ in range(100)]
    for stream in streams:
        stream.succeeded()
    assert all(stream.pause(unavailable, 10) is not None for stream in streams)
    # A failure without an answer in between comes out of the budget.
    assert sum(stream.pause(unavailable, 10) is not None for stream in streams) == RESERVE


def test_a_server_may_ask_for_a_longer_pause() -> None:
    attempts = FailurePolicy().begin(PREDICT)
    assert attempts.pause(UnavailableError("later", retry_after=2.5), 10) == 2.5
    assert attempts.pause(UnavailableError("later", retry_after=0.0), 10) == 0.002


def test_a_pause_beyond_the_time_that_is_left_is_no_retry_and_costs_none() -> None:
    policy = FailurePolicy(retries=Retries(budget=0.0))
    for _ in range(100):
        later = UnavailableError("later", retry_after=11.0)
        assert policy.begin(PREDICT).pause(later, 10) is None
    assert policy.begin(PREDICT).pause(later, 12) == 11
    assert taken(policy.budget) == RESERVE - 1


def test_a_server_cannot_make_a_caller_wait_beyond_the_timeout(connect: Any, server: FakeServer) -> None:
    client = connect(server.address)
    client.predict("sum", ROW)
    for method in ("Predict", "PredictStream"):
        server.fail(Code.UNAVAILABLE, "out", method=method, retry_after=1e9)
    fails(lambda: client.predict("sum", ROW))
    fails(lambda: client.predict_stream("sum", [ROW]))


def test_pauses_grow_and_vary() -> None:
    random.seed(1)
    for failures, seconds in ((1, 0.1), (2, 0.3), (3, 0.9), (4, 1.0), (100, 1.0)):
        pauses = [pause_before_retry(failures) for _ in range(100)]
        assert 0.8 * seconds <= min(pauses) < max(pauses) <= 1.2 * seconds


def test_the_number_of_attempts_is_a_setting(connect: Any, server: FakeServer) -> None:
    for attempts in (1, 2, 5):
        client = connect(server.address, retries=Retries(attempts=attempts))
        client.predict("sum", ROW)
        server.calls.clear()
        server.fail(Code.UNAVAILABLE, times=attempts - 1)
        assert client.predict("sum", ROW).score == 1
        server.fail(Code.UNAVAILABLE, "out", times=attempts)
        fails(lambda client=client: client.predict("sum", ROW))
        assert received(server, "Predict") == 2 * attempts


@pytest.mark.parametrize("settings", [{"attempts": 0}, {"attempts": 6}, {"budget": -0.1}, {"budget": 1.5}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Retries(**settings)


def test_a_call_is_not_made_again_after_its_timeout(
    connect: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is that of the server, and comes at once: a pause beyond the timeout helps nobody."""
    monkeypatch.setattr("scorewire._attempts.pause_before_retry", lambda _: 3600.0)
    client = connect(server.address)
    client.predict("sum", ROW)
    server.fail(Code.UNAVAILABLE, "out")
    fails(lambda: client.predict("sum", ROW, timeout=5))


def test_a_client_that_is_closed_in_a_pause_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    client: Client

    def close(_: float) -> None:
        client.close()

    monkeypatch.setattr("scorewire._client.time.sleep", close)
    with FakeServer(SUM) as server:
        client = Client(server.address)
        client.predict("sum", ROW)
        server.fail(Code.UNAVAILABLE)
        with pytest.raises(ScorewireError, match="the client was closed") as raised:
            client.predict("sum", ROW)
        assert raised.value.code is Code.CANCELLED
