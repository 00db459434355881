"""Makes the calls of a run: in an open loop on a schedule, in a closed loop one after another."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from scorewire_loadtest.calls import PreparedCall
from scorewire_loadtest.meter import Meter, Work
from scorewire_loadtest.plan import ClosedLoop, OpenLoop
from scorewire_loadtest.recorder import Outcome, Recorder
from scorewire_loadtest.results import Results
from scorewire_loadtest.timer import Timer
from scorewire_loadtest.transport import Reply, Transport

_NS_PER_SECOND = 1_000_000_000
# How long after the end of the run a call that was due before the end may still be sent.
_GRACE_NS = 500_000_000
# After this many overdue sends in a row, the event loop handles responses.
_BURST = 8
# The period of the timer that measures the generator's lag in a closed loop.
_PROBE_NS = 20_000_000
# The longest sleep, so that `stop` takes effect soon.
_STEP_NS = 200_000_000


class Attack:
    """One run of the load generator.

    Args:
        transport: makes the calls.
        calls: the calls, made in turn and repeated.
        load: an open or a closed loop.
        warmup_s: length of the warm-up in seconds; its calls do not count.
        duration_s: length of the measured part in seconds.
        timer: wakes the open loop; uses the same clock.
        clock: returns the time in nanoseconds.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        calls: Sequence[PreparedCall],
        load: OpenLoop | ClosedLoop,
        warmup_s: float,
        duration_s: float,
        timer: Timer,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._transport = transport
        self._calls = calls
        self._load = load
        self._timer = timer
        self._clock = clock
        self._start_ns = clock()
        begin_ns = self._start_ns + round(warmup_s * _NS_PER_SECOND)
        self.recorder = Recorder(begin_ns=begin_ns, end_ns=begin_ns + round(duration_s * _NS_PER_SECOND))
        self._next = 0
        self._outstanding = 0
        self._room = asyncio.Event()
        self._done = asyncio.Event()

    async def run(self) -> Results:
        """Make the calls, wait for their responses, and return the results."""
        measured = asyncio.create_task(self._measure_work())
        try:
            async with asyncio.TaskGroup() as group:
                if isinstance(self._load, OpenLoop):
                    await self._run_open(self._load, group)
                else:
                    group.create_task(self._probe_lag())
                    for _ in range(self._load.concurrency):
                        group.create_task(self._run_caller())
        finally:
            self._done.set()
            work = await measured
        return self.recorder.results(busy=work.busy, queued=work.queued)

    def stop(self) -> None:
        """End the run early, even in its warm-up: send no more calls, and wait for those in flight."""
        now_ns = self._clock()
        self.recorder.begin_ns = min(self.recorder.begin_ns, now_ns)
        self.recorder.end_ns = min(self.recorder.end_ns, now_ns)

    async def _run_open(self, load: OpenLoop, group: asyncio.TaskGroup) -> None:
        """Send each call when it is due, or as soon as possible after that."""
        clock, recorder = self._clock, self.recorder
        burst = 0
        # Whether the run is behind schedule because of the server: from a wait at `max_outstanding` until
        # the run has caught up.
        held = False
        for time_ns in load.pacing.times_ns():
            due_ns = self._start_ns + time_ns
            if clock() < due_ns < recorder.end_ns:
                await self._wait(due_ns)
                burst, held = 0, False
            elif (burst := burst + 1) >= _BURST:
                await asyncio.sleep(0)
                burst = 0
            if due_ns >= recorder.end_ns:
                return
            while self._outstanding >= load.max_outstanding and not self._is_over():
                held = True
                self._room.clear()
                await self._room.wait()
            counts = due_ns >= recorder.begin_ns
            if not counts and clock() >= recorder.begin_ns:
                # Calls that the warm-up could not send would add to the load of the measured part.
                continue
            if self._is_over():
                recorder.totals.unsent += counts
                continue
            if held:
                recorder.totals.held += counts
            self._outstanding += 1
            group.create_task(self._send(due_ns, has_lag=counts and not held))

    async def _wait(self, due_ns: int) -> None:
        """Wait until a call is due or the run is over; in steps, because `stop` may end the run early."""
        while (now_ns := self._clock()) < due_ns < self.recorder.end_ns:
            await self._timer.until(min(due_ns, now_ns + _STEP_NS))

    async def _run_caller(self) -> None:
        while (now_ns := self._clock()) < self.recorder.end_ns:
            self._outstanding += 1
            await self._call(now_ns)

    async def _send(self, due_ns: int, *, has_lag: bool) -> None:
        """Make the next call of the open loop; `has_lag`: if it is late, that is the generator's fault."""
        if has_lag:
            self.recorder.record_send(self._clock() - due_ns)
        await self._call(due_ns)

    async def _call(self, due_ns: int) -> None:
        """Make the next call, and record its outcome."""
        call = self._calls[self._next]
        self._next = (self._next + 1) % len(self._calls)
        reply = await self._transport.call(call)
        self._outstanding -= 1
        self._room.set()
        self.recorder.record(
            Outcome(
                due_ns=due_ns,
                done_ns=reply.done_ns,
                code=reply.code,
                reason=reply.reason,
                problem=_problem(call, reply),
                message=reply.message,
                row_count=call.row_count,
            ),
            row_errors=len(reply.response.errors) if reply.response is not None else 0,
        )

    def _is_over(self) -> bool:
        return self._clock() >= self.recorder.end_ns + _GRACE_NS

    async def _probe_lag(self) -> None:
        """Record how late timers fire while the closed loop runs."""
        while (now_ns := self._clock()) < self.recorder.end_ns:
            await self._timer.until(now_ns + _PROBE_NS)
            if now_ns >= self.recorder.begin_ns:
                self.recorder.record_lag(self._clock() - now_ns - _PROBE_NS)

    async def _measure_work(self) -> Work:
        """What the generator's threads did in the measured part; the wait for the last calls is not in it."""
        recorder = self.recorder
        await self._until(lambda: recorder.begin_ns)
        if self._done.is_set() or recorder.begin_ns >= recorder.end_ns:
            return Work(0.0, None)
        meter = Meter()
        await self._until(lambda: recorder.end_ns)
        return meter.read()

    async def _until(self, time_ns: Callable[[], int]) -> None:
        """Wait for a time, which `stop` may bring forward, or for the end of the run."""
        while not self._done.is_set() and (left_ns := time_ns() - self._clock()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_ns, _STEP_NS) / _NS_PER_SECOND):
                    await self._done.wait()


def _problem(call: PreparedCall, reply: Reply) -> str:
    """What is wrong with the response; "" if it is right, and for a call that failed."""
    if reply.code != "OK":
        return ""
    if reply.response is None:
        return reply.message or "the response cannot be parsed"
    return call.expectation.problem(reply.response)
