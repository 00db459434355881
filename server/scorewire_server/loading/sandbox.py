"""The first load of every bundle, in a process of its own with bounds on memory and time.

An audit cannot foresee what a graph will ask for when it runs. So a child loads
each bundle first; where it fails, or dies of it, the bundle is refused and the
server lives on. The child reads a folder a line and answers with a line: why
the bundle must not be loaded, "" where it may, and the digest of what was tried.
What a library prints there is passed over: each line of the child's has a sign.
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
from scorewire_server.catalog.repository import BundleFolder

_START_SECONDS = 120
# A child that is idle for so long ends; the next bundle gets another.
_IDLE_SECONDS = 5.0
_ALARM_SECONDS = 2
_LINE_BYTES = 1 << 20
# No reason says more in more characters.
_REASON_CHARACTERS = 10_000
_SIGN = "scorewire trial: "
# Where none is set. Forests have taken up to 25 bytes of memory for one of their graph.
_LEAST_BYTES = 4 << 30
_BYTES_PER_GRAPH_BYTE = 40
_STOPPING = "the server is about to stop"
# In what onnxruntime, numpy and Python say where memory is not to be had.
_MEMORY_SIGNS = ("MemoryError", "allocate memory", "bad_alloc")


class SandboxResult(NamedTuple):
    """What came of a trial: why the bundle must not be loaded, or "", and the bundle's digest."""

    reason: str
    digest: str = ""


class Sandbox:
    """Tries folders, up to `processes` of them at one time; to be used from one event loop."""

    def __init__(
        self, *, seconds: float, memory_bytes: int, threads: int, engine: str, processes: int = 1
    ) -> None:
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._arguments = (str(math.ceil(seconds)), str(memory_bytes), str(threads), engine)
        self._room = asyncio.Semaphore(processes)
        self._free: list[Process] = []
        self._busy: set[Process] = set()
        self._idle: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Start a child ahead; best before there is a server, whose threads a fork would copy."""
        self._free.append(await self._start_child())
        self._rest()

    async def try_load(self, folder: BundleFolder) -> SandboxResult:
        """Load a folder elsewhere first."""
        async with self._room:
            if self._idle is not None:
                self._idle.cancel()
            if self._closed:
                return SandboxResult(_STOPPING)
            child = self._free.pop() if self._free else await self._start_child()
            self._busy.add(child)
            tried = None
            try:
                # It was closed while the child started.
                tried = None if self._closed else await self._ask(child, folder)
                if tried is not None:
                    return tried
                code = await _ended(child)
                return SandboxResult(_STOPPING if self._closed else self._death(code, folder))
            except TimeoutError:
                return SandboxResult(f"its first load took more than {self._seconds:g} seconds")
            finally:
                self._busy.discard(child)
                if tried is not None and not self._closed:
                    self._free.append(child)
                else:
                    await _ended(child)
                if not self._busy:
                    self._rest()

    async def close(self) -> None:
        """End the children at once, whatever they do."""
        self._closed = True
        if self._idle is not None:
            self._idle.cancel()
        await asyncio.gather(*map(_ended, (*self._free, *self._busy)))
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
        """What a child says; None where it says nothing more.

        Raises:
            TimeoutError: it takes too long.
        """
        assert child.stdin is not None  # noqa: S101 - as asked for
        line = json.dumps([str(folder.path), folder.model, folder.version])
        # A child that ended by itself takes no line.
        with contextlib.suppress(ConnectionError):
            child.stdin.write(line.encode() + b"\n")
            await child.stdin.drain()
        # The first line says that the child is ready, which has a time of its own.
        ready = await _read(child, _START_SECONDS)
        answer = ready and await _read(child, self._seconds)
        return SandboxResult(*json.loads(answer)) if answer else None

    def _death(self, code: int, folder: BundleFolder) -> str:
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        note = _memory_note(_allowed_bytes(self._memory_bytes, folder.path))
        return f"its first load ended the process that tried it ({how}); {note}"

    def _rest(self) -> None:
        """End the children that are free once nothing was tried for a while."""
        if not self._closed:
            self._idle = asyncio.create_task(self._close_when_idle())

    async def _close_when_idle(self) -> None:
        await asyncio.sleep(_IDLE_SECONDS)
        free, self._free = self._free, []
        await asyncio.gather(*map(_ended, free))


async def _ended(child: Process) -> int:
    """End a child; its exit code is that of its own end, where it has ended already."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            # Not child.kill(), which takes the exit code of a child that has just ended for
            # itself, so that who waits for it is told 255.
            os.kill(child.pid, signal.SIGKILL)
    return await child.wait()


async def _read(child: Process, seconds: float) -> str:
    """What a child says next; "" where it says nothing more."""
    assert child.stdout is not None  # noqa: S101 - as asked for
    sign = _SIGN.encode()
    async with asyncio.timeout(seconds):
        while line := await child.stdout.readline():
            # Something that was printed may stand before it.
            _, found, said = line.partition(sign)
            if found:
                return said.decode("ascii").rstrip("\n")
    return ""


def _take_stdout() -> Callable[[str], None]:
    """What says a line to the server, in the child; what libraries print goes where its errors go."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return lambda text: print(_SIGN + text, file=out, flush=True)


def _allowed_bytes(memory_bytes: int, path: Path) -> int:
    """The memory for a bundle's first load: as set, or by the size of its graph where that is 0."""
    if memory_bytes:
        return memory_bytes
    try:
        size = (path / GRAPH).lstat().st_size
    except OSError:  # the loader says what is wrong with it
        size = 0
    return max(_LEAST_BYTES, _BYTES_PER_GRAPH_BYTE * size)


def _memory_note(memory_bytes: int) -> str:
    """How much memory a trial may take, and what bounds it."""
    note = f"a first load may take {memory_bytes} bytes (--trial-memory-bytes)"
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY:
        return note
    return f"{note}, and a process of this server {hard} bytes in all, which the system sets (ulimit -v)"


def _run_child(seconds: int, memory_bytes: int, threads: int, engine: str) -> None:
    """The child's side."""
    say = _take_stdout()
    from scorewire_server.engine.factory import choose_engine  # noqa: PLC0415 - the parent needs no runtime of its own here
    from scorewire_server.loading.loader import load  # noqa: PLC0415
    from scorewire_server.logs import configure_logs  # noqa: PLC0415
    from scorewire_server.settings import Settings  # noqa: PLC0415

    configure_logs("json", "error")
    kind = choose_engine(engine)
    # Never started: it only says whether it can hold a version.
    prepare = kind.make(Settings(), ()).prepare
    own_bytes = _address_space()
    open_graph = partial(kind.open_session, threads=threads)
    for line in sys.stdin:
        path, model, version = json.loads(line)
        allowed = _allowed_bytes(memory_bytes, Path(path))
        _bound_memory(own_bytes, allowed)
        say("ready")
        # The server ends what takes too long, and this does where the server is gone.
        signal.alarm(seconds + _ALARM_SECONDS)
        record = load(BundleFolder(Path(path), model, version), open_graph, prepare)
        signal.alarm(0)
        reason, digest = record.reason, record.loaded.digest if record.loaded is not None else ""
        del record
        if any(sign in reason for sign in _MEMORY_SIGNS):
            reason = f"{reason[:500]}; {_memory_note(allowed)}"
        say(json.dumps([reason[:_REASON_CHARACTERS], digest]))


def _address_space() -> int:
    """Bytes of this process's address space; 0 where the system does not tell, as Linux does."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0


def _bound_memory(own_bytes: int, memory_bytes: int) -> None:
    """Bound the address space to what the process began with and so many bytes more."""
    if own_bytes:
        wanted = own_bytes + memory_bytes
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


if __name__ == "__main__":
    _run_child(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
