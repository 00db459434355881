"""Restarts two servers in turn under load: `python -m tests.go.rolling`.

A Go client calls both servers, either by plain round robin without health checks and
a retry policy, or through nginx. One server after the other is stopped by SIGTERM
and started again on its port. No call may fail.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

from tests import bundles
from tests.go.building import Programs, build
from tests.go.load import Report, burst, steady_load
from tests.go.nginx import proxying
from tests.processes import COMMAND, ServerProcess, serving, wait_until

RATE = 500
DRAIN_SECONDS = 0.2
_ANSWERED = "scorewire_calls_total"


class Restarted:
    """A server that keeps its port when it restarts."""

    def __init__(self, folder: Path, models: Path, flags: tuple[str, ...], command: Path) -> None:
        self._folder, self._models, self._flags, self._command = folder, models, flags, command
        self._starts = 0
        # Bound but not listening, so that the system gives the port to no other process meanwhile.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._holder.getsockname()[1]}"
        self._running: AbstractContextManager[ServerProcess] | None = None
        self._server: ServerProcess | None = None

    def start(self) -> None:
        """Start the server, and wait until it serves."""
        self._starts += 1
        flags = (*self._flags, "--listen", self.address)
        folder = self._folder / str(self._starts)
        self._running = serving(folder, self._models, *flags, command=(self._command,))
        self._server = self._running.__enter__()

    def wait_until_called(self) -> None:
        """Wait until a client calls the server."""
        wait_until(lambda: self._answered() > 0, "the server to be called")

    def stop(self) -> None:
        """Stop the server by SIGTERM, wait for its end, and check its exit code."""
        if self._running is not None:
            running, self._running = self._running, None
            running.__exit__(None, None, None)

    def kill(self) -> None:
        """End the server by SIGKILL, and wait for its end."""
        assert self._server is not None
        self._server.signal(signal.SIGKILL)
        self._server.wait()
        self.stop()

    def close(self) -> None:
        """Stop the server, and release its port."""
        self.stop()
        self._holder.close()

    def _answered(self) -> float:
        assert self._server is not None
        return sum(count for (name, _), count in self._server.metrics().items() if name == _ANSWERED)


@contextmanager
def two_servers(
    folder: Path, engine: str, command: Path, drain_seconds: float = DRAIN_SECONDS
) -> Iterator[list[Restarted]]:
    """Two servers of one engine with the bundle `sum`."""
    bundles.write_sum_bundle(folder / "models")
    shared = ("--engine", engine, "--drain-seconds", str(drain_seconds), "--trial-seconds", "0")
    each = [(name, (*shared, "--state-file", str(folder / f"{name}.json"))) for name in ("first", "second")]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(closing(Restarted(folder / name, folder / "models", flags, command)))
            for name, flags in each
        ]
        for server in servers:
            server.start()
        yield servers


def restart_all(servers: list[Restarted], restarts: int) -> None:
    """Restart the servers one after the other, each after clients have called all of them."""
    for number in range(restarts):
        for server in servers:
            server.wait_until_called()
        server = servers[number % len(servers)]
        server.stop()
        server.start()


def rolling(
    folder: Path,
    programs: Programs,
    servers: list[Restarted],
    *,
    restarts: int,
    rate: int = RATE,
    nginx: bool = False,
) -> Report:
    """The outcome of calls during a number of restarts."""
    addresses = [server.address for server in servers]
    with ExitStack() as stack:
        if nginx:
            addresses = [stack.enter_context(proxying(folder / "nginx", addresses))]
        with steady_load(programs.load, addresses, rate) as report:
            restart_all(servers, restarts)
    return report


def main() -> int:
    """Print the outcome of the calls; returns 1 if a call failed or got a wrong response."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="native", choices=("native", "reference"))
    parser.add_argument("--restarts", type=int, default=50)
    parser.add_argument("--rate", type=int, default=RATE, help="calls per second")
    parser.add_argument("--nginx", action="store_true", help="call through nginx")
    parser.add_argument("--burst", type=int, default=0, help="make this many calls at once, without restarts")
    parser.add_argument("--drain-seconds", type=float, default=DRAIN_SECONDS)
    parser.add_argument(
        "--scorewire", type=Path, default=COMMAND, help="the `scorewire` to test, if not this one"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with two_servers(folder, asked.engine, asked.scorewire, asked.drain_seconds) as servers:
            programs = build(folder / "client", servers[0].address)
            if asked.burst:
                report = burst(programs.load, servers[0].address, asked.burst)
            else:
                report = rolling(
                    folder,
                    programs,
                    servers,
                    restarts=asked.restarts,
                    rate=asked.rate,
                    nginx=asked.nginx,
                )
    print(report)
    return int(report.wrong + report.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
