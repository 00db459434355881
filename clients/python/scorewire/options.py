"""The address and TLS options of every command that calls a server, and its error messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from scorewire._channels import TLS
from scorewire._errors import DeadlineExceededError, NotFoundError, ScorewireError, UnavailableError
from scorewire.addresses import DEFAULT_PORT, Address

DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"
_PEM = click.Path(exists=True, dir_okay=False, path_type=Path)


def server_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --address and the TLS options to a command, which gets `address` and `tls`, a `TLS` or None.

    The address of one server has a port.
    """

    @click.option(
        "--address",
        default=DEFAULT_ADDRESS,
        show_default=True,
        help="Where the server listens: HOST, HOST:PORT, several separated by commas, dns:///HOST:PORT for"
        " all addresses of a name, or unix:PATH.",
    )
    @click.option("--tls", is_flag=True, help="Use TLS, and trust the authorities that gRPC ships.")
    @click.option("--tls-ca", type=_PEM, help="PEM of the authorities to trust; implies --tls.")
    @click.option("--tls-cert", type=_PEM, help="PEM of the client's certificate.")
    @click.option("--tls-key", type=_PEM, help="PEM of the client's key.")
    @click.option(
        "--tls-server-name", help="Name in the server's certificate, if it is not that of the address."
    )
    @wraps(command)
    def with_server(
        *,
        address: str,
        tls: bool,
        tls_ca: Path | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        tls_server_name: str | None,
        **others: Any,
    ) -> None:
        security = None
        if (tls_cert is None) != (tls_key is None):
            raise click.UsageError("--tls-cert and --tls-key come together")
        if tls or any((tls_ca, tls_cert, tls_server_name)):
            try:
                security = TLS.from_files(
                    root_certificates=tls_ca,
                    certificate_chain=tls_cert,
                    private_key=tls_key,
                    server_name=tls_server_name,
                )
            except OSError as error:
                raise click.UsageError(f"{error.filename} cannot be read: {error.strerror}") from None
        try:
            parsed = Address(address)
        except ValueError as error:
            raise click.UsageError(f"--address: {error}") from None
        command(address=address if parsed.endpoints else parsed.uri(), tls=security, **others)

    return with_server


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Turn errors of calls into messages for the user of a command.

    Raises:
        ClickException: a call in the block failed.
    """
    try:
        yield
    except (UnavailableError, DeadlineExceededError) as error:
        if error.reason:
            # Only a server that answers gives a reason.
            raise click.ClickException(f"{error.code.name}: {error}") from error
        raise click.ClickException(f"no answer from a server at {address}: {error}") from error
    except NotFoundError as error:
        raise click.ClickException(f"{error} (at {address})") from error
    except ScorewireError as error:
        raise click.ClickException(f"{error.code.name}: {error}") from error
