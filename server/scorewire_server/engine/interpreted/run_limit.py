"""When the runs of a thread must be over.

A graph is a plain function of arrays, which many call without a limit; so the
limit is a thread's, and the sessions of both engines look at it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic


class _Limit(threading.local):
    until: float | None = None


_limit = _Limit()


@contextmanager
def run_until(until: float) -> Iterator[None]:
    """Have the graphs that this thread runs stop at a time of `monotonic`; they raise TimeoutError then."""
    before, _limit.until = _limit.until, until
    try:
        yield
    finally:
        _limit.until = before


def seconds_left() -> float | None:
    """How long a run of this thread may take; None where nothing limits it."""
    return None if _limit.until is None else _limit.until - monotonic()
