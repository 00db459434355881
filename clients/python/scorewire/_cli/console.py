"""What `scorewire models` writes to the terminal: tables, progress and JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from scorewire._statistics import Distribution

if TYPE_CHECKING:
    from rich.console import Console

# A file or a pipe has no width of its own.
_WIDTH_WITHOUT_TERMINAL = 200
_QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)


def make_console(*, stderr: bool = False) -> Console:
    """A console of rich on the standard output, or on the standard error."""
    from rich.console import Console  # noqa: PLC0415 - needs an extra of the SDK

    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_WITHOUT_TERMINAL
    return console


@contextmanager
def spinner(message: str) -> Iterator[None]:
    """Show a spinner with a message while the block runs, if the standard error is a terminal."""
    console = make_console(stderr=True)
    if console.is_terminal:
        with console.status(message):
            yield
    else:
        yield


def wait(seconds: float) -> None:
    """Sleep, with a progress bar if the standard error is a terminal."""
    from rich.progress import Progress  # noqa: PLC0415 - needs an extra of the SDK

    console = make_console(stderr=True)
    end = time.monotonic() + seconds
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("counting calls", total=seconds)
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
            bar.update(task, completed=seconds - left)


def print_json(value: object) -> None:
    """Print a value of the SDK as JSON.

    A dataclass is an object with its fields, a `Distribution` also has its
    quantiles, and a number that is not finite is null.
    """
    click.echo(json.dumps(_to_json(value), indent=2, default=str))


def _to_json(value: Any) -> Any:
    if isinstance(value, Distribution):
        quantiles = {str(quantile): value.quantile(quantile) for quantile in _QUANTILES}
        return _to_json({"count": value.count, "quantiles": quantiles, "buckets": value.buckets})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
