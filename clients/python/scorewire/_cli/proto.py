"""`scorewire proto`: print the typed schema of a model that a server serves."""

from __future__ import annotations

import click

from scorewire._channels import TLS
from scorewire._cli.connection import connected
from scorewire._credentials import Token
from scorewire.options import server_options

_EXAMPLES = """\b
Examples:
  scorewire proto churn > churn.proto
  protoc --go_out=. --go-grpc_out=. churn.proto"""


@click.command(epilog=_EXAMPLES)
@click.argument("model")
@click.option("--version", default="", help="Version or alias.  [default: the model's default version]")
@server_options
def proto(*, model: str, version: str, address: str, tls: TLS | None, token: Token | None) -> None:
    """Print the protobuf schema of MODEL's typed service, for protoc in any language.

    The server answers the typed service as well as the generic one. A field keeps
    its number within a major version, so a client works on when a minor version
    is added.
    """
    with connected(address, tls=tls, token=token) as client:
        click.echo(client.model(model, version).proto, nl=False)
