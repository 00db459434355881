"""Starts `scorewire` processes for tests, on free ports; reads their logs, and always ends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

# Long, because a machine may be busy; only failures wait this long.
TIMEOUT_SECONDS = 60
COMMAND = Path(sys.executable).with_name("scorewire")
_POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], bool], what: str, seconds: float = TIMEOUT_SECONDS) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: the condition does not hold in that time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(_POLL_SECONDS)


def run_command(
    *arguments: str | Path, command: tuple[str | Path, ...] = (COMMAND,)
) -> subprocess.CompletedProcess[str]:
    """Run `scorewire` without its environment variables, and wait for its end."""
    return subprocess.run(
        [*map(str, command), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
        env=own_environment(),
    )


class ServerProcess:
    """A running `scorewire serve`, or another service.

    Attributes:
        address: HOST:PORT of its port.
        metrics_address: HOST:PORT of /metrics.
        pid: the id of the process.
        signalled: whether a signal was sent to the process.
    """

    def __init__(self, process: subprocess.Popen[bytes], port_file: Path, log_file: Path) -> None:
        self._process = process
        self._log_file = log_file
        self.signalled = False
        wait_until(lambda: port_file.exists() or process.poll() is not None, "the server's port file")
        assert process.poll() is None, f"the server ended with {process.returncode}:\n{self.log_text()}"
        self.address, self.metrics_address = port_file.read_text(encoding="utf-8").split()
        self.pid = process.pid

    def log_text(self) -> str:
        """The log so far."""
        return self._log_file.read_text(encoding="utf-8")

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """The complete lines of the log so far, or those of one event."""
        lines = [
            json.loads(line) for line in self.log_text().splitlines(keepends=True) if line.endswith("\n")
        ]
        return [line for line in lines if event in (None, line["event"])]

    def logged(self, event: str, lines: int = 1) -> list[dict[str, Any]]:
        """Wait for a number of lines of an event; a server writes its log in the background."""
        wait_until(lambda: len(self.log(event)) >= lines, f"{lines} lines of {event!r}")
        return self.log(event)

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """The samples of /metrics, by name and labels."""
        with urlopen(f"http://{self.metrics_address}/metrics", timeout=TIMEOUT_SECONDS) as answer:
            text = answer.read().decode("utf-8")
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal, and return at once."""
        self.signalled = True
        self._process.send_signal(number)

    def hang_up(self) -> None:
        """Send SIGHUP, on which a service reads its files again."""
        self._process.send_signal(signal.SIGHUP)

    def wait(self) -> int:
        """Wait for the end of the process; returns its exit code."""
        return self._process.wait(TIMEOUT_SECONDS)

    def stop(self) -> int:
        """Send SIGTERM and wait for the end of the process; returns its exit code."""
        self.signal()
        return self.wait()

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None


@contextmanager
def serving(
    folder: Path,
    models: Path,
    *flags: str | Path,
    command: tuple[str | Path, ...] = (COMMAND,),
    stderr: int | None = None,
) -> Iterator[ServerProcess]:
    """Run a server with a folder of bundles; the block begins when each bundle serves or is refused.

    A server that still runs at the end of the block is stopped by SIGTERM, and must end with exit code 0.

    Args:
        folder: a folder for the port file and the log; created if it does not exist.
        models: the folder of bundles.
        flags: further flags, which override those that are set here.
        command: the command that stands for `scorewire`.
        stderr: a file descriptor for the log, instead of the file.
    """
    with service(folder, *command, "serve", "--models", models, flags=flags, stderr=stderr) as server:
        yield server


@contextmanager
def service(
    folder: Path, *command: str | Path, flags: Iterable[str | Path] = (), stderr: int | None = None
) -> Iterator[ServerProcess]:
    """Run a service on loopback ports; the block begins when it has written its port file.

    A service that still runs at the end of the block is stopped by SIGTERM, and must end with exit code 0.

    Args:
        folder: a folder for the port file and the log; created if it does not exist.
        command: the command of the service.
        flags: further flags, which override those that are set here.
        stderr: a file descriptor for the log, instead of the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port_file, log_file = folder / "port", folder / "log"
    # An earlier server of the folder had another port.
    port_file.unlink(missing_ok=True)
    arguments = [*command, "--listen", "127.0.0.1:0", "--metrics-port", "0", "--port-file", port_file]
    arguments += ["--drain-seconds", "0", *flags]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            list(map(str, arguments)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log if stderr is None else stderr,
            env=own_environment(),
        )
    try:
        server = ServerProcess(process, port_file, log_file)
        yield server
        if server.running:
            if not server.signalled:
                server.signal()
            assert server.wait() == 0, f"the server did not end well:\n{server.log_text()}"
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def own_environment() -> dict[str, str]:
    """The environment without settings of the server, which would change what is tested."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SCOREWIRE_")}
