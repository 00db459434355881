"""When a call is made again: how often, after which pause, and within which budget.

gRPC could retry by itself, but its throttling knows neither hedges nor streams, and its first retries
are many for a client with few calls. So the SDK retries, and one budget covers every further copy of a
request. The budget's rules:

- Each call that succeeds adds `Retries.budget` of a retry, and each further copy takes one. Calls that
  fail add nothing. So in a full outage, copies are as many as the budget had when the outage began.
- A budget begins with `RESERVE`. What it has beyond that fades within about `FADE_SECONDS`, and is
  `MAX_BALANCE` at most. So a busy client can retry the calls that were in flight to a server that died,
  and a client with few calls does not save retries for an outage.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

RESERVE = 10.0
MAX_BALANCE = 50.0
FADE_SECONDS = 10.0
_DEPOSITS_TOGETHER = 20
_FIRST_PAUSE_SECONDS = 0.1
_PAUSE_GROWTH = 3.0
_MAX_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How a client makes calls again that failed with UNAVAILABLE, or that a limit of the caller refused.

    Attributes:
        attempts: the most times that one call is made, 1 to 5; 1 for no retries.
        budget: the share of calls that may be made again, retries and hedges together, 0 to 1. What
            fails in a full outage is made again at most 10 times by a client with few calls, and 50
            times by any client, whatever this is. It does not count what a limit refused.
        limits: whether a call that a limit of the caller refused (CALLER_LIMIT) is made again after the
            time that the server tells, if its timeout allows. Messages of a stream are, in any case.

    Raises:
        ValueError: an attribute is out of its range.
    """

    attempts: int = 3
    budget: float = 0.1
    limits: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= 5:
            raise ValueError(f"attempts is a number from 1 to 5, not {self.attempts!r}")
        if not 0 <= self.budget <= 1:
            raise ValueError(f"budget is a share from 0 to 1, not {self.budget!r}")


class RetryBudget:
    """The copies of requests that a client may send now; safe to share between threads."""

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._lock = threading.Lock()
        self._balance = RESERVE
        self._settled_at = clock()
        self._deposits = 0

    def deposit(self) -> None:
        """Note a call that succeeded."""
        # Without the lock, which every call would take: threads may lose a deposit here now and then.
        self._deposits += 1
        if self._deposits >= _DEPOSITS_TOGETHER:
            with self._lock:
                self._settle()

    def withdraw(self) -> bool:
        """Take a copy out of the budget; false if there is none."""
        with self._lock:
            self._settle()
            if self._balance < 1:
                return False
            self._balance -= 1
            return True

    def _settle(self) -> None:
        """Let the balance fade, and add the deposits."""
        now = self._clock()
        if self._balance > RESERVE:
            kept = math.exp((self._settled_at - now) / FADE_SECONDS)
            self._balance = RESERVE + (self._balance - RESERVE) * kept
        self._settled_at = now
        deposits, self._deposits = self._deposits, 0
        self._balance = min(self._balance + deposits * self._share, MAX_BALANCE)


def pause_before_retry(failures: int) -> float:
    """Seconds to wait after so many failures of a call, at least one; about a fifth of it is random."""
    pause: float = min(_FIRST_PAUSE_SECONDS * _PAUSE_GROWTH ** (failures - 1), _MAX_PAUSE_SECONDS)
    return pause * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
