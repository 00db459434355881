"""The connection of a command to its server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from scorewire._channels import TLS
from scorewire._client import Client
from scorewire._credentials import Token
from scorewire.options import explained


@contextmanager
def connected(address: str, *, tls: TLS | None, token: Token | None, **settings: Any) -> Iterator[Client]:
    """A client while the block runs; a failed call ends the command with a message for its user.

    Args:
        address: HOST:PORT of the server, or unix:PATH.
        tls: as in `Client`.
        token: as in `Client`.
        settings: other arguments of `Client`.

    Raises:
        UsageError: a setting is out of its range.
        ClickException: a call in the block failed.
    """
    try:
        client = Client(address, tls=tls, token=token, **settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with explained(address), client:
        yield client
