"""The options of commands that call a server: address, TLS, credential, explanations; and error messages."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from scorewire._channels import TLS
from scorewire._credentials import Credentials, Token, TokenFile, plaintext_risk
from scorewire._errors import (
    DeadlineExceededError,
    NotFoundError,
    PermissionDeniedError,
    ScorewireError,
    TokenError,
    UnauthenticatedError,
    UnavailableError,
)
from scorewire._explain import Explain
from scorewire.addresses import DEFAULT_PORT, Address

DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"
# Has the API key where there is no --api-key-file. An argument with a key would be shown to all by `ps`.
API_KEY_VARIABLE = "SCOREWIRE_API_KEY"
# What --explain without a number stands for.
_ALL = "all"
_PEM = click.Path(exists=True, dir_okay=False, path_type=Path)
_CREDENTIAL_HINT = (
    f"the credential comes from --api-key-file or the variable {API_KEY_VARIABLE} (`scorewire keys new` makes"
    " one), or is the certificate of --tls-cert"
)
_RIGHT_HINT = (
    "the server's access file gives this caller no such right to the model: predict to score, observe to see"
    " statistics, control to change; it may also be that there is no such model"
)


def server_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --address, --api-key-file and the TLS options to a command.

    The command gets `address`, `tls`, a `TLS` or None, and `token`, what `Client` takes as such, or None.
    The address of one server has a port.
    """

    @click.option(
        "--address",
        default=DEFAULT_ADDRESS,
        show_default=True,
        help="Where the server listens: HOST, HOST:PORT, several separated by commas, dns:///HOST:PORT for"
        " all addresses of a name, or unix:PATH.",
    )
    @click.option(
        "--api-key-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="File with an API key, or another bearer token such as a JWT; read again when it changes."
        f"  [default: the variable {API_KEY_VARIABLE} has the key]",
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
        api_key_file: Path | None,
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
        token = _token(api_key_file)
        if token is not None and security is None and (risk := plaintext_risk(parsed)):
            click.echo(f"warning: {risk}", err=True)
        with warnings.catch_warnings():
            # Clients would say it once more, and name a line of code.
            warnings.filterwarnings("ignore", message="the credential goes to")
            command(
                address=address if parsed.endpoints else parsed.uri(), tls=security, token=token, **others
            )

    return with_server


def explain_options(*, help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:  # noqa: A002 - click's name
    """Add --explain and --explain-output to a command, which gets `explain`, an `Explain` or None.

    Args:
        help: what --explain does in this command.
    """

    def add(command: Callable[..., None]) -> Callable[..., None]:
        @click.option("--explain", "top_k", metavar="[K]", is_flag=False, flag_value=_ALL, help=help)
        @click.option(
            "--explain-output",
            default="",
            metavar="OUTPUT",
            help="The output to explain.  [default: the first that the version can explain]",
        )
        @wraps(command)
        def with_explain(*, top_k: str | None, explain_output: str, **others: Any) -> None:
            if top_k is None and explain_output:
                raise click.UsageError("--explain-output needs --explain")
            command(explain=None if top_k is None else _explain(top_k, explain_output), **others)

        return with_explain

    return add


def _explain(top_k: str, output: str) -> Explain:
    """What to explain.

    Raises:
        UsageError: `top_k` is neither a number of columns nor what stands for all of them.
    """
    try:
        found = Explain(top_k=0 if top_k == _ALL else int(top_k), output=output)
    except ValueError:
        found = None
    if found is None or not (found.top_k or top_k == _ALL):
        raise click.UsageError(f"--explain: {top_k!r} is not a number of columns, like 5")
    return found


def _token(file: Path | None) -> Token | None:
    """What gives the token of calls: a file, or else the variable; None without them.

    Raises:
        UsageError: there is no token in it.
    """
    if file is not None:
        try:
            return TokenFile(file)
        except TokenError as error:
            raise click.UsageError(f"--api-key-file: {error}") from None
    key = os.environ.get(API_KEY_VARIABLE, "").strip()
    if not key:
        return None
    try:
        Credentials(key, None)
    except ValueError as error:
        raise click.UsageError(f"{API_KEY_VARIABLE}: {error}") from None
    return lambda: key


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
    except TokenError as error:
        raise click.ClickException(str(error)) from error
    except UnauthenticatedError as error:
        raise click.ClickException(f"{error.code.name}: {error}; {_CREDENTIAL_HINT}") from error
    except PermissionDeniedError as error:
        hint = f"; {_RIGHT_HINT}" if error.reason == "PERMISSION_DENIED" else ""
        raise click.ClickException(f"{error.code.name}: {error}{hint}") from error
    except NotFoundError as error:
        raise click.ClickException(f"{error} (at {address})") from error
    except ScorewireError as error:
        raise click.ClickException(f"{error.code.name}: {error}") from error
