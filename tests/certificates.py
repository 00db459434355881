"""Certificates for TLS in tests, of an authority that is created in each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

SERVER_NAME = "scores.example"
_BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
_END = datetime(2096, 1, 1, tzinfo=UTC)


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


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The PEM files of a client's certificate and its key, and its number."""

    chain: Path
    key: Path
    serial: int


class ClientAuthority:
    """An authority of clients' certificates, whose own certificate is in `file`, as PEM.

    Args:
        folder: where the files are written.
        name: the name of the authority, and of its files.
    """

    def __init__(self, folder: Path, name: str = "clients") -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        basic = x509.BasicConstraints(ca=True, path_length=None)
        made = self._signed(self._name, self._key, _END, (basic,))
        self.file = folder / f"{name}-ca.pem"
        self.file.write_bytes(made.public_bytes(Encoding.PEM))

    def issue(self, name: str, *names: x509.GeneralName, not_after: datetime = _END) -> ClientCertificate:
        """Issue a certificate whose subject alternative names are a SPIFFE id for `name`, and `names`."""
        key = ec.generate_private_key(ec.SECP256R1())
        uri = x509.UniformResourceIdentifier(f"spiffe://test/{name}")
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._signed(subject, key, not_after, (x509.SubjectAlternativeName([uri, *names]),))
        chain, key_file = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        chain.write_bytes(made.public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return ClientCertificate(chain, key_file, made.serial_number)

    def revocation_list(self, *revoked: ClientCertificate, next_update: datetime = _END) -> bytes:
        """A revocation list as PEM."""
        built = x509.CertificateRevocationListBuilder(self._name, _BEGIN, next_update)
        # RFC 5280, section 5.2, asks for both.
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        built = built.add_extension(authority, critical=False)
        built = built.add_extension(x509.CRLNumber(1), critical=False)
        for each in revoked:
            entry = x509.RevokedCertificateBuilder(each.serial, _BEGIN).build()
            built = built.add_revoked_certificate(entry)
        return built.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        not_after: datetime,
        extensions: Sequence[x509.ExtensionType],
    ) -> x509.Certificate:
        built = x509.CertificateBuilder(
            self._name, subject, key.public_key(), x509.random_serial_number(), _BEGIN, not_after
        )
        for each in extensions:
            built = built.add_extension(each, critical=isinstance(each, x509.BasicConstraints))
        return built.sign(self._key, SHA256())
