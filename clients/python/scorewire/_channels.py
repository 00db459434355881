"""The settings of channels to a server: TLS, limits, keepalive and load balancing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from scorewire.addresses import Address

DEFAULT_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
# grpc's servers, the reference engine among them, accept a ping every 30 seconds at most.
KEEPALIVE_SECONDS = 60
_KEEPALIVE_TIMEOUT_SECONDS = 20

# A server that was away is tried again after 0.1 s, and then less often, up to this; gRPC's default is 120 s.
_FIRST_RECONNECT_SECONDS = 0.1
_MAX_RECONNECT_SECONDS = 3

# For several servers: calls go to the connected ones in turn, and a retry to the next one.
_ROUND_ROBIN: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
# DNS is asked again when a connection ends, and no more often than this; gRPC's default is 30 s.
_LEAST_SECONDS_BETWEEN_LOOKUPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """TLS settings of a connection. Every field is optional; keys and certificates are PEM.

    With `certificate_chain` and `private_key`, the server may know by the certificate who calls (mTLS).

    Attributes:
        root_certificates: the authorities to trust; None for those that grpc ships.
        certificate_chain: the client's certificate, for a server that asks for one.
        private_key: the key of `certificate_chain`.
        server_name: the host name in the server's certificate, where the address
            has another one.

    Raises:
        ValueError: there is a certificate without a key, or a key without a certificate.
    """

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate_chain is None) != (self.private_key is None):
            raise ValueError("certificate_chain and private_key come together")

    @classmethod
    def from_files(
        cls,
        *,
        root_certificates: str | Path | None = None,
        certificate_chain: str | Path | None = None,
        private_key: str | Path | None = None,
        server_name: str | None = None,
    ) -> TLS:
        """Read the settings from PEM files.

        Raises:
            OSError: a file cannot be read.
            ValueError: there is a certificate without a key, or a key without a certificate.
        """

        def read(path: str | Path | None) -> bytes | None:
            return None if path is None else Path(path).read_bytes()

        return cls(
            root_certificates=read(root_certificates),
            certificate_chain=read(certificate_chain),
            private_key=read(private_key),
            server_name=server_name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """The settings that all channels of a client share.

    Raises:
        ValueError: a setting is out of its range.
    """

    address: Address
    count: int
    tls: TLS | None
    max_message_bytes: int

    def __post_init__(self) -> None:
        if self.tls is not None and self.address.endpoints and self._server_name() is None:
            raise ValueError(
                "TLS with several addresses takes one name that is in all their certificates:"
                " TLS(server_name=...), or --tls-server-name"
            )
        if self.count < 1:
            raise ValueError(f"channels is a number of connections, at least 1, not {self.count!r}")
        if self.max_message_bytes < 1:
            raise ValueError(f"max_message_bytes is at least 1, not {self.max_message_bytes!r}")

    def options(self) -> list[tuple[str, Any]]:
        """The channel arguments for grpc."""
        options: list[tuple[str, Any]] = [
            ("grpc.service_config", json.dumps(_ROUND_ROBIN if self.address.is_spread else {})),
            ("grpc.service_config_disable_resolution", 1),
            # grpc itself makes a call again only where the server surely did not take it, as while it
            # drains. It keeps a copy of the request until then, and of none larger than this.
            ("grpc.enable_retries", 1),
            ("grpc.per_rpc_retry_buffer_size", self.max_message_bytes),
            ("grpc.dns_min_time_between_resolutions_ms", _LEAST_SECONDS_BETWEEN_LOOKUPS * 1000),
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            # Otherwise all channels to one address share one connection.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", round(_FIRST_RECONNECT_SECONDS * 1000)),
            ("grpc.max_reconnect_backoff_ms", _MAX_RECONNECT_SECONDS * 1000),
            ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_SECONDS * 1000),
            ("grpc.http2.max_pings_without_data", 0),
        ]
        if self.address.endpoints:
            # Otherwise the servers get the whole list as the name of their host.
            options.append(("grpc.default_authority", str(self.address.endpoints[0])))
        if self.tls is not None and (name := self._server_name()) is not None:
            options.append(("grpc.ssl_target_name_override", name))
        return options

    def _server_name(self) -> str | None:
        """The name that certificates must have; None for that of the address."""
        hosts = {endpoint.host for endpoint in self.address.endpoints}
        only = hosts.pop() if len(hosts) == 1 else None
        return (self.tls.server_name if self.tls is not None else None) or only

    def credentials(self) -> grpc.ChannelCredentials | None:
        """The credentials of the TLS settings; None for a connection without TLS."""
        if self.tls is None:
            return None
        return grpc.ssl_channel_credentials(
            root_certificates=self.tls.root_certificates,
            private_key=self.tls.private_key,
            certificate_chain=self.tls.certificate_chain,
        )
