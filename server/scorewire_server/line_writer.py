"""Lines on their way to a file descriptor, written by a thread of their own.

Whoever logs must never wait for whoever reads the log, nor fail where a disk is
full or a pipe is closed. So lines wait in a queue of bounded size; what finds no
room there, or cannot be written, is dropped and counted.
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
        descriptor: where lines go; None drops them all.
        tick: called about once a second by the thread that writes.
        told: called by that thread after a line was written, with how many were dropped before it.
    """

    def __init__(
        self, descriptor: int | None, *, tick: Callable[[], None], told: Callable[[int], None]
    ) -> None:
        self._descriptor = descriptor
        self._tick = tick
        self._told = told
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._thread: threading.Thread | None = None
        self._closed = False
        self._untold = 0
        self.dropped = 0

    def start(self) -> None:
        """Start the thread that writes, ahead of the first line: at its own end Python starts none."""
        with self._changed:
            self._started()

    def put(self, line: str) -> None:
        """Have a line written; returns at once, and never fails."""
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
        """Wait until all lines are written, for so long at most; returns whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, seconds)

    def close(self, seconds: float) -> None:
        """Flush, and take no more lines."""
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
                # The system has no thread for us now.
                return False
            self._thread = thread
        return True

    def _drop(self) -> None:
        self.dropped += 1
        self._untold += 1

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
                # Only now, so that a flush waits for the line that is being written.
                self._waiting.popleft()
                self._waiting_bytes -= len(data)
                if not written:
                    self._drop()
                untold, self._untold = (self._untold, 0) if written else (0, self._untold)
                self._changed.notify_all()
            if untold:
                self._told(untold)

    def _write(self, data: bytes) -> bool:
        """Write a line to its end; False where the stream fails."""
        assert self._descriptor is not None  # noqa: S101 - else there are no lines
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                # Someone who shares the stream has made it so.
                select.select([], [self._descriptor], [], _TICK_SECONDS)
            except OSError:
                return False
        return True
