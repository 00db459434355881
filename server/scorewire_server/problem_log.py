"""Logs what is wrong with a part of the server: one line a minute at most, and one when it is over."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from scorewire_contract.service.logs import logger

SECONDS_BETWEEN_LINES = 60.0


class ProblemLog:
    """Logs the problems that it is told of.

    Args:
        wrong: the event of a line that tells of a problem.
        over: the event of the line when there is none any more.
        clock: the time in seconds.
    """

    def __init__(self, wrong: str, over: str, clock: Callable[[], float] = monotonic) -> None:
        self._wrong, self._over = wrong, over
        self._clock = clock
        self._logged_at = -SECONDS_BETWEEN_LINES
        self._told = False

    def note(self, problem: str, **counts: int) -> None:
        """Take note of what is wrong now, "" if nothing is.

        Args:
            problem: for people.
            counts: fields of the line.
        """
        now = self._clock()
        if problem and now - self._logged_at >= SECONDS_BETWEEN_LINES:
            self._logged_at, self._told = now, True
            logger().error(self._wrong, problem=problem, **counts)
        elif not problem and self._told:
            self._told = False
            logger().info(self._over, **counts)
