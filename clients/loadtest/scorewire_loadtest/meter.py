"""How busy the threads of this process were, and how long they waited for a core."""

from __future__ import annotations

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
        busy: 0 to 1: the time of all threads on a core, as a share of one core's. The threads
            of grpc.aio hand each call to each other and share the interpreter's lock, so
            that together they do little more than one core's work.
        queued: the largest share of time in which one thread was ready to run and had no
            core; None if the system does not tell.
    """

    busy: float
    queued: float | None


class Meter:
    """Measures the work of all threads of this process from its creation on."""

    def __init__(self) -> None:
        self._begin_ns = time.monotonic_ns()
        self._process_ns = time.process_time_ns()
        self._queued_ns = _queued_ns()

    def read(self) -> Work:
        """What was done so far."""
        passed_ns = time.monotonic_ns() - self._begin_ns
        if passed_ns <= 0:
            return Work(0.0, None)
        grown = [ns - self._queued_ns.get(thread, 0) for thread, ns in _queued_ns().items()]
        return Work(
            busy=min((time.process_time_ns() - self._process_ns) / passed_ns, 1.0),
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
            told = (thread / "schedstat").read_text(encoding="ascii")
            on_core_ns, queued_ns, _ = map(int, told.split())
        except (OSError, ValueError):
            # The thread has ended, or the kernel was built without these figures.
            continue
        # Kernels that do not count say zeros, and a thread that is alive has been on a core.
        if on_core_ns > 0:
            found[thread.name] = queued_ns
    return found
