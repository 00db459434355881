"""Certificates and revocation lists for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def name(text: str) -> x509.Name:
    """A name with a common name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority, with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        *names: x509.GeneralName,
        begin: datetime = NOW - DAY,
        end: datetime = NOW + DAY,
        serial: int = 77,
        common_name: str = "shop.internal",
        extensions: Iterable[x509.ExtensionType] = (),
    ) -> bytes:
        """A certificate of a client, in DER, with these subject alternative names."""
        builder = (
            x509.CertificateBuilder(self.certificate.subject, name(common_name))
            .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
            .serial_number(serial)
            .not_valid_before(begin)
            .not_valid_after(end)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(self.key, SHA256()).public_bytes(Encoding.DER)

    def revoke(
        self,
        *serials: int,
        next_update: datetime = NOW + DAY,
        issuer: str | None = None,
        extensions: Sequence[tuple[Any, bool]] = (),
    ) -> bytes:
        """A revocation list, in PEM."""
        subject = self.certificate.subject if issuer is None else name(issuer)
        builder = x509.CertificateRevocationListBuilder(subject, NOW - 2 * DAY, next_update)
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder(serial, NOW - DAY).build()
            builder = builder.add_revoked_certificate(revoked)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, SHA256()).public_bytes(Encoding.PEM)


@cache
def authority(text: str, number: int = 0) -> Authority:
    """An authority of a name; those with other numbers have other keys."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder(name(text), name(text))
        .public_key(key.public_key())
        .serial_number(number + 1)
        .not_valid_before(NOW - 1000 * DAY)
        .not_valid_after(NOW + 1000 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    return Authority(certificate, key)
