"""What a client does about failures, without I/O, so that both clients and their streams share it.

The order is fixed: the circuit breaker admits a call, a hedged attempt of the call may send several
copies, and retries make further attempts. The breaker counts the call, and not its attempts: a failure
that a retry made good is none for it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from scorewire._breaker import CircuitBreaker, Permit
from scorewire._errors import (
    CancelledError,
    DeadlineExceededError,
    InvalidRowsError,
    ResourceExhaustedError,
    ScorewireError,
    TokenError,
    UnavailableError,
)
from scorewire._hedging import Hedger, Hedging
from scorewire._methods import HEALTH, ROLLBACK, Method
from scorewire._retries import Retries, RetryBudget, pause_before_retry

_CALLER_LIMIT = "CALLER_LIMIT"


def is_limited(error: ScorewireError) -> bool:
    """Whether a limit of the caller refused a call, so that it may succeed after `retry_after` seconds."""
    return (
        isinstance(error, ResourceExhaustedError)
        and error.reason == _CALLER_LIMIT
        and error.retry_after is not None
    )


class FailurePolicy:
    """The breaker, the retries and the hedging of one client; safe to share between threads."""

    def __init__(
        self,
        breaker: CircuitBreaker | None = None,
        retries: Retries | None = None,
        hedging: Hedging | None = None,
    ) -> None:
        retries = retries if retries is not None else Retries()
        self.breaker = breaker
        self.attempts = retries.attempts
        self.waits = retries.limits
        self.budget = RetryBudget(retries.budget)
        # Hedges the calls of `predict`, and no others.
        self.hedger = None if hedging is None else Hedger(hedging, self.budget)

    def begin(self, method: Method, *, is_poll: bool = False) -> Attempts:
        """Begin a call.

        Args:
            method: the call's method.
            is_poll: whether the caller makes the call again and again until it succeeds.

        Raises:
            UnavailableError: the breaker is open.
        """
        # Whoever asks whether the server is there wants the server's answer, and not the breaker's.
        breaker = None if is_poll or method is HEALTH else self.breaker
        permit = None if breaker is None else breaker.admit()
        # A second rollback goes a step further.
        attempts = 1 if is_poll or method is ROLLBACK else self.attempts
        return Attempts(self.budget, permit, attempts, waits=self.waits)


class Attempts:
    """The attempts of one call, or of one stream: a context that ends with it, and counts its error."""

    __slots__ = ("_answered", "_attempts", "_budget", "_failures", "_permit", "_renewed", "_waits")

    def __init__(self, budget: RetryBudget, permit: Permit | None, attempts: int, *, waits: bool) -> None:
        self._budget = budget
        self._permit = permit
        self._attempts = attempts
        self._waits = waits
        self._failures = 0
        self._answered = False
        self._renewed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._permit is None:
            return
        if isinstance(error, ScorewireError) and not isinstance(
            error, CancelledError | InvalidRowsError | TokenError
        ):
            self._permit.record(failed=isinstance(error, UnavailableError | DeadlineExceededError))
        else:
            # Without an outcome; where there was one, this does nothing.
            self._permit.give_back()

    def succeeded(self) -> None:
        """Note an answer: of the call, or of one request of the stream."""
        self._budget.deposit()
        self._failures = 0
        self._answered = True
        self._renewed = False
        if self._permit is not None:
            self._permit.record(failed=False)

    def pause(self, error: ScorewireError, left: float) -> float | None:
        """Seconds to wait before the next attempt, after one that failed; None if there is none.

        A stream that had an answer since its last failure is opened again without the budget:
        otherwise a server that goes away would end most of a client's streams. So is a call that a limit
        of the caller refused, which waits as long as the server tells.

        Args:
            error: why the attempt failed.
            left: the seconds within which the next attempt must begin.
        """
        limited = self._waits and is_limited(error)
        if not (limited or isinstance(error, UnavailableError)):
            return None
        self._failures += 1
        if self._failures >= self._attempts:
            return None
        pause = max(pause_before_retry(self._failures), error.retry_after or 0.0)
        if pause >= left:
            return None
        if limited:
            return pause
        answered, self._answered = self._answered, False
        return pause if answered or self._budget.withdraw() else None

    def may_renew(self) -> bool:
        """Whether to ask for a fresh token where the server refused one: once, until there is an answer."""
        renewed, self._renewed = self._renewed, True
        return not renewed
