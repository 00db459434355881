"""When calls are due, in an open loop.

A pacing yields the times of sending, in nanoseconds from the start, ascending
and without end. It knows no clock: what the server does cannot move them, and
that is what makes the loop open.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Protocol

_NS_PER_SECOND = 1_000_000_000


class Pacing(Protocol):
    """A schedule of sends."""

    @property
    def rate(self) -> float:
        """Calls per second, in the mean."""

    def times_ns(self) -> Iterator[int]:
        """Nanoseconds from the start at which calls are due, ascending, unbounded."""


@dataclass(frozen=True, slots=True)
class Constant:
    """Calls at equal distances, the first at once; `rate` is in calls per second."""

    rate: float

    def times_ns(self) -> Iterator[int]:
        """As in `Pacing`; each time comes from its index, so that rounding never adds up."""
        return (round(index * _NS_PER_SECOND / self.rate) for index in count())


@dataclass(frozen=True, slots=True)
class Poisson:
    """Calls of many callers who know nothing of each other: exponential distances.

    `rate` is the mean in calls per second; the same seed gives the same times.
    """

    rate: float
    seed: int = 0

    def times_ns(self) -> Iterator[int]:
        """As in `Pacing`."""
        draw = random.Random(self.seed)  # noqa: S311 - chance of arrival, no secret
        seconds = 0.0
        while True:
            seconds += draw.expovariate(self.rate)
            yield round(seconds * _NS_PER_SECOND)
