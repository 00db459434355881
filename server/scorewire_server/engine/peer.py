"""The other end of a connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a call's connection.

    Attributes:
        address: HOST:PORT or [IPv6]:PORT; "" if the engine does not know it.
        certificate: the client's certificate in DER; None if the client showed none. It was
            verified against the authorities of --tls-client-ca.
    """

    address: str = ""
    certificate: bytes | None = None

    @property
    def host(self) -> str:
        """The address without the port, and without the brackets of IPv6; "" if it is not known."""
        return self.address.rpartition(":")[0].removeprefix("[").removesuffix("]")
