from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scorewire import (
    AsyncClient,
    BreakerState,
    CircuitBreaker,
    Client,
    Code,
    DeadlineExceededError,
    Retries,
    ScorewireError,
    UnavailableError,
)
from scorewire._breaker import Permit
from scorewire.testing import FakeServer
from tests.fake_models import SUM
from tests.scorewire.test_client import wait_until

ROW = {"x": 1.0, "y": 0.0}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def record(breaker: CircuitBreaker, *outcomes: str) -> None:
    """Makes a call for each outcome: "+" succeeds, "-" fails."""
    for outcome in "".join(outcomes):
        breaker.admit().record(failed=outcome == "-")


def fail_until_open(breaker: CircuitBreaker) -> None:
    while breaker.state is BreakerState.CLOSED:
        record(breaker, "-")


# The rules, with a clock of the test's own


def test_a_breaker_opens_at_the_share_of_failures_and_not_before(clock: Clock) -> None:
    breaker = CircuitBreaker(failure_ratio=0.5, minimum_calls=10, clock=clock)
    record(breaker, "++++++-----")
    assert breaker.state is BreakerState.CLOSED
    record(breaker, "-")
    assert breaker.state is BreakerState.OPEN


def test_a_breaker_does_not_open_on_few_calls(clock: Clock) -> None:
    breaker = CircuitBreaker(minimum_calls=10, clock=clock)
    record(breaker, "-" * 9)
    assert breaker.state is BreakerState.CLOSED
    record(breaker, "-")
    assert breaker.state is BreakerState.OPEN


def test_old_calls_do_not_count(clock: Clock) -> None:
    breaker = CircuitBreaker(minimum_calls=10, window_seconds=10, clock=clock)
    record(breaker, "-" * 9)
    clock.now += 10
    record(breaker, "-" * 9)
    assert breaker.state is BreakerState.CLOSED


def test_failures_in_a_row_open_a_breaker_whatever_the_share_is(clock: Clock) -> None:
    breaker = CircuitBreaker(consecutive_failures=4, clock=clock)
    record(breaker, "+" * 100, "---+---")
    assert breaker.state is BreakerState.CLOSED
    record(breaker, "-")
    assert breaker.state is BreakerState.OPEN
    with pytest.raises(UnavailableError, match="4 calls in a row failed"):
        breaker.admit()


def test_an_open_breaker_says_why_and_when_it_probes(clock: Clock) -> None:
    breaker = CircuitBreaker(open_seconds=5, clock=clock)
    record(breaker, "-" * 10)
    clock.now += 1.8
    with pytest.raises(UnavailableError) as refused:
        breaker.admit()
    assert str(refused.value) == (
        "the circuit breaker is open, because 10 of 10 calls failed: the next call is made in 3.2 s"
    )
    assert refused.value.reason == "CIRCUIT_OPEN"
    assert refused.value.retry_after == pytest.approx(3.2)


def half_open(clock: Clock, probes: int = 2) -> CircuitBreaker:
    breaker = CircuitBreaker(open_seconds=5, probes=probes, clock=clock)
    record(breaker, "-" * 10)
    clock.now += 5
    assert breaker.state is BreakerState.HALF_OPEN
    return breaker


def test_a_half_open_breaker_lets_few_calls_through_and_closes_after_successes(clock: Clock) -> None:
    breaker = half_open(clock)
    first, second = breaker.admit(), breaker.admit()
    with pytest.raises(UnavailableError, match="2 calls are probing the server now"):
        breaker.admit()
    first.record(failed=False)
    assert breaker.state is BreakerState.HALF_OPEN
    second.record(failed=False)
    assert breaker.state is BreakerState.CLOSED
    # What was before does not count any more.
    record(breaker, "-" * 9)
    assert breaker.state is BreakerState.CLOSED


def test_a_probe_that_fails_opens_the_breaker_again(clock: Clock) -> None:
    breaker = half_open(clock)
    first, second = breaker.admit(), breaker.admit()
    first.record(failed=True)
    assert breaker.state is BreakerState.OPEN
    # The other probe, which was admitted before that, closes nothing.
    second.record(failed=False)
    assert breaker.state is BreakerState.OPEN
    clock.now += 5
    record(breaker, "++")
    assert breaker.state is BreakerState.CLOSED


def test_a_probe_without_an_outcome_gives_its_place_back(clock: Clock) -> None:
    breaker = half_open(clock, probes=1)
    for _ in range(10):
        permit = breaker.admit()
        permit.give_back()
        permit.give_back()
    permit = breaker.admit()
    with pytest.raises(UnavailableError):
        breaker.admit()
    permit.record(failed=False)
    assert breaker.state is BreakerState.CLOSED


def test_probes_that_never_end_do_not_keep_a_breaker_half_open(clock: Clock) -> None:
    """As those of streams whose callers give no rows."""
    breaker = half_open(clock)
    idle = [breaker.admit() for _ in range(2)]
    clock.now += 4
    with pytest.raises(UnavailableError, match="2 calls are probing the server now") as refused:
        breaker.admit()
    assert refused.value.retry_after == pytest.approx(1)
    for _ in range(2):
        clock.now += 5
        permit = breaker.admit()
        with pytest.raises(UnavailableError):
            breaker.admit()
        permit.record(failed=False)
    assert breaker.state is BreakerState.CLOSED
    for permit in idle:
        permit.give_back()
    record(breaker, "-" * 9)
    assert breaker.state is BreakerState.CLOSED


def test_calls_that_began_before_a_breaker_opened_do_not_change_it(clock: Clock) -> None:
    breaker = CircuitBreaker(probes=1, open_seconds=5, clock=clock)
    early = [breaker.admit() for _ in range(3)]
    record(breaker, "-" * 10)
    clock.now += 5
    probe = breaker.admit()
    early[0].record(failed=False)
    early[1].record(failed=True)
    early[2].give_back()
    assert breaker.state is BreakerState.HALF_OPEN
    with pytest.raises(UnavailableError):
        breaker.admit()
    probe.record(failed=False)
    assert breaker.state is BreakerState.CLOSED


def test_a_permit_with_several_outcomes_probes_once(clock: Clock) -> None:
    """As that of a stream."""
    breaker = half_open(clock, probes=2)
    stream = breaker.admit()
    for _ in range(5):
        stream.record(failed=False)
    assert breaker.state is BreakerState.HALF_OPEN
    stream.record(failed=True)
    assert breaker.state is BreakerState.OPEN


@pytest.mark.parametrize(
    "settings",
    [
        {"failure_ratio": 0},
        {"failure_ratio": 1.1},
        {"failure_ratio": float("nan")},
        {"minimum_calls": 0},
        {"window_seconds": 0},
        {"window_seconds": float("inf")},
        {"consecutive_failures": 0},
        {"open_seconds": -1},
        {"probes": 0},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        CircuitBreaker(**settings)


class BreakerMachine(RuleBasedStateMachine):
    """Compares a breaker with a plain model that keeps every call."""

    @initialize(
        ratio=st.sampled_from([0.2, 0.5, 1.0]),
        minimum=st.integers(1, 6),
        consecutive=st.none() | st.integers(1, 5),
        probes=st.integers(1, 3),
    )
    def start(self, ratio: float, minimum: int, consecutive: int | None, probes: int) -> None:
        self.clock = Clock()
        self.breaker = CircuitBreaker(
            failure_ratio=ratio,
            minimum_calls=minimum,
            window_seconds=10,
            consecutive_failures=consecutive,
            open_seconds=5,
            probes=probes,
            clock=self.clock,
        )
        self.ratio, self.minimum, self.consecutive, self.probes = ratio, minimum, consecutive, probes
        self.state = BreakerState.CLOSED
        self.epoch = 0
        self.opened_at = self.probed_at = 0.0
        self.counted: list[tuple[float, bool]] = []
        self.successes = 0
        # Permits without an outcome, with the epoch in which each was admitted.
        self.pending: list[tuple[Permit, int]] = []

    def turn(self, state: BreakerState) -> None:
        self.state, self.counted, self.successes = state, [], 0
        self.epoch += 1
        if state is BreakerState.OPEN:
            self.opened_at = self.clock.now

    def probing(self) -> int:
        return sum(epoch == self.epoch for _, epoch in self.pending)

    @rule()
    def call(self) -> None:
        if self.state is BreakerState.OPEN and self.clock.now >= self.opened_at + 5:
            self.turn(BreakerState.HALF_OPEN)
        is_refused = self.state is BreakerState.OPEN or (
            self.state is BreakerState.HALF_OPEN
            and self.probing() >= self.probes
            and self.clock.now < self.probed_at + 5
        )
        try:
            permit = self.breaker.admit()
        except UnavailableError:
            assert is_refused
        else:
            assert not is_refused
            self.pending.append((permit, self.epoch))
            self.probed_at = self.clock.now

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), failed=st.booleans() | st.just(value=True))
    def end(self, data: st.DataObject, failed: bool) -> None:
        permit, epoch = self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))
        permit.record(failed=failed)
        if epoch != self.epoch:
            return
        if self.state is BreakerState.HALF_OPEN:
            self.successes += not failed
            if failed:
                self.turn(BreakerState.OPEN)
            elif self.successes >= self.probes:
                self.turn(BreakerState.CLOSED)
            return
        self.counted.append((self.clock.now, failed))
        part = int(self.clock.now)
        window = [bad for when, bad in self.counted if int(when) > part - 10]
        in_a_row = next(
            (i for i, (_, bad) in enumerate(reversed(self.counted)) if not bad), len(self.counted)
        )
        is_full = len(window) >= self.minimum and sum(window) >= self.ratio * len(window)
        if failed and (is_full or (self.consecutive is not None and in_a_row >= self.consecutive)):
            self.turn(BreakerState.OPEN)

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        permit, _ = self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))
        permit.give_back()

    @rule(seconds=st.sampled_from([0.5, 1, 3, 5, 10]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def the_state_is_that_of_the_model(self) -> None:
        if not hasattr(self, "state"):
            return
        state = self.state
        if state is BreakerState.OPEN and self.clock.now >= self.opened_at + 5:
            state = BreakerState.HALF_OPEN
        assert self.breaker.state is state


TestBreakerMachine = BreakerMachine.TestCase


def test_threads_never_probe_more_than_they_may(clock: Clock) -> None:
    breaker = half_open(clock, probes=3)
    together = threading.Barrier(16)

    def admit() -> Permit | None:
        together.wait()
        try:
            return breaker.admit()
        except UnavailableError:
            return None

    for _ in range(50):
        with ThreadPoolExecutor(16) as pool:
            permits = [future.result() for future in [pool.submit(admit) for _ in range(16)]]
        assert sum(permit is not None for permit in permits) == 3
        for permit in filter(None, permits):
            permit.give_back()


# With clients


@pytest.fixture
def guarded(connect: Any, server: FakeServer, clock: Clock) -> tuple[Any, CircuitBreaker]:
    """A client without retries, and its breaker, which opens at the fourth failure in a row."""
    breaker = CircuitBreaker(consecutive_failures=4, minimum_calls=1000, probes=1, clock=clock)
    client = connect(server.address, breaker=breaker, retries=Retries(attempts=1))
    client.predict("sum", ROW)
    assert client.client.breaker is breaker
    return client, breaker


def fail(client: Any, times: int, error: type[ScorewireError] = UnavailableError) -> None:
    for _ in range(times):
        with pytest.raises(error):
            client.predict("sum", ROW)


def test_an_open_breaker_keeps_calls_from_the_server_and_probes_it(
    guarded: Any, server: FakeServer, clock: Clock
) -> None:
    client, breaker = guarded
    server.fail(Code.UNAVAILABLE, times=4)
    fail(client, 4)
    server.calls.clear()
    for call in (
        lambda: client.predict("sum", ROW),
        lambda: client.predict("sum", [ROW, ROW]),
        lambda: client.predict_stream("sum", [ROW]),
        client.models,
    ):
        with pytest.raises(UnavailableError, match="the circuit breaker is open") as refused:
            call()
        assert refused.value.reason == "CIRCUIT_OPEN"
    assert server.calls == []
    # Whoever asks how the server is gets the server's answer.
    assert client.health()
    client.wait_ready("sum")
    assert breaker.state is BreakerState.OPEN
    clock.now += 5
    server.fail(Code.UNAVAILABLE)
    fail(client, 1)
    assert breaker.state is BreakerState.OPEN
    clock.now += 5
    assert client.predict("sum", ROW).score == 1
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(
    "code", [code for code in Code if code not in {Code.OK, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED}]
)
def test_no_other_error_opens_a_breaker(guarded: Any, server: FakeServer, code: Code) -> None:
    client, breaker = guarded
    server.fail(code, times=10)
    fail(client, 10, ScorewireError)
    assert breaker.state is BreakerState.CLOSED


def test_rows_that_do_not_fit_do_not_open_a_breaker_nor_close_it(guarded: Any, clock: Clock) -> None:
    client, breaker = guarded
    fail_rows: Callable[[], Any] = lambda: client.predict_stream("sum", [{"z": 1}])  # noqa: E731 - used twice
    for _ in range(5):
        with pytest.raises(ScorewireError, match="'z' is not a feature"):
            fail_rows()
    assert breaker.state is BreakerState.CLOSED
    record(breaker, "----")
    clock.now += 5
    with pytest.raises(ScorewireError, match="'z' is not a feature"):
        fail_rows()
    assert breaker.state is BreakerState.HALF_OPEN
    assert client.predict("sum", ROW).score == 1
    assert breaker.state is BreakerState.CLOSED


def test_deadlines_open_a_breaker(guarded: Any, server: FakeServer) -> None:
    client, breaker = guarded
    server.delay = 60
    for _ in range(4):
        with pytest.raises(DeadlineExceededError):
            client.predict("sum", ROW, timeout=0.05)
    assert breaker.state is BreakerState.OPEN
    server.stop()


def test_streams_open_a_breaker_and_close_it(guarded: Any, server: FakeServer, clock: Clock) -> None:
    client, breaker = guarded
    server.fail(Code.UNAVAILABLE, times=4, method="PredictStream")
    for _ in range(4):
        with pytest.raises(UnavailableError):
            client.predict_stream("sum", [ROW])
    assert breaker.state is BreakerState.OPEN
    clock.now += 5
    assert len(client.predict_stream("sum", [ROW] * 3)) == 3
    assert breaker.state is BreakerState.CLOSED


def test_a_failure_that_a_retry_makes_good_is_none(connect: Any, server: FakeServer) -> None:
    breaker = CircuitBreaker(consecutive_failures=1)
    client = connect(server.address, breaker=breaker)
    client.predict("sum", ROW)
    server.fail(Code.UNAVAILABLE, times=2)
    assert client.predict("sum", ROW).score == 1
    assert breaker.state is BreakerState.CLOSED


def test_probes_that_are_cancelled_give_their_places_back(server: FakeServer, clock: Clock) -> None:
    breaker = CircuitBreaker(probes=2, clock=clock)

    async def cancel(client: AsyncClient) -> None:
        server.delay = 60
        probes = [asyncio.create_task(client.predict("sum", ROW)) for _ in range(2)]
        assert await asyncio.to_thread(wait_until, lambda: server.waiting == 2)
        with pytest.raises(UnavailableError, match="2 calls are probing"):
            await client.predict("sum", ROW)
        for probe in probes:
            probe.cancel()
        assert all(
            isinstance(each, asyncio.CancelledError)
            for each in await asyncio.gather(*probes, return_exceptions=True)
        )
        # A stream that its caller leaves is one of them.
        server.delay = 0
        stream = client.predict_stream("sum", [[ROW]] * 3)
        assert breaker.state is BreakerState.HALF_OPEN
        await stream.aclose()

    async def main() -> None:
        async with AsyncClient(server.address, breaker=breaker) as client:
            await client.predict("sum", ROW)
            fail_until_open(breaker)
            clock.now += 5
            await cancel(client)
            await client.predict("sum", ROW)
            await client.predict("sum", ROW)
            assert breaker.state is BreakerState.CLOSED

    asyncio.run(main())


def test_a_stream_that_its_caller_leaves_gives_its_place_back(server: FakeServer, clock: Clock) -> None:
    breaker = CircuitBreaker(probes=1, clock=clock)
    with Client(server.address, breaker=breaker) as client:
        client.predict("sum", ROW)
        fail_until_open(breaker)
        clock.now += 5

        def rows() -> Iterator[dict[str, float]]:
            yield ROW
            raise KeyError("the caller's own error")

        with pytest.raises(KeyError):
            list(client.predict_stream("sum", rows(), look_ahead=2))
        client.predict("sum", ROW)
        assert breaker.state is BreakerState.CLOSED


def test_streams_without_rows_do_not_keep_a_breaker_half_open(server: FakeServer, clock: Clock) -> None:
    breaker = CircuitBreaker(probes=1, clock=clock)
    given, wanted = threading.Event(), threading.Event()

    def rows() -> Iterator[dict[str, float]]:
        wanted.set()
        given.wait(60)
        yield ROW

    with Client(server.address, breaker=breaker) as client, ThreadPoolExecutor(1) as pool:
        client.predict("sum", ROW)
        fail_until_open(breaker)
        clock.now += 5
        stream = pool.submit(list, client.predict_stream("sum", rows()))
        try:
            assert wanted.wait(60)
            with pytest.raises(UnavailableError, match="1 calls are probing"):
                client.predict("sum", ROW)
            clock.now += 5
            assert client.predict("sum", ROW).score == 1
            assert breaker.state is BreakerState.CLOSED
        finally:
            given.set()
        assert len(stream.result()) == 1


def test_a_server_that_is_killed_and_comes_back(connect: Any) -> None:
    breaker = CircuitBreaker(consecutive_failures=3, open_seconds=0.2, probes=1)
    first = FakeServer(SUM)
    client = connect(first.address, breaker=breaker, retries=Retries(attempts=1))
    client.predict("sum", ROW)
    first.stop()

    def refused() -> bool:
        with pytest.raises(UnavailableError) as error:
            client.predict("sum", ROW)
        return error.value.reason == "CIRCUIT_OPEN"

    assert wait_until(refused)

    def scored() -> bool:
        try:
            return bool(client.predict("sum", ROW).score == 1)
        except UnavailableError:
            return False

    with FakeServer(SUM, port=first.port):
        assert wait_until(scored)
        assert breaker.state is BreakerState.CLOSED
