"""The options of training commands for programs, and the errors of these commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from scorewire_training.errors import TrainingError

_F = TypeVar("_F", bound=Callable[..., Any])


def program_options(command: _F) -> _F:
    """Add --json and --check; the command gets `as_json` and `check`."""
    for option in (
        click.option(
            "--check",
            is_flag=True,
            help="Only check these settings, within a second; the table is not read.",
        ),
        click.option(
            "--json",
            "as_json",
            is_flag=True,
            help="Write lines of JSON to stdout, for programs: each stage with its progress, how the table "
            "is read, and the result. Errors are on stderr as always.",
        ),
    ):
        command = option(command)
    return command


@contextmanager
def explained() -> Iterator[None]:
    """End the command with the text of an error that its user can correct."""
    try:
        yield
    except TrainingError as error:
        raise click.ClickException(str(error)) from None
    except MemoryError:
        raise click.ClickException(
            "the memory does not suffice: take a smaller table, or a machine with more memory"
        ) from None
