"""Keeps the shipper running: the process that moves records from the spool to a store.

The shipper holds no lock that the server needs, so that whatever becomes of it, the
server goes on. Its standard input is its life line: when it closes, however the
server ended, the shipper makes a last pass and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

from scorewire_contract.service.logs import logger
from scorewire_contract.service.start import StartError
from scorewire_server.settings import Settings

PACKAGE = "scorewire_records"
# Time of the last pass, when all calls have ended and the spool is closed.
LAST_PASS_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
# A shipper that has run so long does not fail at its start.
_STEADY_SECONDS = 10.0
# The lowest priority, since answers come first.
_NICENESS = 19
_CHUNK_BYTES = 1 << 14
_MAX_LINE_BYTES = 4000
# Time to read the last lines of a shipper that has ended.
_LAST_LINES_SECONDS = 1.0


def shipper_command(settings: Settings) -> list[str]:
    """The command of the shipper.

    Raises:
        StartError: the distribution of the shipper is not installed, or the file of the password is missing.
    """
    if find_spec(PACKAGE) is None:
        raise StartError("--records needs the package scorewire-records: pip install scorewire-records")
    # Like the server, and unlike python -m alone, the shipper imports nothing from the current folder.
    command = [sys.executable, "-P", "-m", PACKAGE, "ship", "--records", str(settings.records)]
    if settings.records_to is not None:
        command += ["--to", settings.records_to]
    if settings.records_password_file is not None:
        if not _is_file(settings.records_password_file):
            raise StartError(
                f"--records-password-file {settings.records_password_file} is no file that can be read"
            )
        command += ["--password-file", str(settings.records_password_file)]
    return [*command, "--supervised"]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that this user may not enter, for example
        return False


class Shipper:
    """Runs a command, and again when it ends; to be used from one event loop.

    Attributes:
        restarts: how many times the command was run again.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._began = 0.0
        self._failure = ""
        self._last_line = ""
        self.restarts = 0

    @property
    def problem(self) -> str:
        """Why the shipper does not run, or has just failed; "" if it runs."""
        steady = self._process is not None and monotonic() - self._began >= _STEADY_SECONDS
        return "" if steady else self._failure

    def start(self) -> None:
        """Run the command from now on."""
        self._task = asyncio.create_task(self._keep_running())

    async def stop(self, seconds: float = LAST_PASS_SECONDS) -> None:
        """Let the shipper make its last pass, and kill it if that takes longer than `seconds`."""
        if self._task is None:
            return
        self._stopping.set()
        self._close_life_line()
        _, late = await asyncio.wait({self._task}, timeout=seconds)
        if late:
            logger().warning(
                "the shipper of records is killed: its last pass took too long; the next start goes on",
                seconds=seconds,
            )
            self._kill()
        await self._task

    async def _keep_running(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            self._began = monotonic()
            how = await self._run()
            if self._stopping.is_set():
                return
            if monotonic() - self._began >= _LONGEST_PAUSE_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            self._failure = f"the shipper ended with {how}" + (self._last_line and f": {self._last_line}")
            with contextlib.suppress(TimeoutError):
                # A server that stops in the pause still gets a last pass.
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            self.restarts += 1

    async def _run(self) -> str:
        """Run the command to its end, and say how it ended."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=DEVNULL, stderr=PIPE, start_new_session=True
            )
        except OSError as error:
            return f"{error.strerror or error} at its start"
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
        self._process = process
        if self._stopping.is_set():
            self._close_life_line()
        lines = asyncio.create_task(self._pass_lines_on(process))
        try:
            code = await process.wait()
            await asyncio.wait({lines}, timeout=_LAST_LINES_SECONDS)
        except asyncio.CancelledError:
            self._kill()
            raise
        finally:
            lines.cancel()
            self._process = None
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    async def _pass_lines_on(self, process: Process) -> None:
        """Put what the shipper says into the server's log."""
        assert process.stderr is not None  # noqa: S101 - as asked for
        rest = b""
        while data := await process.stderr.read(_CHUNK_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[:_MAX_LINE_BYTES]
            for line in lines:
                self._pass_on(line)
        self._pass_on(rest)

    def _pass_on(self, line: bytes) -> None:
        text = line[:_MAX_LINE_BYTES].decode("utf-8", "replace").strip()
        if text:
            self._last_line = text
            logger().warning("the shipper of records says", line=text)

    def _close_life_line(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                # It has a session of its own, so that whatever it has started ends, too.
                os.killpg(self._process.pid, signal.SIGKILL)
