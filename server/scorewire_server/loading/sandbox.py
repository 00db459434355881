"""The sandbox: a child process, bounded in memory and time, that loads every bundle first.

An audit cannot foresee how much a graph takes when it runs. So a child loads each
bundle before the server does. If the child fails, or dies, or takes too long, the
bundle is refused and the server goes on.

The child reads one line for each folder, with its path and names as JSON, and
answers with "ready" and then with a line of JSON: the reason to refuse the bundle,
"" if it may be loaded, and the bundle's digest. Each line of the child begins with
a sign, so that whatever a library prints between is skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from scorewire_contract.bundle import GRAPH
from scorewire_contract.memory import lacks_memory
from scorewire_server.catalog.repository import BundleFolder

_START_SECONDS = 120
# Children end after this time without a bundle; the next bundle gets a new child.
_IDLE_SECONDS = 5.0
_ALARM_SECONDS = 2
_LINE_BYTES = 1 << 20
# The most characters of a reason on its way from the child.
_REASON_CHARACTERS = 10_000
_SIGN = "scorewire sandbox: "
# The memory if --trial-memory-bytes is 0. Forests took up to 25 bytes of memory for each byte of their graph.
_LEAST_BYTES = 4 << 30
_BYTES_PER_GRAPH_BYTE = 40
_STOPPING = "the server is about to stop"


class SandboxResult(NamedTuple):
    """The result of a first load.

    Attributes:
        reason: why the bundle must not be loaded; "" if it may be.
        digest: the digest of the bundle that was loaded.
    """

    reason: str
    digest: str = ""


class Sandbox:
    """Loads bundles in child processes; to be used from one event loop.

    Args:
        seconds: the longest time of one load.
        memory_bytes: the memory of one load; 0 depends on the size of the graph.
        threads: threads that a graph may use.
        engine: the name of the engine that will serve the versions.
        kernel: whether graphs are compiled, as of `choose_engine`.
        processes: the most loads at one time.
    """

    def __init__(
        self,
        *,
        seconds: float,
        memory_bytes: int,
        threads: int,
        engine: str,
        kernel: str = "auto",
        processes: int = 1,
    ) -> None:
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._arguments = (str(math.ceil(seconds)), str(memory_bytes), str(threads), engine, kernel)
        self._slots = asyncio.Semaphore(processes)
        self._free: list[Process] = []
        self._busy: set[Process] = set()
        self._idle: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Start a child ahead, best before the server has threads, which a fork would copy."""
        self._free.append(await self._start_child())
        self._schedule_close()

    async def try_load(self, folder: BundleFolder) -> SandboxResult:
        """Load the bundle of a folder in a child process."""
        async with self._slots:
            if self._idle is not None:
                self._idle.cancel()
            if self._closed:
                return SandboxResult(_STOPPING)
            child = self._free.pop() if self._free else await self._start_child()
            self._busy.add(child)
            result = None
            try:
                # The sandbox may have been closed while the child started.
                result = None if self._closed else await self._ask(child, folder)
                if result is not None:
                    return result
                code = await _kill(child)
                return SandboxResult(_STOPPING if self._closed else self._reason_of_death(code, folder))
            except TimeoutError:
                return SandboxResult(f"its first load took more than {self._seconds:g} seconds")
            finally:
                self._busy.discard(child)
                if result is not None and not self._closed:
                    self._free.append(child)
                else:
                    await _kill(child)
                if not self._busy:
                    self._schedule_close()

    async def close(self) -> None:
        """Kill all children at once."""
        self._closed = True
        if self._idle is not None:
            self._idle.cancel()
        await asyncio.gather(*map(_kill, (*self._free, *self._busy)))
        self._free.clear()

    async def _start_child(self) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            *self._arguments,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            limit=_LINE_BYTES,
        )

    async def _ask(self, child: Process, folder: BundleFolder) -> SandboxResult | None:
        """The result of a child; None if the child ends without one.

        Raises:
            TimeoutError: the load takes longer than it may.
        """
        assert child.stdin is not None  # noqa: S101 - as asked for
        line = json.dumps([str(folder.path), folder.model, folder.version])
        # A child that has ended cannot take the line.
        with contextlib.suppress(ConnectionError):
            child.stdin.write(line.encode() + b"\n")
            await child.stdin.drain()
        # Until the child is ready, the time of a start counts, and not that of a load.
        ready = await _read(child, _START_SECONDS)
        answer = ready and await _read(child, self._seconds)
        return SandboxResult(*json.loads(answer)) if answer else None

    def _reason_of_death(self, code: int, folder: BundleFolder) -> str:
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        note = _memory_note(_allowed_bytes(self._memory_bytes, folder.path))
        return f"its first load ended the process that tried it ({how}); {note}"

    def _schedule_close(self) -> None:
        """Schedule the end of the idle children."""
        if not self._closed:
            self._idle = asyncio.create_task(self._close_when_idle())

    async def _close_when_idle(self) -> None:
        await asyncio.sleep(_IDLE_SECONDS)
        free, self._free = self._free, []
        await asyncio.gather(*map(_kill, free))


async def _kill(child: Process) -> int:
    """Kill a child unless it has ended, and return its exit code."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            # child.kill() would reap a child that has just ended, and its exit code would be lost: 255.
            os.kill(child.pid, signal.SIGKILL)
    return await child.wait()


async def _read(child: Process, seconds: float) -> str:
    """The next line of a child that has the sign; "" if the child ends first."""
    assert child.stdout is not None  # noqa: S101 - as asked for
    sign = _SIGN.encode()
    async with asyncio.timeout(seconds):
        while line := await child.stdout.readline():
            # A library may have printed something at the beginning of the line.
            _, found, said = line.partition(sign)
            if found:
                return said.decode("ascii").rstrip("\n")
    return ""


def _line_to_server() -> Callable[[str], None]:
    """In the child: a function that writes a line to the server. Other output goes to the standard error."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return lambda text: print(_SIGN + text, file=out, flush=True)


def _allowed_bytes(memory_bytes: int, path: Path) -> int:
    """The bytes of memory for a bundle's first load; for 0, by the size of the bundle's graph."""
    if memory_bytes:
        return memory_bytes
    try:
        size = (path / GRAPH).lstat().st_size
    except OSError:  # the loader refuses the bundle with the reason
        size = 0
    return max(_LEAST_BYTES, _BYTES_PER_GRAPH_BYTE * size)


def _memory_note(memory_bytes: int) -> str:
    """A sentence on how much memory a first load may take, and what bounds it."""
    note = f"a first load may take {memory_bytes} bytes (--trial-memory-bytes)"
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY:
        return note
    return f"{note}, and a process of this server {hard} bytes in all, which the system sets (ulimit -v)"


def _run_child(seconds: int, memory_bytes: int, threads: int, engine: str, kernel: str) -> None:
    """Run in the child: load the bundle of each line of the standard input."""
    say = _line_to_server()
    from scorewire_contract.service.logs import configure_logs  # noqa: PLC0415
    from scorewire_server.engine.factory import choose_engine  # noqa: PLC0415 - the parent needs no runtime of its own here
    from scorewire_server.loading.loader import load  # noqa: PLC0415
    from scorewire_server.settings import Settings  # noqa: PLC0415

    configure_logs("json", "error")
    kind = choose_engine(engine, kernel)
    # This engine is never started; it only tells whether it can hold a version.
    prepare = kind.make(Settings(), ()).prepare
    own_bytes = _address_space()
    open_graph = partial(kind.open_session, threads=threads)
    for line in sys.stdin:
        path, model, version = json.loads(line)
        allowed = _allowed_bytes(memory_bytes, Path(path))
        _bound_memory(own_bytes, allowed)
        say("ready")
        # The server kills a child that takes too long; the alarm does if the server is gone.
        signal.alarm(seconds + _ALARM_SECONDS)
        folder = BundleFolder(Path(path), model, version)
        record = load(
            folder, open_graph, prepare, compile_graph=kind.compile_graph, open_trees=kind.open_trees
        )
        signal.alarm(0)
        reason, digest = record.reason, record.loaded.digest if record.loaded is not None else ""
        del record
        if lacks_memory(reason):
            reason = f"{reason[:500]}; {_memory_note(allowed)}"
        say(json.dumps([reason[:_REASON_CHARACTERS], digest]))


def _address_space() -> int:
    """Bytes of this process's address space; 0 on systems without /proc."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0


def _bound_memory(own_bytes: int, memory_bytes: int) -> None:
    """Limit the address space to `memory_bytes` more than the process began with."""
    if own_bytes:
        wanted = own_bytes + memory_bytes
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


if __name__ == "__main__":
    _run_child(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:6])
