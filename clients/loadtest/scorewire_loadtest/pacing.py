"""When the calls of an open loop are due.

A pacing yields the times at which calls are due, in nanoseconds from the start,
in ascending order and without end. The times do not depend on a clock or on the
server; that makes the loop open.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Protocol

_NS_PER_SECOND = 1_000_000_000


class Pacing(Protocol):
    """A schedule of calls."""

    @property
    def rate(self) -> float:
        """The mean rate in calls per second."""

    def times_ns(self) -> Iterator[int]:
        """The times at which calls are due: nanoseconds from the start, ascending, without end."""


@dataclass(frozen=True, slots=True)
class Constant:
    """Calls at equal intervals, the first one at once; `rate` is in calls per second."""

    rate: float

    def times_ns(self) -> Iterator[int]:
        """As in `Pacing`; each time is computed from its index, so that rounding errors do not add up."""
        return (round(index * _NS_PER_SECOND / self.rate) for index in count())


@dataclass(frozen=True, slots=True)
class Poisson:
    """A Poisson process, as many independent callers make: exponential intervals.

    `rate` is the mean in calls per second. The same seed gives the same times.
    """

    rate: float
    seed: int = 0

    def times_ns(self) -> Iterator[int]:
        """As in `Pacing`."""
        draw = random.Random(self.seed)  # noqa: S311 - random arrivals, not a secret
        seconds = 0.0
        while True:
            seconds += draw.expovariate(self.rate)
            yield round(seconds * _NS_PER_SECOND)
