"""The first load of every bundle, in a process of its own with bounds on memory and time.

An audit cannot foresee what a graph will ask for when it runs. So a child loads
each bundle first; where it fails, or dies of it, the bundle is refused and the
server lives on. The child reads a candidate a line and answers with a reason a
line, "" for none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import resource
import signal
import sys
from functools import partial
from pathlib import Path

from scorewire_server.repository import Candidate

_START_SECONDS = 120
# A child that is idle for so long ends; the next bundle gets another.
_IDLE_SECONDS = 5.0
_ALARM_SECONDS = 2
_LINE_BYTES = 1 << 20


class Trial:
    """Tries candidates one after the other; to be used from one event loop."""

    def __init__(self, *, seconds: float, memory_bytes: int, threads: int, engine: str) -> None:
        self._seconds = seconds
        self._arguments = (str(math.ceil(seconds)), str(memory_bytes), str(threads), engine)
        self._child: asyncio.subprocess.Process | None = None
        self._idle: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the child ahead; best before there is a server, whose threads a fork would copy."""
        await self._start_child()
        self._idle = asyncio.create_task(self._close_when_idle())

    async def _start_child(self) -> asyncio.subprocess.Process:
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_LINE_BYTES,
        )
        return self._child

    async def refusal(self, candidate: Candidate) -> str:
        """Why a candidate must not be loaded here; "" where it may."""
        if self._idle is not None:
            self._idle.cancel()
        try:
            return await self._try(candidate)
        finally:
            self._idle = asyncio.create_task(self._close_when_idle())

    async def close(self) -> None:
        """End the child."""
        if self._idle is not None:
            self._idle.cancel()
        await self._end_child()

    async def _try(self, candidate: Candidate) -> str:
        child = self._child or await self._start_child()
        assert child.stdin is not None  # noqa: S101 - as asked for
        line = json.dumps([str(candidate.path), candidate.model, candidate.version])
        try:
            # A child that ended by itself takes no line.
            with contextlib.suppress(ConnectionError):
                child.stdin.write(line.encode() + b"\n")
                await child.stdin.drain()
            # The first line says that the child is ready, which has a time of its own.
            ready = await self._read(child, _START_SECONDS)
            answer = ready and await self._read(child, self._seconds)
        except TimeoutError:
            await self._end_child()
            return f"its first load took more than {self._seconds:g} seconds"
        if answer:
            return str(json.loads(answer))
        code = await child.wait()
        await self._end_child()
        return f"its first load ended the process that tried it (exit code {code})"

    async def _close_when_idle(self) -> None:
        await asyncio.sleep(_IDLE_SECONDS)
        await self._end_child()

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    async def _read(self, child: asyncio.subprocess.Process, seconds: float) -> bytes:
        assert child.stdout is not None  # noqa: S101 - as asked for
        async with asyncio.timeout(seconds):
            return await child.stdout.readline()


def _serve_trials(seconds: int, memory_bytes: int, threads: int, engine: str) -> None:
    """The child's side."""
    from scorewire_server.engine.choice import choose  # noqa: PLC0415 - the parent needs no runtime of its own here
    from scorewire_server.loader import load  # noqa: PLC0415
    from scorewire_server.logs import configure_logs  # noqa: PLC0415

    configure_logs("json", "error")
    open_session = choose(engine).open_session
    statm = Path("/proc/self/statm")
    # Address space is what a system can bound, and of those that we know only Linux does.
    if statm.exists():
        in_use = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + memory_bytes, resource.RLIM_INFINITY))
    open_graph = partial(open_session, threads=threads)
    for line in sys.stdin:
        path, model, version = json.loads(line)
        print("ready", flush=True)
        # The server ends what takes too long, and this does where the server is gone.
        signal.alarm(seconds + _ALARM_SECONDS)
        record = load(Candidate(Path(path), model, version), open_graph)
        signal.alarm(0)
        print(json.dumps(record.reason), flush=True)


if __name__ == "__main__":
    _serve_trials(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
