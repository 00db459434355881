from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from scorewire_loadtest.attack import Attack
from scorewire_loadtest.calls import PreparedCall
from scorewire_loadtest.meter import Meter, Work
from scorewire_loadtest.pacing import Constant
from scorewire_loadtest.plan import ClosedLoop, OpenLoop
from scorewire_loadtest.results import Results
from scorewire_loadtest.transport import Reply
from scorewire_proto.v1 import packed_pb2
from tests.scorewire_loadtest.test_results import neighbours
from tests.scorewire_loadtest.virtual_time import VirtualTimer, clock_ns, run

SERVICE_S = 0.001
# Between two sends, so that rounding does not move a call across the boundary.
STALL = (4.9955, 5.9955)


class Answer:
    """An expectation that finds the same problem in every response."""

    def __init__(self, problem: str = "") -> None:
        self._problem = problem

    def problem(self, response: packed_pb2.PackedPredictResponse) -> str:
        assert response is not None
        return self._problem


CALLS = [PreparedCall(bytes([index]), 1, Answer()) for index in range(3)]


class Queue:
    """A server that handles one call after the other in 1 ms each, and once stalls for a second."""

    def __init__(self, stall: tuple[float, float] = STALL, service_s: float = SERVICE_S) -> None:
        self._stall = stall
        self._service_s = service_s
        self._free_at = 0.0
        self.requests: list[bytes] = []
        self.under_way = 0
        self.most_under_way = 0

    async def call(self, call: PreparedCall) -> Reply:
        self.requests.append(call.request)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        now = asyncio.get_running_loop().time()
        begin = max(now, self._free_at)
        if self._stall[0] <= begin < self._stall[1]:
            begin = self._stall[1]
        self._free_at = begin + self._service_s
        await asyncio.sleep(self._free_at - now)
        self.under_way -= 1
        return Reply(clock_ns(), "OK", response=packed_pb2.PackedPredictResponse())

    async def close(self) -> None:
        pass


def attack(
    server: Queue,
    load: OpenLoop | ClosedLoop,
    *,
    duration_s: float = 10.0,
    warmup_s: float = 0.0,
    meanwhile: Callable[[Attack], None] | None = None,
) -> Results:
    async def main() -> Results:
        made = Attack(
            transport=server,
            calls=CALLS,
            load=load,
            warmup_s=warmup_s,
            duration_s=duration_s,
            timer=VirtualTimer(),
            clock=clock_ns,
        )
        if meanwhile is not None:
            meanwhile(made)
        return await made.run()

    return run(main())


def true_latencies_us(rate: float, duration_s: float, stall: tuple[float, float]) -> list[float]:
    """The latencies that callers at a rate see at a `Queue`, independent of the generator."""
    free_at, latencies = 0.0, []
    for index in range(int(rate * duration_s)):
        due = index / rate
        begin = max(due, free_at)
        if stall[0] <= begin < stall[1]:
            begin = stall[1]
        free_at = begin + SERVICE_S
        latencies.append((free_at - due) * 1e6)
    return latencies


@pytest.mark.parametrize("max_outstanding", [1_000, 10])
def test_an_open_loop_sees_the_whole_stall_however_many_calls_it_may_hold(max_outstanding: int) -> None:
    results = attack(Queue(), OpenLoop(Constant(100), max_outstanding))
    truth = true_latencies_us(100, 10.0, STALL)
    assert results.answered == len(truth) == 1_000
    for percentile, value in results.latency_us.items():
        lower, upper = neighbours(truth, percentile)
        assert lower - 2 <= value <= upper * 1.001 + 2
    # A tenth of the calls were due during the stall, and waited half of it on average.
    assert results.latency_us[95.0] > 400_000
    assert results.max_us == pytest.approx(1_000_000, rel=5e-3)


def test_a_closed_loop_lets_one_caller_see_the_stall_once() -> None:
    results = attack(Queue(), ClosedLoop(1))
    assert results.answered == 9_001
    assert results.latency_us[99.9] == pytest.approx(1_000, abs=2)
    assert results.max_us == pytest.approx(1_000_000, rel=5e-3)


def test_sends_that_wait_for_room_are_told_apart_from_the_generators_lag() -> None:
    server = Queue()
    results = attack(server, OpenLoop(Constant(100), 10))
    assert server.most_under_way == 10
    # Ten calls were sent during the stall. The others were held, and so were those due until it caught up.
    assert 90 <= results.generator.held <= 105
    assert results.generator.max_lag_us < 10
    assert results.generator.late == 0
    assert results.generator.unsent == 0


def test_what_a_server_cannot_keep_up_with_is_counted_as_never_sent() -> None:
    server = Queue(stall=(0, 0), service_s=0.01)
    results = attack(server, OpenLoop(Constant(400), 20), duration_s=5.0)
    # 100 calls per second are answered; 2,000 were due; a grace of 0.5 s lets the last ones be sent.
    assert results.answered == pytest.approx(570, abs=3)
    assert results.answered + results.generator.unsent == 2_000
    assert results.error_rate == pytest.approx(results.generator.unsent / 2_000)
    assert results.max_us > 3_500_000


def test_an_open_loop_makes_every_call_that_is_due_and_no_other() -> None:
    server = Queue(stall=(0, 0))
    results = attack(server, OpenLoop(Constant(250), 100), duration_s=2.0)
    assert results.calls == 500
    assert server.requests == [CALLS[index % 3].request for index in range(500)]
    assert results.generator.late == 0


def test_a_closed_loop_keeps_its_concurrency_under_way() -> None:
    server = Queue(stall=(0, 0))
    results = attack(server, ClosedLoop(7), duration_s=1.0)
    assert server.most_under_way == 7
    assert results.latency_us[50.0] == pytest.approx(7_000, abs=5)
    assert results.answered == pytest.approx(1_006, abs=2)


@pytest.mark.parametrize("load", [OpenLoop(Constant(100), 50), ClosedLoop(1)])
def test_the_warm_up_is_load_that_does_not_count(load: OpenLoop | ClosedLoop) -> None:
    server = Queue(stall=(0.5, 1.0))
    results = attack(server, load, warmup_s=2.0, duration_s=1.0)
    assert results.max_us == pytest.approx(1_000, abs=2)
    assert results.calls == pytest.approx(
        len(server.requests) * (1 / 3 if isinstance(load, OpenLoop) else 0.4), abs=2
    )
    assert sum(second.answered for second in results.seconds) == results.calls


def test_a_backlog_of_the_warm_up_is_dropped() -> None:
    server = Queue(stall=(0.0, 1.9))
    results = attack(server, OpenLoop(Constant(500), 10), warmup_s=2.0, duration_s=1.0)
    # Otherwise, 900 calls of the warm-up would be sent first.
    assert results.calls == 500
    assert len(server.requests) < 500 + 200
    assert results.generator.unsent == 0


def test_a_run_that_is_stopped_reports_what_came_back() -> None:
    server = Queue(stall=(0, 0))
    results = attack(
        server,
        OpenLoop(Constant(100), 50),
        meanwhile=lambda made: asyncio.get_running_loop().call_later(3.0, made.stop) and None,
    )
    assert results.answered == pytest.approx(300, abs=1)
    assert results.elapsed_s == pytest.approx(3.0, abs=0.01)


def test_a_run_that_is_stopped_in_its_warm_up_ends_and_counts_nothing() -> None:
    server = Queue(stall=(0, 0))
    results = attack(
        server,
        ClosedLoop(1),
        warmup_s=3_600.0,
        meanwhile=lambda made: asyncio.get_running_loop().call_later(3.0, made.stop) and None,
    )
    assert len(server.requests) == pytest.approx(3_000, abs=2)
    assert (results.calls, results.elapsed_s) == (0, pytest.approx(0.0, abs=0.01))
    assert (results.generator.busy, results.generator.queued) == (0.0, None)


def test_the_wait_for_the_last_calls_is_no_work_of_the_measured_part(monkeypatch: pytest.MonkeyPatch) -> None:
    read_at: list[float] = []

    class Clocked(Meter):
        def read(self) -> Work:
            read_at.append(asyncio.get_running_loop().time())
            return super().read()

    monkeypatch.setattr("scorewire_loadtest.attack.Meter", Clocked)
    results = attack(Queue(stall=(0.5, 9.0)), OpenLoop(Constant(100), 50), warmup_s=0.3, duration_s=1.0)
    assert results.max_us > 7_000_000
    assert read_at == [pytest.approx(1.3, abs=0.01)]


def test_a_run_that_is_stopped_does_not_wait_for_the_next_call_to_be_due() -> None:
    ended_at = 0.0

    async def main() -> None:
        nonlocal ended_at
        made = Attack(
            transport=Queue(stall=(0, 0)),
            calls=CALLS,
            load=OpenLoop(Constant(1 / 600), 50),
            warmup_s=0.0,
            duration_s=3600.0,
            timer=VirtualTimer(),
            clock=clock_ns,
        )
        asyncio.get_running_loop().call_later(3.0, made.stop)
        assert (await made.run()).answered == 1
        ended_at = asyncio.get_running_loop().time()

    run(main())
    assert ended_at < 4.0


def test_an_answer_that_is_wrong_is_counted() -> None:
    class Unreadable(Queue):
        async def call(self, call: PreparedCall) -> Reply:
            await super().call(call)
            return Reply(clock_ns(), "OK")

    async def main(server: Queue, call: PreparedCall) -> Results:
        return await Attack(
            transport=server,
            calls=[call],
            load=ClosedLoop(1),
            warmup_s=0.0,
            duration_s=0.01,
            timer=VirtualTimer(),
            clock=clock_ns,
        ).run()

    wrong = run(main(Queue(), PreparedCall(b"", 1, Answer("not so"))))
    assert wrong.wrong == wrong.answered > 0
    assert wrong.wrong_examples[0] == "not so"
    unreadable = run(main(Unreadable(), CALLS[0]))
    assert unreadable.wrong == unreadable.answered > 0
    assert unreadable.wrong_examples[0] == "the response cannot be parsed"
