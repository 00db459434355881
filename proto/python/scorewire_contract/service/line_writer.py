"""Writes lines to a file descriptor from a thread of its own.

Code that logs must never wait for the reader of the log, and must never fail
because a disk is full or a pipe is closed. So lines wait in a bounded queue. A
line that finds the queue full, or that cannot be written, is dropped and counted.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable

MAX_WAITING_BYTES = 1 << 20
_TICK_SECONDS = 1.0


class LineWriter:
    """Writes lines in order; any thread may use it.

    Args:
        descriptor: the file descriptor; None drops all lines.
        tick: called by the writing thread about once a second while no line waits.
        report_dropped: called by the writing thread with the number of dropped lines, after the next line.
    """

    def __init__(
        self, descriptor: int | None, *, tick: Callable[[], None], report_dropped: Callable[[int], None]
    ) -> None:
        self._descriptor = descriptor
        self._tick = tick
        self._report_dropped = report_dropped
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._thread: threading.Thread | None = None
        self._closed = False
        self._unreported = 0
        self.dropped = 0

    def start(self) -> None:
        """Start the writing thread ahead of the first line: Python starts no threads while it shuts down."""
        with self._changed:
            self._started()

    def put(self, line: str) -> None:
        """Queue a line. Returns at once and never raises."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._changed:
            full = self._waiting_bytes + len(data) > MAX_WAITING_BYTES
            if full or self._descriptor is None or self._closed or not self._started():
                self._drop()
                return
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait up to `seconds` until all lines are written; returns whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, seconds)

    def close(self, seconds: float) -> None:
        """Flush, and drop all later lines."""
        self.flush(seconds)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _started(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="log", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # The system is out of threads; the next line tries again.
                return False
            self._thread = thread
        return True

    def _drop(self) -> None:
        self.dropped += 1
        self._unreported += 1

    def _run(self) -> None:
        while True:
            with self._changed:
                come = self._changed.wait_for(lambda: self._waiting or self._closed, _TICK_SECONDS)
                if self._closed and not self._waiting:
                    return
                data = self._waiting[0] if come else None
            if data is None:
                self._tick()
                continue
            written = self._write(data)
            with self._changed:
                # The line leaves the queue only now, so that a flush waits until it is written.
                self._waiting.popleft()
                self._waiting_bytes -= len(data)
                if not written:
                    self._drop()
                unreported, self._unreported = (self._unreported, 0) if written else (0, self._unreported)
                self._changed.notify_all()
            if unreported:
                self._report_dropped(unreported)

    def _write(self, data: bytes) -> bool:
        """Write a whole line; False if the stream fails."""
        assert self._descriptor is not None  # noqa: S101 - without it no line is queued
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                # Another process that shares the stream has made it non-blocking.
                select.select([], [self._descriptor], [], _TICK_SECONDS)
            except OSError:
                return False
        return True
