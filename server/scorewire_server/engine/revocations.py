"""The revocation lists of --tls-client-crl (RFC 5280, section 5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from scorewire_server.errors import clip

_BEGIN = b"-----BEGIN X509 CRL-----"
_LIST = re.compile(_BEGIN + rb".*?-----END X509 CRL-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Revocations:
    """The certificates that are revoked.

    Attributes:
        serials: the serial numbers of revoked certificates, by their issuer.
        next_updates: when each list should have been replaced, in seconds since 1970, by the text of its
            issuer; lists that do not say so are left out.
    """

    serials: dict[x509.Name, set[int]] = field(default_factory=dict, repr=False)
    next_updates: tuple[tuple[str, float], ...] = ()

    def has(self, certificate: x509.Certificate) -> bool:
        """Whether a certificate is revoked. One of an authority without a list is not."""
        return certificate.serial_number in self.serials.get(certificate.issuer, ())

    def has_der(self, certificate: bytes) -> bool:
        """Whether a certificate, in DER, is revoked; one that cannot be read counts as revoked."""
        try:
            return self.has(x509.load_der_x509_certificate(certificate))
        except (ValueError, UnsupportedAlgorithm, TypeError):
            return True


# The files are read again and again, and seldom change.
@lru_cache(maxsize=1)
def parse_revocations(authorities: bytes, lists: bytes) -> Revocations:
    """Read revocation lists.

    A list goes on to apply after its time for the next one, since a list is better
    than none.

    Args:
        authorities: the authorities of --tls-client-ca, as PEM.
        lists: the lists of --tls-client-crl, as PEM.

    Raises:
        ValueError: there is no authority or no list, or a list was not signed by an authority, or has only
            changes or the certificates of others.
    """
    signers = parse_authorities(authorities)
    found = _LIST.findall(lists)
    if not found:
        raise ValueError("--tls-client-crl has no revocation list in PEM")
    if len(found) != lists.count(_BEGIN):
        raise ValueError("--tls-client-crl has a revocation list that does not end")
    serials: dict[x509.Name, set[int]] = {}
    next_updates = []
    for number, pem in enumerate(found, 1):
        try:
            revoked = x509.load_pem_x509_crl(pem)
            _check(revoked, signers)
            serials.setdefault(revoked.issuer, set()).update(each.serial_number for each in revoked)
        except (ValueError, UnsupportedAlgorithm, TypeError, x509.DuplicateExtension) as error:
            raise ValueError(f"list {number} of --tls-client-crl cannot be used: {error}") from None
        if revoked.next_update_utc is not None:
            next_updates.append((revoked.issuer.rfc4514_string(), revoked.next_update_utc.timestamp()))
    return Revocations(serials, tuple(next_updates))


def parse_authorities(authorities: bytes) -> Sequence[x509.Certificate]:
    """Read the authorities of --tls-client-ca, as PEM.

    Raises:
        ValueError: there is none, or one cannot be read.
    """
    try:
        return x509.load_pem_x509_certificates(authorities)
    except ValueError as error:
        raise ValueError(f"--tls-client-ca has no certificates in PEM: {error}") from None


def _check(revoked: x509.CertificateRevocationList, authorities: Sequence[x509.Certificate]) -> None:
    """Check that an authority signed a list, and that the list is about its certificates.

    Raises:
        ValueError: it is not.
    """
    # By the bytes of the names, as rustls compares them.
    name = revoked.issuer.public_bytes()
    signers = [each for each in authorities if each.subject.public_bytes() == name]
    issuer = repr(clip(revoked.issuer.rfc4514_string()))
    if not signers:
        raise ValueError(
            f"it is of {issuer}, which is not in --tls-client-ca; add this authority's certificate"
        )
    if not any(_signed(revoked, each) for each in signers):
        raise ValueError(f"its signature is not that of {issuer}")
    for extension in revoked.extensions:
        value = extension.value
        if isinstance(value, x509.DeltaCRLIndicator):
            raise ValueError("it has only changes to another list (delta CRL); give whole lists")
        if isinstance(value, x509.IssuingDistributionPoint) and value.indirect_crl:
            raise ValueError("it has the certificates of other authorities (indirect CRL)")


def _signed(revoked: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    key = authority.public_key()
    # The method raises TypeError for keys that sign nothing.
    return revoked.is_signature_valid(key)  # type: ignore[arg-type]
