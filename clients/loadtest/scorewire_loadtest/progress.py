"""A progress bar on the terminal while calls are made."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from scorewire_loadtest.quantities import show_duration
from scorewire_loadtest.results import Second

# Drawing takes time from the load generator, so the progress bar is drawn rarely.
REDRAW_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The measured calls so far, and the last second."""

    answered: int
    failed: int
    wrong: int
    second: Second | None


class ProgressBar:
    """A context that shows the course of a run if the console is a terminal, and else nothing.

    Args:
        console: where to draw.
        warmup_s: length of the warm-up in seconds.
        duration_s: length of the measured part in seconds.
    """

    def __init__(self, console: Console, *, warmup_s: float, duration_s: float) -> None:
        self.is_shown = console.is_terminal
        self._warmup_s = warmup_s
        self._total_s = warmup_s + duration_s
        self._begin_s = time.monotonic()
        self._drawn_s = 0.0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[course]}"),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self.is_shown:
            self._begin_s = time.monotonic()
            self._task = self._bar.add_task("warming up", total=self._total_s, course="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_shown:
            self._bar.stop()

    def show(self, course: Course) -> None:
        """Draw, unless that was done a short time ago."""
        passed_s = time.monotonic() - self._begin_s
        if self._task is None or passed_s < self._drawn_s:
            return
        self._drawn_s = passed_s + REDRAW_S
        text = f"{course.answered:,} answered, {course.failed:,} failed, {course.wrong:,} wrong"
        if course.second is not None and course.second.p99_us is not None:
            text += f", {course.second.answered:,}/s, p99 {show_duration(course.second.p99_us)}"
        stage = "load" if passed_s < self._total_s else "last answers"
        stage = "warming up" if passed_s < self._warmup_s else stage
        self._bar.update(self._task, completed=min(passed_s, self._total_s), description=stage, course=text)
        self._bar.refresh()
