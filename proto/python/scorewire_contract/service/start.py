"""How a service begins: why it cannot start, and the file that tells others its addresses."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO, Any

import click

from scorewire_contract.service.stale_files import remove_stale_files


class StartError(Exception):
    """The service cannot start; the message says what to change."""


class CannotStart(click.ClickException):
    """The service cannot start: one line on the standard error, and the exit code of wrong usage."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the line, unless the standard error is closed."""
        with contextlib.suppress(OSError):
            super().show(file)


def write_port_file(path: Path, address: str, metrics_address: str | None) -> None:
    """Write the addresses, whole or not at all, for programs that wait for the file.

    Args:
        path: the file.
        address: HOST:PORT of the service, for the first line.
        metrics_address: HOST:PORT of the metrics, for the second line; None for no such line.

    Raises:
        StartError: the file cannot be written.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    remove_stale_files(path.parent, f".{path.name}.", including_running=False)
    lines = [address] if metrics_address is None else [address, metrics_address]
    try:
        scratch.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise StartError(f"--port-file {path} cannot be written: {error.strerror}") from None
