"""Asks a server whether it serves: `python -m scorewire_server.healthcheck HOST:PORT`.

Made for a container's HEALTHCHECK: exits with 0 if the server serves, else with 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import grpc
from grpc_health.v1 import health_pb2

from scorewire_server.control.descriptors import HEALTH


def check(
    address: str,
    service: str,
    timeout_seconds: float,
    tls_ca: Path | None,
    tls_server_name: str | None = None,
) -> str:
    """The state of a service: SERVING, NOT_SERVING, or the code and the text of the call's failure."""
    if tls_ca is None:
        channel = grpc.insecure_channel(address)
    else:
        options = [("grpc.ssl_target_name_override", tls_server_name)] if tls_server_name else []
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(tls_ca.read_bytes()), options)
    with channel:
        ask = channel.unary_unary(
            f"/{HEALTH}/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = ask(health_pb2.HealthCheckRequest(service=service), timeout=timeout_seconds)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


@click.command()
@click.argument("address")
@click.option("--service", default="", help="A service or a model; the whole server unless given.")
@click.option("--timeout-seconds", default=2.0, show_default=True, help="Time for the answer.")
@click.option(
    "--tls-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM file of who signed the certificate.",
)
@click.option("--tls-server-name", help="Name in the certificate, where ADDRESS has another one.")
def main(
    address: str, service: str, timeout_seconds: float, tls_ca: Path | None, tls_server_name: str | None
) -> None:
    """Ask the server at ADDRESS whether it serves."""
    state = check(address, service, timeout_seconds, tls_ca, tls_server_name)
    click.echo(state)
    sys.exit(0 if state == "SERVING" else 1)


if __name__ == "__main__":
    main()
