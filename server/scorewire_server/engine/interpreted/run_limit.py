"""The time at which a thread's runs of graphs must end.

A graph is a plain function of arrays, and most of its callers need no limit. So the
limit is not an argument but belongs to the thread, and the sessions of both engines
read it.
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
    """Stop this thread's runs of graphs at a time of `monotonic`; a stopped run raises TimeoutError."""
    before, _limit.until = _limit.until, until
    try:
        yield
    finally:
        _limit.until = before


def seconds_left() -> float | None:
    """The seconds that a run of this thread may take; None without a limit."""
    return None if _limit.until is None else _limit.until - monotonic()
