"""The options that tell how a table is written, and how its reading is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from scorewire_training.tables.notes import TableNote

_F = TypeVar("_F", bound=Callable[..., Any])


def table_options(*, meanings: str, has_times: bool = True) -> Callable[[_F], _F]:
    """Add --column and the formats of values; the command gets the fields of `TableSettings`.

    Args:
        meanings: what a column can be, for the help of --column.
        has_times: whether a column can be a time; otherwise there is no --date-format.
    """
    options = (
        click.option(
            "--date-format",
            metavar="FORMAT",
            help="The format of times that are written as text, like %d/%m/%Y or '%m/%d/%Y %H:%M'. "
            "[default: the one that all values allow; if there are several, training asks for it]",
        ),
        click.option(
            "--encoding",
            metavar="NAME",
            help="The encoding of a CSV file, like windows-1252.  [default: UTF-8 if the file is UTF-8, else "
            "windows-1252]",
        ),
        click.option(
            "--decimal",
            metavar=".|,",
            help="The decimal mark of numbers that are written as text.  [default: the one that all values "
            "allow]",
        ),
        click.option(
            "--delimiter",
            metavar="CHARACTER",
            help="The character between the values of a CSV file; \\t is a tab.  [default: , ; tab or |, by "
            "the first rows]",
        ),
        click.option(
            "--column",
            "columns",
            multiple=True,
            metavar="MEANING=NAME",
            callback=_read_columns,
            help=f"The name of a column that the table calls otherwise, like customer=ID_CLIENTE. MEANING is "
            f"{meanings}. It can be given several times.",
        ),
    )

    def add(command: _F) -> _F:
        for option in options if has_times else options[1:]:
            command = option(command)
        return command

    return add


def describe_notes(notes: Sequence[TableNote]) -> list[str]:
    """The notes as aligned lines."""
    width = max((len(note.subject) for note in notes), default=0)
    lines = (
        f"  {note.subject:<{width}}  {note.text}{f' ({note.values})' if note.values else ''}"
        for note in notes
    )
    return ["How the table is read:", *lines]


def _read_columns(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for value in values:
        meaning, equals, name = value.partition("=")
        if not (meaning and equals and name):
            raise click.BadParameter(f"{value!r} is not like customer=ID_CLIENTE")
        if meaning in columns:
            raise click.BadParameter(f"{meaning} is given as {columns[meaning]} and as {name}: give one")
        columns[meaning] = name
    return columns
