"""Revocation lists are read whole, and only those that an authority signed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scorewire_server.engine.revocations import parse_authorities, parse_revocations
from tests.certificates import ClientAuthority, ClientCertificate


def der(certificate: ClientCertificate) -> bytes:
    return x509.load_pem_x509_certificate(certificate.chain.read_bytes()).public_bytes(Encoding.DER)


def test_the_certificates_of_all_lists_are_revoked_and_no_others(tmp_path: Path) -> None:
    one, two = ClientAuthority(tmp_path, "one"), ClientAuthority(tmp_path, "two")
    first, second, third = one.issue("first"), two.issue("second"), two.issue("third")
    lists = b"text before\n" + one.revocation_list(first) + b"between\n" + two.revocation_list(second)
    revocations = parse_revocations(one.file.read_bytes() + two.file.read_bytes(), lists)
    assert [revocations.has_der(der(each)) for each in (first, second, third)] == [True, True, False]
    # The number is that of one authority.
    both = one.file.read_bytes() + two.file.read_bytes()
    other = parse_revocations(both, two.revocation_list(first))
    assert not other.has_der(der(first))


def test_a_certificate_that_cannot_be_read_counts_as_revoked(tmp_path: Path) -> None:
    authority = ClientAuthority(tmp_path, "one")
    revocations = parse_revocations(authority.file.read_bytes(), authority.revocation_list())
    whole = der(authority.issue("client"))
    assert [revocations.has_der(each) for each in (whole, whole[:-1], b"")] == [False, True, True]


def test_lists_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    authority, other = ClientAuthority(tmp_path, "one"), ClientAuthority(tmp_path, "other")
    impostor = ClientAuthority(tmp_path / "impostor", "one")
    authorities, good = authority.file.read_bytes(), authority.revocation_list()
    for lists, reason in (
        (b"", "has no revocation list"),
        (authorities, "has no revocation list"),
        (good + good[:-30], "that does not end"),
        (good.replace(b"M", b"N"), "list 1"),
        (good + other.revocation_list(), "list 2 .* not in --tls-client-ca"),
        (impostor.revocation_list(), "signature is not that of"),
    ):
        with pytest.raises(ValueError, match=reason):
            parse_revocations(authorities, lists)


@pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_without_an_authority_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="--tls-client-ca has no certificates"):
        parse_authorities(content)
