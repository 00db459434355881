"""What commands that read records have in common: where they read, errors, and a bar while they do."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from scorewire_records.cli.options import records_option
from scorewire_records.database import QueryError
from scorewire_records.folder_reader import FolderReader

# Reading less of the spool takes no noticeable time.
_SLOW_BYTES = 32 << 20


def folder_reader(command: Callable[..., None]) -> Callable[..., None]:
    """The option --records; the command gets the folder as `reader`. Errors end the command."""

    @records_option
    @functools.wraps(command)
    def with_reader(*, records: Path, **others: Any) -> None:
        with errors_for_people(), _Bar() as bar:
            command(reader=FolderReader(records, bar.tell), **others)

    return with_reader


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Turn what goes wrong while records are read into errors of the command line."""
    try:
        yield
    except QueryError as error:
        raise click.ClickException(str(error)) from None
    except BrokenPipeError:
        # Whoever reads the output has seen enough.
        raise click.exceptions.Exit(0) from None
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{named}{error.strerror or error}") from None


class _Bar:
    """Shows on a terminal how much of a large spool was read."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("Reading the spool"),
            BarColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, done: int, of: int) -> None:
        if of >= _SLOW_BYTES and self._progress.console.is_terminal:
            if self._task is None:
                self._progress.start()
                self._task = self._progress.add_task("spool", total=of)
            self._progress.update(self._task, completed=done)
            if done >= of:
                self._progress.stop()
