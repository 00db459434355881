"""The certificates that clients show (mTLS): their authorities, and which ones these have revoked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from cryptography import x509

_LIST = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


class Revocations:
    """The certificates that revocation lists name. A list counts also after the time of its next update."""

    def __init__(self, lists: Iterable[x509.CertificateRevocationList]) -> None:
        self._serials: dict[x509.Name, set[int]] = {}
        for each in lists:
            self._serials.setdefault(each.issuer, set()).update(entry.serial_number for entry in each)

    def revoked(self, certificate: bytes) -> bool:
        """Whether a certificate, in DER, is revoked. A certificate of an authority without a list is not."""
        if not self._serials:
            return False
        read = x509.load_der_x509_certificate(certificate)
        return read.serial_number in self._serials.get(read.issuer, ())


# The files are read again and again, and seldom change.
@lru_cache(maxsize=1)
def read_revocations(authorities: bytes, lists: bytes | None) -> Revocations:
    """Read the revocation lists of authorities, both as PEM, after a check of both.

    Raises:
        ValueError: there is no authority or no list, a part cannot be read, or a list is not signed by one of
            the authorities.
    """
    signers = x509.load_pem_x509_certificates(authorities)
    if lists is None:
        return Revocations(())
    read = [x509.load_pem_x509_crl(each) for each in _LIST.findall(lists)]
    if not read:
        raise ValueError("there is no revocation list in PEM")
    for each in read:
        # By the bytes of the names, as rustls compares them.
        name = each.issuer.public_bytes()
        keys = [signer.public_key() for signer in signers if signer.subject.public_bytes() == name]
        if not any(each.is_signature_valid(key) for key in keys):  # type: ignore[arg-type]
            text = each.issuer.rfc4514_string()
            raise ValueError(f"the revocation list of {text!r} is signed by none of the authorities")
    return Revocations(read)
