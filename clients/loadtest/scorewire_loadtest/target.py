"""Where calls go, and what they show: the address of a server, or of several, TLS, and a token."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

import grpc
import grpc.aio

from scorewire import TLS, AsyncClient, Token
from scorewire.addresses import Address, Endpoint

MAX_MESSAGE_BYTES = 64 << 20
_LOOK_UP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """An address as the SDK takes it, the TLS settings of connections to it, and what gives a token."""

    address: str
    tls: TLS | None = None
    token: Token | None = field(default=None, repr=False)

    def client(self, timeout_s: float) -> AsyncClient:
        """A client for calls beside the load.

        Raises:
            ValueError: the address is not valid.
        """
        return AsyncClient(self.address, timeout=timeout_s, tls=self.tls, token=self.token)

    def authorization(self) -> str | None:
        """What all calls of a run show, the same for each of them; None if they show nothing."""
        return None if self.token is None else f"Bearer {self.token()}"

    def endpoints(self) -> list[Endpoint]:
        """Host and port of each server; empty for a Unix socket, and for what only grpc knows.

        Raises:
            ValueError: the address is not valid.
        """
        return Address(self.address).servers()

    def addresses(self) -> list[Endpoint]:
        """The numeric addresses, which connections use in turn, with ports; empty as in `endpoints`.

        Of a host that has several addresses, it is the one that answers. Of an address that spreads
        calls, such as dns:///HOST:PORT, it is all of them.

        Raises:
            OSError: a host has no address.
            ValueError: the address is not valid.
        """
        is_spread = Address(self.address).is_spread
        found = []
        for host, port in self.endpoints():
            addresses = [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
            if not is_spread:
                addresses = [_answering(host, port) or addresses[0]]
            found += [Endpoint(address, port) for address in addresses]
        return list(dict.fromkeys(found))

    def server_name(self) -> str:
        """The name that the servers' certificates must have."""
        if self.tls is not None and self.tls.server_name:
            return self.tls.server_name
        endpoints = self.endpoints()
        return endpoints[0].host if endpoints else "localhost"

    def authority(self) -> str:
        """The authority of requests."""
        endpoints = self.endpoints()
        if (self.tls is not None and self.tls.server_name) or not endpoints:
            return self.server_name()
        return str(endpoints[0])

    def connect(self, turn: int) -> grpc.aio.Channel:
        """Open a channel with its own connection, and without retries, which would hide errors.

        Args:
            turn: the number of the connection, which chooses among several servers.

        Raises:
            OSError: a host has no address.
            ValueError: the address is not valid.
        """
        options: list[tuple[str, int | str]] = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ]
        address = Address(self.address)
        if address.is_spread and (addresses := self.addresses()):
            uri = str(addresses[turn % len(addresses)])
            options.append(("grpc.default_authority", self.authority()))
        else:
            uri = address.uri()
        if self.tls is None:
            return grpc.aio.insecure_channel(uri, options=options)
        if self.tls.server_name or uri != address.uri():
            options.append(("grpc.ssl_target_name_override", self.server_name()))
        credentials = grpc.ssl_channel_credentials(
            self.tls.root_certificates, self.tls.private_key, self.tls.certificate_chain
        )
        return grpc.aio.secure_channel(uri, credentials, options=options)


def _answering(host: str, port: int) -> str | None:
    """The address of a host that takes connections."""
    try:
        with socket.create_connection((host, port), timeout=_LOOK_UP_SECONDS) as connection:
            return str(connection.getpeername()[0])
    except OSError:
        return None
