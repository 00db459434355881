"""A circuit breaker: while a server fails most calls, calls fail at once instead of waiting for it.

The rules:

- CLOSED: every call is made, and its outcome is counted. The breaker opens when the share of
  failures in the window reaches `failure_ratio`, with `minimum_calls` at least, or after
  `consecutive_failures`.
- OPEN: calls fail at once, for `open_seconds`. Then the breaker is half-open.
- HALF_OPEN: at most `probes` calls at a time are made; the others fail at once. After `probes`
  successes the breaker closes. After one failure it opens again. If no call began for `open_seconds`,
  one more may: a stream that waits for its caller's rows has no outcome, and could keep its place for ever.
- A failure is UNAVAILABLE or DEADLINE_EXCEEDED. A call with any other code was answered, so it is a
  success. A call that the caller cancels is neither, and gives its place among the probes back.
- A call counts for the state in which it was admitted only. So calls that began before the breaker
  opened cannot close it, nor open it again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum

from scorewire._errors import UnavailableError

# The window is counted in this many parts, the oldest of which is dropped as a whole.
_PARTS = 10
# The reason of the error of a call that the breaker refuses.
CIRCUIT_OPEN = "CIRCUIT_OPEN"


class BreakerState(StrEnum):
    """The state of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Permit:
    """The leave to make one call, or to open one stream."""

    __slots__ = ("_breaker", "generation", "is_pending")

    def __init__(self, breaker: CircuitBreaker, generation: int) -> None:
        self._breaker = breaker
        self.generation = generation
        self.is_pending = True

    def record(self, *, failed: bool) -> None:
        """Count an outcome; a stream has several."""
        self._breaker._record(self, failed=failed)

    def give_back(self) -> None:
        """Note that there is no outcome; nothing happens if there was one."""
        self._breaker._give_back(self)


class CircuitBreaker:
    """Lets calls fail at once while the server fails most of them; an option of the clients.

    Only UNAVAILABLE and DEADLINE_EXCEEDED count as failures, after all retries. The breaker
    belongs to one target: what the client's address names, whether it is one server or several.
    It is safe to share between threads, and between clients of the same target.

    Args:
        failure_ratio: share of failed calls in the window that opens the breaker, above 0 and at
            most 1.
        minimum_calls: the least calls in the window for that; a lower number opens on less evidence.
        window_seconds: how long a call counts.
        consecutive_failures: failures in a row that open the breaker, whatever the share is; None for
            no such rule. Give more than the calls that are in flight at one time, since one short
            failure of the network may end all of those.
        open_seconds: how long calls fail at once before the server is probed.
        probes: the most calls at a time that probe the server, and the successes that close the breaker;
            one more call after each `open_seconds` in which none began.
        clock: returns seconds that never go back; for tests.

    Raises:
        ValueError: a setting is out of its range.
    """

    def __init__(
        self,
        *,
        failure_ratio: float = 0.5,
        minimum_calls: int = 10,
        window_seconds: float = 10.0,
        consecutive_failures: int | None = None,
        open_seconds: float = 5.0,
        probes: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < failure_ratio <= 1:
            raise ValueError(f"failure_ratio is a share above 0 and at most 1, not {failure_ratio!r}")
        for name, seconds in (("window_seconds", window_seconds), ("open_seconds", open_seconds)):
            if not 0 < seconds <= 86_400:
                raise ValueError(f"{name} is above 0 and at most 86,400, not {seconds!r}")
        for name, count in (("minimum_calls", minimum_calls), ("probes", probes)):
            if count < 1:
                raise ValueError(f"{name} is at least 1, not {count!r}")
        if consecutive_failures is not None and consecutive_failures < 1:
            raise ValueError(f"consecutive_failures is None or at least 1, not {consecutive_failures!r}")
        self._failure_ratio = failure_ratio
        self._minimum_calls = minimum_calls
        self._part_seconds = window_seconds / _PARTS
        self._consecutive_limit = consecutive_failures
        self._open_seconds = open_seconds
        self._probes = probes
        self._clock = clock
        # The lock guards what follows.
        self._lock = threading.Lock()
        self._state = BreakerState.CLOSED
        # Grows with each change of the state.
        self._generation = 0
        self._window = _Window()
        self._consecutive = 0
        self._opened_at = 0.0
        self._cause = ""
        self._probing = 0
        self._probed_at = 0.0
        self._successes = 0

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.state}>"

    @property
    def state(self) -> BreakerState:
        """The state; half-open also if the next call will be the first probe."""
        with self._lock:
            if self._state is BreakerState.OPEN and self._seconds_left() <= 0:
                return BreakerState.HALF_OPEN
            return self._state

    def admit(self) -> Permit:
        """The leave to make a call, whose outcome must be recorded, or given back.

        Raises:
            UnavailableError: the breaker is open, or as many calls as may be are probing the server.
        """
        with self._lock:
            if self._state is BreakerState.OPEN:
                left = self._seconds_left()
                if left > 0:
                    raise _refusal(f"{self._cause}: the next call is made in {left:.1f} s", left)
                self._change(BreakerState.HALF_OPEN)
            if self._state is BreakerState.HALF_OPEN:
                now = self._clock()
                left = self._probed_at + self._open_seconds - now
                if self._probing >= self._probes and left > 0:
                    raise _refusal(f"{self._cause}: {self._probing} calls are probing the server now", left)
                self._probing += 1
                self._probed_at = now
            return Permit(self, self._generation)

    def _record(self, permit: Permit, *, failed: bool) -> None:
        with self._lock:
            is_pending, permit.is_pending = permit.is_pending, False
            if permit.generation != self._generation:
                return
            if self._state is BreakerState.CLOSED:
                self._count(failed=failed)
                return
            if is_pending:
                self._probing -= 1
                self._successes += not failed
            if failed:
                self._open("a call that probed the server failed")
            elif self._successes >= self._probes:
                self._change(BreakerState.CLOSED)

    def _give_back(self, permit: Permit) -> None:
        with self._lock:
            is_pending, permit.is_pending = permit.is_pending, False
            is_probe = self._state is BreakerState.HALF_OPEN and permit.generation == self._generation
            if is_pending and is_probe:
                self._probing -= 1

    def _count(self, *, failed: bool) -> None:
        window = self._window
        window.add(int(self._clock() / self._part_seconds), failed=failed)
        if not failed:
            self._consecutive = 0
            return
        self._consecutive += 1
        if self._consecutive_limit is not None and self._consecutive >= self._consecutive_limit:
            self._open(f"{self._consecutive} calls in a row failed")
        elif window.calls >= self._minimum_calls and window.failures >= self._failure_ratio * window.calls:
            self._open(f"{window.failures} of {window.calls} calls failed")

    def _open(self, cause: str) -> None:
        self._cause = cause
        self._opened_at = self._clock()
        self._change(BreakerState.OPEN)

    def _change(self, state: BreakerState) -> None:
        self._state = state
        self._generation += 1
        self._probing = self._successes = self._consecutive = 0
        self._window = _Window()

    def _seconds_left(self) -> float:
        return self._opened_at + self._open_seconds - self._clock()


class _Window:
    """Calls and failures of the last `_PARTS` parts of the window."""

    __slots__ = ("_parts", "calls", "failures")

    def __init__(self) -> None:
        self.calls = self.failures = 0
        # The number of a part, its calls and its failures, oldest first.
        self._parts: deque[list[int]] = deque()

    def add(self, number: int, *, failed: bool) -> None:
        parts = self._parts
        while parts and parts[0][0] <= number - _PARTS:
            _, calls, failures = parts.popleft()
            self.calls -= calls
            self.failures -= failures
        if not parts or parts[-1][0] != number:
            parts.append([number, 0, 0])
        parts[-1][1] += 1
        parts[-1][2] += failed
        self.calls += 1
        self.failures += failed


def _refusal(why: str, seconds: float | None = None) -> UnavailableError:
    return UnavailableError(
        f"the circuit breaker is open, because {why}",
        reason=CIRCUIT_OPEN,
        retry_after=seconds,
    )
