"""The resources of a server process, compared with those before a test."""

from __future__ import annotations

import psutil

from tests.processes import ServerProcess, wait_until

# The allocator keeps some memory that was in use.
_MARGIN_BYTES = 40 << 20


class Held:
    """The memory, sockets and streams of a server at one time."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._process = psutil.Process(server.pid)
        self._memory_bytes = self._rss()
        self._handles = self._process.num_fds()
        self._open = self._open_calls()

    def _rss(self) -> int:
        return int(self._process.memory_info().rss)

    def _open_calls(self) -> float:
        metrics = self._server.metrics()
        return sum(metrics[name, frozenset()] for name in ("scorewire_in_flight", "scorewire_streams"))

    def grown_bytes(self) -> int:
        """Bytes of memory on top of those before."""
        return self._rss() - self._memory_bytes

    def comes_back(self) -> None:
        """Wait until the server holds no more than before."""
        wait_until(lambda: self._process.num_fds() <= self._handles, "connections that end")
        wait_until(lambda: self._open_calls() <= self._open, "calls that end")
        wait_until(lambda: self.grown_bytes() < _MARGIN_BYTES, "memory that is given back")
