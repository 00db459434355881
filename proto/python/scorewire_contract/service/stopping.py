"""Reads the signals that stop the server, and ends a process that does not stop in time.

When a signal comes, a model may be running on the event loop, and other threads may
hang in a model forever. So a thread of its own reads the signals first, passes them
on to the loop, and ends the process once the time to stop is over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from time import monotonic
from types import TracebackType

from scorewire_contract.service.logs import flush_logs, logger, start_logs

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SECOND_SIGNAL_EXIT_CODE = 130
HUNG_EXIT_CODE = 70
# Time beyond the pause and the grace, to close what is left and to shut down the interpreter.
MARGIN_SECONDS = 5.0


class StopWatch:
    """Watches the signals; to be entered in the main thread, after the loop has handlers for them.

    It watches the time even after its exit, since a hanging thread may also keep the
    interpreter from shutting down.

    Args:
        stop_seconds: the time from the first signal to the end of the process.
    """

    def __init__(self, stop_seconds: float) -> None:
        self._stop_seconds = stop_seconds
        self._signals, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._loop_descriptor = -1

    def __enter__(self) -> None:
        self._loop_descriptor = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()
        start_logs()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._loop_descriptor)

    def _watch(self) -> None:
        deadline = None
        while deadline is None or monotonic() < deadline:
            if deadline is not None:
                self._signals.settimeout(max(deadline - monotonic(), 0.001))
            try:
                numbers = self._signals.recv(1024)
            except TimeoutError:
                continue
            for number in numbers:
                if number not in SIGNALS:
                    continue
                if deadline is not None:
                    os._exit(SECOND_SIGNAL_EXIT_CODE)
                deadline = monotonic() + self._stop_seconds
            # The loop may be closed already.
            with contextlib.suppress(OSError):
                os.write(self._loop_descriptor, numbers)
        logger().error(
            "the server did not stop in time: its process is ended", stop_seconds=self._stop_seconds
        )
        flush_logs()
        os._exit(HUNG_EXIT_CODE)
