"""The progress of a command: on stderr for people, or as lines of JSON on stdout for programs."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from scorewire_training.cli.table_options import describe_notes
from scorewire_training.tables.notes import TableNote

# The progress within a stage, at the end of its sentence.
_STEP = re.compile(r"([0-9,]+) of ([0-9,]+)\)?$")
# For one stage, where stderr is not a terminal.
_SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What a sentence of progress tells.

    Attributes:
        sentence: the sentence.
        name: the sentence without the progress, the same for all steps of a stage.
        done: the steps that are done.
        total: the steps of the stage; None for a stage without steps.
    """

    sentence: str
    name: str
    done: int = 0
    total: int | None = None

    @classmethod
    def read(cls, sentence: str) -> Stage:
        """Find the progress at the end of a sentence, if there is any."""
        step = _STEP.search(sentence)
        if step is None:
            return cls(sentence, sentence)
        done, total = (int(number.replace(",", "")) for number in step.groups())
        # In brackets stands the work that is done, otherwise the step in progress.
        done -= not sentence.endswith(")")
        return cls(sentence, sentence[: step.start()].rstrip(" ("), done, total)


class Stages(Protocol):
    """Shows the stages of a command."""

    def __call__(self, sentence: str, /) -> None:
        """Show the sentence of a stage."""

    def say(self, lines: Sequence[str], /) -> None:
        """Show lines that stay."""

    def show_notes(self, notes: Sequence[TableNote], /) -> None:
        """Show how a table is read."""


def show_stages(*, as_json: bool = False) -> AbstractContextManager[Stages]:
    """Yields what shows the sentence of a stage.

    A terminal shows one changing line, with a bar where the sentence has progress
    within the stage. Otherwise each stage is a line, and a long stage is repeated at
    intervals.

    Args:
        as_json: whether each stage is an object of JSON on stdout instead.
    """
    return _for_programs() if as_json else _for_people()


@contextmanager
def _for_people() -> Iterator[Stages]:
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


@contextmanager
def _for_programs() -> Iterator[Stages]:
    """Writes lines of JSON to stdout; what libraries print there goes to stderr meanwhile."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(os.dup(own), "w", encoding="utf-8") as file:
            yield _JsonLines(file)
    finally:
        sys.stdout.flush()
        os.dup2(own, 1)
        os.close(own)


def render_event(event: str, content: Mapping[str, Any]) -> str:
    """A line for programs: an object whose key `event` is stage, table or result."""
    return json.dumps({"event": event, **content}, ensure_ascii=False, allow_nan=False)


class _JsonLines:
    """Writes each event as a line of JSON."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def __call__(self, sentence: str) -> None:
        self._write("stage", asdict(Stage.read(sentence)))

    def say(self, lines: Sequence[str]) -> None:
        for line in lines:
            self(line)

    def show_notes(self, notes: Sequence[TableNote]) -> None:
        self._write("table", {"notes": [asdict(note) for note in notes]})

    def _write(self, event: str, content: Mapping[str, Any]) -> None:
        self._file.write(f"{render_event(event, content)}\n")
        self._file.flush()


class _Bar:
    """Writes sentences over each other, with a bar."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task("Starting", total=None)

    def __call__(self, sentence: str) -> None:
        stage = Stage.read(sentence)
        self._progress.update(self._task, description=sentence, completed=stage.done, total=stage.total)

    def say(self, lines: Sequence[str]) -> None:
        _write(self._progress.console, lines)

    def show_notes(self, notes: Sequence[TableNote]) -> None:
        self.say(describe_notes(notes))


class _Lines:
    """Writes sentences as lines; those of the same stage at intervals."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._told = 0.0

    def __call__(self, sentence: str) -> None:
        stage, now = Stage.read(sentence).name, time.monotonic()
        if stage != self._stage or now - self._told >= _SECONDS_BETWEEN_LINES:
            self._stage, self._told = stage, now
            _write(self._console, [f"{sentence} ..."])

    def say(self, lines: Sequence[str]) -> None:
        _write(self._console, lines)

    def show_notes(self, notes: Sequence[TableNote]) -> None:
        self.say(describe_notes(notes))


def _write(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
