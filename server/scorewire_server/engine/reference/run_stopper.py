"""Stops the runs that take too long, from a thread that sleeps until the first of them must be over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from threading import Condition, Thread
from time import monotonic

from onnxruntime import RunOptions


class RunStopper:
    """Watches runs; any thread may call. Its own thread starts with the first run."""

    def __init__(self) -> None:
        self._changed = Condition()
        # As few as there are threads that run graphs, so that looking at all of them is cheap.
        self._ends: dict[RunOptions, float] = {}
        self._wakes_at = inf
        self._thread: Thread | None = None

    @contextmanager
    def watched(self, options: RunOptions, seconds: float) -> Iterator[None]:
        """Have the run with these options stopped before its next operator, once it took so long."""
        end = monotonic() + seconds
        with self._changed:
            if self._thread is None:
                thread = Thread(target=self._watch, name="stop-runs", daemon=True)
                # The system may have none for us now; the next run asks again.
                thread.start()
                self._thread = thread
            self._ends[options] = end
            # Mostly it wakes for a run before this one, which may be over by then.
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
