"""The progress of a command, on stderr: stdout has results only."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

# The progress within a stage, at the end of its sentence.
_STEP = re.compile(r"([0-9,]+) of ([0-9,]+)\)?$")
# For one stage, where stderr is not a terminal.
_SECONDS_BETWEEN_LINES = 5.0


class Stages(Protocol):
    """Shows the stages of a command."""

    def __call__(self, sentence: str, /) -> None:
        """Show the sentence of a stage."""

    def say(self, lines: Sequence[str], /) -> None:
        """Show lines that stay."""


@contextmanager
def show_stages() -> Iterator[Stages]:
    """Yields what shows the sentence of a stage.

    A terminal shows one changing line, with a bar where the sentence has progress
    within the stage. Otherwise each stage is a line, and a long stage is repeated at
    intervals.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(24),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress)


class _Bar:
    """Writes sentences over each other, with a bar."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task("Starting", total=None)

    def __call__(self, sentence: str) -> None:
        done, total = 0, None
        if step := _STEP.search(sentence):
            done, total = (int(number.replace(",", "")) for number in step.groups())
            # In brackets stands the work that is done, otherwise the step in progress.
            done -= not sentence.endswith(")")
        self._progress.update(self._task, description=sentence, completed=done, total=total)

    def say(self, lines: Sequence[str]) -> None:
        _write(self._progress.console, lines)


class _Lines:
    """Writes sentences as lines; those of the same stage at intervals."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._told = 0.0

    def __call__(self, sentence: str) -> None:
        stage, now = _STEP.sub("", sentence), time.monotonic()
        if stage != self._stage or now - self._told >= _SECONDS_BETWEEN_LINES:
            self._stage, self._told = stage, now
            _write(self._console, [f"{sentence} ..."])

    def say(self, lines: Sequence[str]) -> None:
        _write(self._console, lines)


def _write(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
