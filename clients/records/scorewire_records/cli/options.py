"""Options that commands have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from scorewire_records.postgresql.connection import Database

_FILE_HELP = (
    "File with the password for the database, one line. Without it, PGPASSWORD or ~/.pgpass is used; a"
    " password in the URL is refused, since other users of the machine may see it."
)

records_option = click.option(
    "--records",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="The folder of records: what `scorewire serve --records` was given.",
)


def database_options(
    name: str = "--to", *, required: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option of this name and --password-file; the command gets them as `database`, maybe None."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @click.option(
            name,
            "url",
            required=required,
            metavar="URL",
            help="The PostgreSQL database: postgresql://USER@HOST:PORT/DATABASE, with libpq's parameters,"
            " such as ?sslmode=verify-full.",
        )
        @click.option(
            "--password-file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help=_FILE_HELP,
        )
        @functools.wraps(command)
        def with_database(*, url: str | None, password_file: Path | None, **others: Any) -> None:
            if url is None and password_file is not None:
                raise click.UsageError(f"--password-file is for the database of {name}")
            command(database=None if url is None else _database(url, password_file), **others)

        return with_database

    return decorate


def _database(url: str, password_file: Path | None) -> Database:
    # A shipper of files does without the memory of psycopg.
    from scorewire_records.postgresql.connection import Database, DatabaseError  # noqa: PLC0415

    try:
        return Database.of_url(url, password_file)
    except DatabaseError as error:
        raise click.UsageError(str(error)) from None
