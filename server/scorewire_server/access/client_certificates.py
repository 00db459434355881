"""Which principal a client certificate belongs to, and until when.

The engine has verified the certificate against the authorities of --tls-client-ca when
the connection was opened. What can change while a connection is open is checked here:
the time, and the revocation lists.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from scorewire_server.access.refusal import RefusedError
from scorewire_server.access.rules import AmbiguousError, CertificateRules
from scorewire_server.engine.access import Grant
from scorewire_server.engine.revocations import Revocations

_MAX_BYTES = 64 << 10
_SPIFFE = "spiffe:"
_FOR_CLIENTS = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


def verify_certificate(der: bytes, rules: CertificateRules, revocations: Revocations, now: float) -> Grant:
    """The grant of a certificate, by its subject alternative names; its common name says nothing.

    Args:
        der: the certificate.
        rules: the principals of names.
        revocations: the certificates that are revoked.
        now: seconds since 1970.

    Raises:
        RefusedError: the certificate cannot be read, is not valid now or revoked, or belongs to no principal.
    """
    if len(der) > _MAX_BYTES:
        raise RefusedError("it is too long")
    try:
        certificate = x509.load_der_x509_certificate(der)
        begin = certificate.not_valid_before_utc.timestamp()
        end = certificate.not_valid_after_utc.timestamp()
        revoked = revocations.has(certificate)
        dns_names, uris = _names(certificate.extensions)
    except RefusedError:
        raise
    except Exception as error:
        # The library has many exceptions for what it cannot read.
        raise RefusedError(f"it cannot be read ({type(error).__name__})") from None
    if now < begin:
        raise RefusedError("it is not valid yet")
    if now >= end:
        raise RefusedError("it has expired")
    if revoked:
        raise RefusedError("it is revoked")
    try:
        principal = rules.principal_of(dns_names, uris)
    except AmbiguousError as error:
        raise RefusedError(str(error)) from None
    if principal is None:
        raise RefusedError("no principal has its names")
    return Grant(principal, end)


def _names(extensions: x509.Extensions) -> tuple[list[str], list[str]]:
    """The DNS names and the URIs of a certificate for a client.

    Raises:
        RefusedError: it is for something else, or has two names where SPIFFE wants one.
    """
    dns_names: list[str] = []
    uris: list[str] = []
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise RefusedError("it is that of an authority")
        if isinstance(value, x509.ExtendedKeyUsage) and _FOR_CLIENTS.isdisjoint(value):
            raise RefusedError("it is not for clients, by its extended key usage")
        if isinstance(value, x509.SubjectAlternativeName):
            dns_names = value.get_values_for_type(x509.DNSName)
            uris = value.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) > 1 and any(uri.lower().startswith(_SPIFFE) for uri in uris):
        raise RefusedError("it has a SPIFFE id and another URI")
    return dns_names, uris
