"""Reads and checks the certificate and the private key of the server, and the authorities of clients."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from scorewire_contract.service.start import StartError
from scorewire_server.engine.port import Certificate
from scorewire_server.settings import Settings

_READS = 3
_KEY_MARK = b"PRIVATE KEY-----"
_VERSION, _UTC_TIME = 0xA0, 0x17
_LONG_LENGTH = 0x80


def read_certificate(settings: Settings) -> Certificate | None:
    """Read the files of --tls-cert, --tls-key, --tls-client-ca and --tls-client-crl; None without TLS.

    Raises:
        StartError: a file cannot be read, the first two are no valid certificate and key, or the others no
            authorities and no revocation lists of theirs.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None or key is None:
        return None
    try:
        chain, private_key = _read_pair(cert, key)
        certificate = Certificate(chain, private_key, *_validity(chain))
    except (OSError, ValueError) as error:
        raise StartError(f"--tls-cert {cert} and --tls-key {key} cannot be used: {error}") from None
    if settings.tls_client_ca is None:
        return certificate
    authorities, lists = _read_client_files(settings.tls_client_ca, settings.tls_client_crl)
    return replace(certificate, client_ca=authorities, client_crl=lists)


def _read_client_files(ca: Path, crl: Path | None) -> tuple[bytes, bytes | None]:
    """The contents of --tls-client-ca and --tls-client-crl.

    Raises:
        StartError: a file cannot be read, or is not what it should be.
    """
    # Only servers that ask clients for certificates load the library.
    from scorewire_server.engine.revocations import parse_authorities, parse_revocations  # noqa: PLC0415

    names = f"--tls-client-ca {ca}" + ("" if crl is None else f" and --tls-client-crl {crl}")
    try:
        authorities, lists = ca.read_bytes(), None if crl is None else crl.read_bytes()
        if lists is None:
            parse_authorities(authorities)
        else:
            parse_revocations(authorities, lists)
    except (OSError, ValueError) as error:
        raise StartError(f"{names} cannot be used: {error}") from None
    return authorities, lists


def _read_pair(cert: Path, key: Path) -> tuple[bytes, bytes]:
    """The contents of both files; they are read again if one changes while they are checked.

    Raises:
        OSError: a file cannot be read, or OpenSSL cannot use the pair.
        ValueError: the key is encrypted, or the files keep changing.
    """
    for _ in range(_READS):
        pair = cert.read_bytes(), key.read_bytes()
        if ssl.PEM_HEADER.encode() not in pair[0]:
            raise ValueError(f"{cert} has no certificate in PEM")
        if _KEY_MARK not in pair[1]:
            raise ValueError(f"{key} has no private key in PEM")
        if b"ENCRYPTED" in pair[1]:
            raise ValueError("the key is encrypted, and the server cannot ask for its passphrase")
        # OpenSSL says what is wrong with the pair; it takes paths only.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
        if pair == (cert.read_bytes(), key.read_bytes()):
            return pair
    raise ValueError("the files change while they are read")


def _validity(chain: bytes) -> tuple[datetime, datetime]:
    """The times from and until which the first certificate of a PEM file is valid.

    RFC 5280, section 4.1: Certificate and TBSCertificate are sequences. The second one
    has the version, the serial number, the algorithm, the issuer and then the validity,
    which is a sequence of two times.
    """
    text = chain.decode("ascii", "replace")
    begin, end = text.index(ssl.PEM_HEADER), text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)
    certificate = ssl.PEM_cert_to_DER_cert(text[begin:end])
    _, content = next(_elements(certificate))
    _, to_be_signed = next(_elements(content))
    fields = (each for each in _elements(to_be_signed) if each[0] != _VERSION)
    _, validity = next(islice(fields, 3, None))
    not_before, not_after = (_time(kind, value) for kind, value in _elements(validity))
    return not_before, not_after


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and the content of each element in DER-encoded data."""
    while data:
        length, begin = data[1], 2
        if length >= _LONG_LENGTH:
            begin += length - _LONG_LENGTH
            length = int.from_bytes(data[2:begin])
        yield data[0], data[begin : begin + length]
        data = data[begin + length :]


def _time(kind: int, value: bytes) -> datetime:
    text = value.decode("ascii")
    # RFC 5280, section 4.1.2.5.1: years with two digits stand for 1950 to 2049.
    year = text if kind != _UTC_TIME else f"{'19' if text >= '5' else '20'}{text}"
    return datetime.strptime(year, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
