"""`scorewire proto`: the typed schema of a model that a server serves."""

from __future__ import annotations

import click

from scorewire._channels import TLS
from scorewire._client import Client
from scorewire.options import explained, server_options

_EXAMPLES = """\b
Examples:
  scorewire proto churn > churn.proto
  protoc --go_out=. --go-grpc_out=. churn.proto"""


@click.command(epilog=_EXAMPLES)
@click.argument("model")
@click.option("--version", default="", help="Version or alias.  [default: the model's default version]")
@server_options
def proto(*, model: str, version: str, address: str, tls: TLS | None) -> None:
    """Print the protobuf schema of MODEL's typed service, for protoc in any language.

    The service is served beside the generic one. Its fields keep their numbers
    within a major, so that clients need not change when a version is added.
    """
    try:
        client = Client(address, tls=tls)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with client, explained(address):
        click.echo(client.model(model, version).proto, nl=False)
