"""What commands that read records have in common: where they read, errors, and a bar while they do."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from scorewire_records.cli.options import database_options
from scorewire_records.database import QueryError
from scorewire_records.folder_reader import FolderReader
from scorewire_records.parquet_store import ParquetStore
from scorewire_records.shipper_status import read_status

if TYPE_CHECKING:
    from scorewire_records.postgresql.connection import Database

# Reading less of the spool takes no noticeable time.
_SLOW_BYTES = 32 << 20


def any_reader(command: Callable[..., None]) -> Callable[..., None]:
    """The options --records and --from; the command gets the one given as `reader`. Errors end it."""

    @click.option(
        "--records",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR",
        help="The folder of records: what `scorewire serve --records` was given.",
    )
    @database_options("--from")
    @functools.wraps(command)
    def with_reader(*, records: Path | None, database: Database | None, **others: Any) -> None:
        if (records is None) == (database is None):
            raise click.UsageError("give --records for a folder, or --from for a database")
        with errors_for_people():
            if database is not None:
                # Who reads files needs no psycopg.
                from scorewire_records.postgresql.reader import PostgresReader  # noqa: PLC0415

                command(reader=PostgresReader(database), **others)
            elif records is not None:
                with folder_reader(records) as reader:
                    command(reader=reader, **others)

    return with_reader


@contextmanager
def folder_reader(records: Path) -> Iterator[FolderReader]:
    """A reader of a folder; people are told if most of its records are in a database."""
    status = read_status(records)
    if status is not None and status.store != ParquetStore.name:
        click.echo(
            f"The records of this folder go to {status.store}; the folder has only what waits for it."
            " scorewire records query, stats and status ask a database with --from.",
            err=True,
        )
    with _Bar() as bar:
        yield FolderReader(records, bar.tell)


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Turn what goes wrong while records are read into errors of the command line."""
    try:
        yield
    except QueryError as error:
        raise click.ClickException(str(error)) from None
    except RuntimeError as error:
        # So DuckDB tells of Ctrl-C.
        if str(error) == "Query interrupted":
            raise click.Abort from None
        raise
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
