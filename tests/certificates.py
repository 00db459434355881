"""Certificates for TLS in tests, of an authority that is created in each run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trustme

SERVER_NAME = "scores.example"
_BEGIN = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files of an authority, and of a server (also for localhost) and a client that it signed."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    def server_pair(self) -> tuple[bytes, bytes]:
        """The server's key and certificate for grpc.ssl_server_credentials."""
        return self.server_key.read_bytes(), self.server.read_bytes()

    def server_flags(self) -> tuple[str | Path, ...]:
        """The flags of `scorewire serve` for TLS with the server's certificate."""
        return "--tls-cert", self.server, "--tls-key", self.server_key


def make_certificates(folder: Path, not_after: datetime | None = None) -> Certificates:
    """Make an authority, and certificates of it that expire at `not_after`."""
    authority = trustme.CA()
    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    files = [ca]
    for name, hosts in (("server", ("localhost", "127.0.0.1", SERVER_NAME)), ("client", ("client.example",))):
        made = authority.issue_cert(*hosts, not_before=_BEGIN, not_after=not_after)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        made.cert_chain_pems[0].write_to_path(str(certificate))
        made.private_key_pem.write_to_path(str(key))
        files += [certificate, key]
    return Certificates(*files)
