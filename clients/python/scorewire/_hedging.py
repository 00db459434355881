"""When a second copy of a call is sent while the first one has no answer."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import grpc

from scorewire._retries import RetryBudget

# Without a delay of the caller's, the delay is this quantile of the last calls.
_QUANTILE = 0.95
_WINDOW = 200
_LEAST_SAMPLES = 20
# The quantile is computed anew after so many calls.
_STEP = 20
# A timer cannot be much shorter, and a copy of a call that is this fast helps nobody.
_LEAST_DELAY_SECONDS = 0.001
# A copy that fails so does not end a call while another copy may succeed: a server that is away, or that has
# too many calls in flight. Without the second copy, the caller would not have met that server.
ONLY_THIS_COPY = frozenset((grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedging:
    """How a client sends further copies of a call of `predict` that is slow; the first answer wins.

    The other copies are cancelled. A server may have scored them by then: its statistics and its
    records count each copy that it scored. Copies come out of `Retries.budget`.

    Attributes:
        delay: seconds without an answer after which a copy is sent; None for the time within which
            95 % of the client's last 200 calls were answered.
        attempts: the most copies of one call, the first included, 2 to 5.

    Raises:
        ValueError: an attribute is out of its range.
    """

    delay: float | None = None
    attempts: int = 2

    def __post_init__(self) -> None:
        if self.delay is not None and not 0 < self.delay <= 3600:
            raise ValueError(f"delay is above 0 and at most 3,600 seconds, not {self.delay!r}")
        if not 2 <= self.attempts <= 5:
            raise ValueError(f"attempts is a number from 2 to 5, not {self.attempts!r}")


class Hedger:
    """Decides when the calls of one client are hedged; safe to share between threads."""

    def __init__(self, settings: Hedging, budget: RetryBudget) -> None:
        self.attempts = settings.attempts
        self._budget = budget
        self._fixed_delay = settings.delay
        # The lock guards what follows.
        self._lock = threading.Lock()
        self._delay = settings.delay
        self._samples: deque[float] = deque(maxlen=_WINDOW)
        self._until_step = _LEAST_SAMPLES

    @property
    def delay(self) -> float | None:
        """Seconds to wait before the next copy; None while too few calls were answered to tell."""
        return self._delay

    def may_send(self) -> bool:
        """Take a copy out of the budget; false if there is none."""
        return self._budget.withdraw()

    def answered(self, seconds: float) -> None:
        """Note how long a call took, from its first copy to its answer."""
        if self._fixed_delay is not None:
            return
        with self._lock:
            self._samples.append(seconds)
            self._until_step -= 1
            if self._until_step > 0:
                return
            self._until_step = _STEP
            ordered = sorted(self._samples)
            self._delay = max(ordered[int(_QUANTILE * len(ordered))], _LEAST_DELAY_SECONDS)
