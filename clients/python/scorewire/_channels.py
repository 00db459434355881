"""How channels to a server are made: security, limits, keepalive and retries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

DEFAULT_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
# The server tolerates a ping every 30 seconds; see its keepalive settings.
KEEPALIVE_SECONDS = 60
_KEEPALIVE_TIMEOUT_SECONDS = 20

# Nothing but UNAVAILABLE is tried again: the server did not take those calls, or
# may take them twice. Rolling back twice would go too far.
# The throttle stops trying again once about half of the recent calls failed.
SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            },
            {"name": [{"service": "scorewire.v1.ModelService", "method": "Rollback"}]},
        ],
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.2},
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """How the connection is secured; every field may be left out. All are PEM.

    Attributes:
        root_certificates: whom to trust; None for the authorities that grpc ships.
        certificate_chain: the client's own certificate, for a server that asks for one.
        private_key: the key of `certificate_chain`.
        server_name: the name that the server's certificate is for, where it is
            not that of the address.
    """

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = None
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
        """The settings, read from PEM files.

        Raises:
            OSError: a file cannot be read.
            ValueError: there is a certificate without a key, or a key without one.
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
    """What the channels of a client have in common.

    Raises:
        ValueError: a setting is out of its range.
    """

    address: str
    count: int
    tls: TLS | None
    max_message_bytes: int

    def __post_init__(self) -> None:
        if not self.address:
            raise ValueError("address is HOST:PORT, not an empty text")
        if self.count < 1:
            raise ValueError(f"channels is a number of connections, at least 1, not {self.count!r}")
        if self.max_message_bytes < 1:
            raise ValueError(f"max_message_bytes is at least 1, not {self.max_message_bytes!r}")

    def options(self) -> list[tuple[str, Any]]:
        """Channel arguments of gRPC."""
        options: list[tuple[str, Any]] = [
            ("grpc.service_config", SERVICE_CONFIG),
            ("grpc.service_config_disable_resolution", 1),
            ("grpc.enable_retries", 1),
            # A larger request would not be tried again: grpc keeps what it may send twice.
            ("grpc.per_rpc_retry_buffer_size", self.max_message_bytes),
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            # Without it, channels to one address share one connection.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_SECONDS * 1000),
            ("grpc.http2.max_pings_without_data", 0),
        ]
        if self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Those of the TLS settings; None for a connection in the clear."""
        if self.tls is None:
            return None
        return grpc.ssl_channel_credentials(
            root_certificates=self.tls.root_certificates,
            private_key=self.tls.private_key,
            certificate_chain=self.tls.certificate_chain,
        )
