"""The signals that stop the server, and the end of a process that does not end by itself.

A signal may come while the event loop is held up by a model that runs on it, and
threads may hang in one for good. So a thread of its own reads the signals first,
passes them on to the loop, and ends the process where the time to stop is over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from time import monotonic
from types import TracebackType

from scorewire_server.logs import flush_logs, logger, start_logs

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SECOND_SIGNAL_EXIT_CODE = 130
HUNG_EXIT_CODE = 70
# Beyond the pause and the grace: for what is left to be closed, and for Python's own end.
MARGIN_SECONDS = 5.0


class StopWatch:
    """Watches the signals; to be entered in the main thread, once the loop has handlers for them.

    It goes on watching the time after its exit: what hangs may hang the end of
    the interpreter as well.
    """

    def __init__(self, stop_seconds: float) -> None:
        """Allow so much time from the first signal to the end of the process."""
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
            # A loop that is over takes none.
            with contextlib.suppress(OSError):
                os.write(self._loop_descriptor, numbers)
        logger().error(
            "the server did not stop in time: its process is ended", stop_seconds=self._stop_seconds
        )
        flush_logs()
        os._exit(HUNG_EXIT_CODE)
