"""Stops runs that take too long, from a thread that sleeps until the next run must end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from threading import Condition, Thread
from time import monotonic

from onnxruntime import RunOptions


class RunStopper:
    """Watches runs; any thread may use it. Its own thread starts with the first run."""

    def __init__(self) -> None:
        self._changed = Condition()
        # One entry for each thread that runs a graph: few enough to look at all of them.
        self._ends: dict[RunOptions, float] = {}
        self._wakes_at = inf
        self._thread: Thread | None = None

    @contextmanager
    def watched(self, options: RunOptions, seconds: float) -> Iterator[None]:
        """Stop the run with these options, before its next operator, once it has taken `seconds`."""
        end = monotonic() + seconds
        with self._changed:
            if self._thread is None:
                thread = Thread(target=self._watch, name="stop-runs", daemon=True)
                # This raises if the system is out of threads; the next run tries again.
                thread.start()
                self._thread = thread
            self._ends[options] = end
            # In most cases the thread already wakes before `end`, for an earlier run.
            if end < self._wakes_at:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._ends.pop(options, None)

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = monotonic()
                for options in [each for each, end in self._ends.items() if end <= now]:
                    options.terminate = True
                    del self._ends[options]
                self._wakes_at = min(self._ends.values(), default=inf)
                self._changed.wait(None if self._wakes_at == inf else self._wakes_at - now)
