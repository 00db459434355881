"""How busy the threads of this process were, and how long they waited for a core."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

# Of each thread: time on a core, time in the run queue (both in nanoseconds), and number of slices. See
# "Scheduler Statistics" in the kernel's documentation.
_THREADS = Path("/proc/self/task")


@dataclass(frozen=True, slots=True)
class Work:
    """What the threads did in a time.

    Attributes:
        busy: 0 to 1: the share of time in which this thread was on a core, or the share
            of its cores that all threads used, whichever is larger.
        queued: the largest share of time in which one thread was ready to run and had no
            core; None if the system does not tell.
    """

    busy: float
    queued: float | None


class Meter:
    """Measures the work of all threads from its creation on, from the thread that creates it."""

    def __init__(self) -> None:
        self._begin_ns = time.monotonic_ns()
        self._thread_ns, self._process_ns = time.thread_time_ns(), time.process_time_ns()
        self._queued_ns = _queued_ns()

    def read(self) -> Work:
        """What was done so far."""
        passed_ns = time.monotonic_ns() - self._begin_ns
        if passed_ns <= 0:
            return Work(0.0, None)
        thread = (time.thread_time_ns() - self._thread_ns) / passed_ns
        process = (time.process_time_ns() - self._process_ns) / passed_ns
        grown = [ns - self._queued_ns.get(thread, 0) for thread, ns in _queued_ns().items()]
        return Work(
            busy=min(max(thread, process / _core_count()), 1.0),
            queued=min(max(grown) / passed_ns, 1.0) if grown else None,
        )


def _queued_ns() -> dict[str, int]:
    """The time in the run queue of each thread; empty if the system does not tell."""
    found = {}
    try:
        threads = list(_THREADS.iterdir())
    except OSError:
        return {}
    for thread in threads:
        try:
            found[thread.name] = int((thread / "schedstat").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            # The thread has ended, or the kernel was built without these figures.
            continue
    return found


def _core_count() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
