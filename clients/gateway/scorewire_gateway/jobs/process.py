"""Runs the training tool in a process of its own, which never outlives the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scorewire_gateway.jobs.limits import JobLimits

PACKAGE = "scorewire_training"
_CHUNK_BYTES = 1 << 16
# A line of the tool; its result has the metrics of the model, and the notes on a table may have long names.
_MAX_LINE_BYTES = 4 << 20
_MAX_TEXT = 2_000
_CHECK_SECONDS = 60.0
_SECONDS_BETWEEN_LOOKS = 0.1
_ERROR = "Error: "
# A path with a folder at least; not a part of a URL.
_PATH = re.compile(r"(?<![\w:/.])/(?:[^\s'\",:;()/]+/)+([^\s'\",:;()/]*)")


def without_folders(text: str) -> str:
    """A text with paths cut down to names of files: the machine's folders are nobody's business."""
    return _PATH.sub(r"\1", text)


def child_environment(variables: Mapping[str, str], *, home: Path, temporary: Path) -> dict[str, str]:
    """The environment of a job: some variables of the gateway, which has secrets in others."""
    folders = {"HOME": str(home), "TMPDIR": str(temporary)}
    # Threads of OpenMP must not spin while answers wait for a core.
    return {**variables, **folders, "PYTHONUTF8": "1", "OMP_WAIT_POLICY": "passive"}


class TrainingProcess:
    """A run of the training tool.

    Attributes:
        errors: the text after "Error: " on stderr, which the tool writes for its user; "" without one.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._killed = False
        self.errors = ""

    @classmethod
    async def start(
        cls, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], limits: JobLimits
    ) -> TrainingProcess:
        """Start the tool with the arguments of `scorewire train`, in a folder.

        Raises:
            OSError: the process cannot be started.
        """
        python = [sys.executable, "-P", "-m"]
        bounds = [os.getpid(), limits.niceness, limits.memory_bytes, limits.disk_bytes]
        process = await asyncio.create_subprocess_exec(
            *python,
            "scorewire_gateway.jobs.child",
            *map(str, bounds),
            *python,
            PACKAGE,
            *arguments,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=folder,
            env=dict(environment),
            # So that whatever it starts ends with it.
            start_new_session=True,
        )
        return cls(process)

    async def follow(self, on_event: Callable[[dict[str, Any]], None], on_text: Callable[[str], None]) -> int:
        """Pass on what the tool tells until it ends; returns its exit code, negative for a signal.

        Args:
            on_event: called with each object of `--json`.
            on_text: called with each line of stderr, without the folders of this machine.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read_events(on_event))
                group.create_task(self._read_texts(on_text))
                group.create_task(self._end_what_is_left())
            return await self._process.wait()
        finally:
            self.kill()

    def kill(self) -> None:
        """End the tool and all that it has started, which may go on when the tool itself has ended."""
        # Only once: the number may belong to another process later.
        if not self._killed:
            self._killed = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def memory_bytes(self) -> int:
        """The memory that the tool takes now; 0 if it has ended."""
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    async def _end_what_is_left(self) -> None:
        """Once the tool has ended, end what it has started: that would keep the pipes open."""
        # Some releases of Python wait for the pipes in `wait`, too.
        while self._process.returncode is None:  # noqa: ASYNC110 - there is no event of it
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        self.kill()

    async def _read_events(self, on_event: Callable[[dict[str, Any]], None]) -> None:
        assert self._process.stdout is not None  # noqa: S101 - as asked for
        async for line in _lines(self._process.stdout):
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    on_event(event)

    async def _read_texts(self, on_text: Callable[[str], None]) -> None:
        assert self._process.stderr is not None  # noqa: S101 - as asked for
        async for line in _lines(self._process.stderr):
            text = without_folders(line.decode("utf-8", "replace").rstrip())
            text = "".join(each if each.isprintable() else "�" for each in text[:_MAX_TEXT])
            if text.startswith(_ERROR):
                self.errors = text.removeprefix(_ERROR)
            elif self.errors:
                # An error may have several lines, and is the last thing that the tool writes.
                self.errors = f"{self.errors}\n{text}"[:_MAX_TEXT]
            on_text(text)


async def check_settings(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], limits: JobLimits
) -> str:
    """Let the tool check settings; returns what is wrong with them, "" if nothing is.

    Raises:
        OSError: the process cannot be started.
        TimeoutError: the check took too long.
        RuntimeError: the tool failed without an error for its user; the text is the end of its stderr.
    """
    process = await TrainingProcess.start(arguments, folder=folder, environment=environment, limits=limits)
    texts: list[str] = []
    async with asyncio.timeout(_CHECK_SECONDS):
        code = await process.follow(lambda _: None, texts.append)
    if code and not process.errors:
        raise RuntimeError("\n".join(texts[-20:]))
    return process.errors if code else ""


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream; what is longer than _MAX_LINE_BYTES is cut off."""
    rest = b""
    while data := await stream.read(_CHUNK_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        rest = rest[:_MAX_LINE_BYTES]
        for line in lines:
            yield line
    if rest:
        yield rest
