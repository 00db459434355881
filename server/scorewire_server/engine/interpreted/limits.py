"""The limits of principals, for calls that are answered in Python.

The rates use the arithmetic of the native engine (`access/rate.rs` there): the generic
cell rate algorithm, whose only state is one time in nanoseconds. Of `share` this has
only the part about places: once more than half of the places of `--max-in-flight` are
taken, a principal gets no more than its share of them. It knows nothing of the time of
threads, since here all calls share the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Protocol

from scorewire_server.engine.access import Principal, Rate
from scorewire_server.engine.interpreted.failures import caller_limit, over_share
from scorewire_server.engine.statistics import PrincipalStatistics

# As long as a principal has called within this window or the one before, it has a share. In nanoseconds.
_WINDOW_BITS = 29
# When a caller may try again that has as many calls open as it may. Nobody knows when one ends.
_RETRY_IN_FLIGHT_NS = 50_000_000
_MOST = 2**64 - 1


class Gcra:
    """A limit of a rate (GCRA).

    Attributes:
        state: when all that was taken would be there again, in nanoseconds since any fixed moment.
    """

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = 0

    def take(self, rate: Rate, now: int, count: int = 1) -> int:
        """Take `count` if one at least is there; more than are there leave a debt.

        Returns:
            0, or the nanoseconds after which one will be there; then nothing was taken.
        """
        interval = 1e9 / rate.per_second
        begin = max(self.state, now)
        latest = min(now + _whole(rate.burst * 1e9 / rate.per_second), _MOST)
        next_one = min(begin + _whole(interval), _MOST)
        if next_one > latest:
            return next_one - latest
        self.state = min(begin + _whole(count * interval), _MOST)
        return 0

    def give_back(self, rate: Rate) -> None:
        """Give back one that was taken."""
        self.state = max(self.state - _whole(1e9 / rate.per_second), 0)

    def convert(self, before: Rate, rate: Rate, now: int) -> None:
        """Have another rate go on with as many taken."""
        if before != rate and self.state > now:
            taken = float(self.state - now) / (1e9 / before.per_second) * (1e9 / rate.per_second)
            self.state = min(now + _whole(taken), _MOST)


@dataclass(slots=True)
class _Meter:
    """What one principal has taken."""

    calls: Gcra = field(default_factory=Gcra)
    rows: Gcra = field(default_factory=Gcra)
    open_calls: int = 0
    places: int = 0
    window: int = -2
    counts: PrincipalStatistics = field(default_factory=PrincipalStatistics)


class PredictionLimits(Protocol):
    """What the predictor asks for each message of a principal."""

    def take_call(self, principal: Principal) -> None:
        """Take a call.

        Raises:
            CallerLimitError: the principal has none left.
        """
        ...

    def take_rows(self, principal: Principal, rows: int) -> None:
        """Take the rows of a message.

        Raises:
            CallerLimitError: the principal has none left.
        """
        ...

    def deny(self, principal: Principal) -> None:
        """Count a message that was refused for a missing right."""
        ...

    def place(self, principal: Principal, taken: int) -> AbstractContextManager[None]:
        """Hold one of the places of calls in flight, of which so many are taken, for the time of a block.

        Raises:
            OverloadedError: the principal has its share of the places already.
        """
        ...


class CallerLimits:
    """The limits of all principals; a `PredictionLimits` to be used from one event loop.

    What a principal has taken is kept by its name, as long as the access file has the name.

    Args:
        max_in_flight: the places of calls in flight, which principals share.
        clock: nanoseconds since any fixed moment.
    """

    def __init__(self, max_in_flight: int, clock: Callable[[], int] = monotonic_ns) -> None:
        self._max_in_flight = max_in_flight
        self._clock = clock
        self._began = clock()
        self._principals: Mapping[str, Principal] = {}
        self._meters: dict[str, _Meter] = {}

    @property
    def counts(self) -> dict[str, PrincipalStatistics]:
        """The counts of each principal, by name."""
        return {name: meter.counts for name, meter in list(self._meters.items())}

    def use(self, principals: Mapping[str, Principal]) -> None:
        """Know these principals from now on; what the same names have taken before stays taken.

        Where a rate has changed, as many calls or rows are missing as before, and not as much time.
        """
        now = self._now()
        for name, principal in principals.items():
            known, meter = self._principals.get(name), self._meters.get(name)
            if known is None or meter is None:
                continue
            for gcra, before, rate in (
                (meter.calls, known.limits.calls, principal.limits.calls),
                (meter.rows, known.limits.rows, principal.limits.rows),
            ):
                if before is not None and rate is not None:
                    gcra.convert(before, rate, now)
        self._principals = principals
        self._meters = {name: self._meters.get(name) or _Meter() for name in principals}

    @contextmanager
    def admitted(self, principal: Principal) -> Iterator[None]:
        """Count a call as open for the time of a block.

        Raises:
            CallerLimitError: the principal has as many open calls as it may.
        """
        meter, most = self._meter(principal), principal.limits.in_flight
        if most is not None and meter.open_calls >= most:
            raise _limited(meter, "in_flight", _RETRY_IN_FLIGHT_NS)
        meter.open_calls += 1
        try:
            yield
        finally:
            meter.open_calls -= 1

    def take_call(self, principal: Principal) -> None:
        """Take a call: a unary one, a message of a stream of predictions, or one of the control plane."""
        meter, rate = self._meter(principal), principal.limits.calls
        now = self._now()
        meter.window = now >> _WINDOW_BITS
        if rate is not None and (wait := meter.calls.take(rate, now)):
            raise _limited(meter, "calls", wait)
        meter.counts.calls += 1

    def take_rows(self, principal: Principal, rows: int) -> None:
        """Take the rows of a message."""
        meter, rate = self._meter(principal), principal.limits.rows
        if rate is not None and (wait := meter.rows.take(rate, self._now(), rows)):
            raise _limited(meter, "rows", wait)
        meter.counts.rows += rows

    def deny(self, principal: Principal) -> None:
        """Count a call or a message that was refused for a missing right."""
        self._meter(principal).counts.refuse("denied")

    @contextmanager
    def place(self, principal: Principal, taken: int) -> Iterator[None]:
        """Hold one of the places of calls in flight for the time of a block."""
        meter = self._meter(principal)
        if 2 * taken > self._max_in_flight and meter.places >= self._most_places(principal):
            meter.counts.refuse("share")
            raise over_share()
        meter.places += 1
        try:
            yield
        finally:
            meter.places -= 1

    def _most_places(self, principal: Principal) -> int:
        """The principal's share of all places, by the weights of the principals that called lately."""
        recent = (self._now() >> _WINDOW_BITS) - 1
        weights = sum(
            self._principals[name].limits.share
            for name, meter in self._meters.items()
            if meter.window >= recent and name != principal.name
        )
        share = principal.limits.share
        return max(1, int(self._max_in_flight * share / (weights + share)))

    def _meter(self, principal: Principal) -> _Meter:
        # An open call may be of a principal that the access file has no more.
        return self._meters.get(principal.name) or _Meter()

    def _now(self) -> int:
        return self._clock() - self._began


def _limited(meter: _Meter, cause: str, wait_ns: int) -> Exception:
    meter.counts.refuse(cause)
    return caller_limit(retry_seconds(wait_ns))


def retry_seconds(wait_ns: int) -> float:
    """When to try again: whole milliseconds, rounded up, one at least."""
    return max(1, -(-wait_ns // 1_000_000)) / 1000


def _whole(nanoseconds: float) -> int:
    """Whole nanoseconds, as far as 64 bits can say. Rounded down, so that a whole burst is there at once."""
    return _MOST if nanoseconds >= _MOST else int(nanoseconds)
