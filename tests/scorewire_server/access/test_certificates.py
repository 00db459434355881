"""Client certificates: which principal they belong to, and the revocation lists."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from scorewire_server.access.client_certificates import verify_certificate
from scorewire_server.access.refusal import RefusedError
from scorewire_server.access.revocations import parse_revocations
from scorewire_server.access.rules import CertificateRules
from scorewire_server.access.tables import AccessError
from scorewire_server.engine.access import Grant, Principal
from scorewire_server.engine.revocations import Revocations
from tests.scorewire_server.access.authorities import DAY, NOW, authority, name

SHOP, OTHER = Principal("shop"), Principal("other")
DNS, URI = x509.DNSName("shop.internal"), x509.UniformResourceIdentifier("spiffe://prod/shop")
SECOND = timedelta(seconds=1)


def _rules() -> CertificateRules:
    rules = CertificateRules()
    rules.add(SHOP, "", {"dns": "shop.internal"})
    rules.add(SHOP, "", {"uri": "spiffe://prod/shop"})
    rules.add(OTHER, "", {"dns": "other.internal"})
    return rules


def _verify(der: bytes, revocations: Revocations | None = None) -> Grant:
    return verify_certificate(der, _rules(), revocations or Revocations(), NOW.timestamp())


@pytest.mark.parametrize(
    "names",
    [
        (DNS,),
        (URI,),
        (DNS, URI),
        (x509.DNSName("SHOP.internal"),),
        (x509.DNSName("unknown.internal"), DNS, x509.RFC822Name("a@b.example")),
    ],
    ids=str,
)
def test_a_name_of_a_certificate_gives_its_principal_until_it_expires(
    names: tuple[x509.GeneralName, ...],
) -> None:
    grant = _verify(authority("CA").issue(*names))
    assert grant == Grant(SHOP, (NOW + DAY).timestamp())


def test_a_certificate_for_clients_by_its_usage_is_accepted() -> None:
    for usage in (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE):
        der = authority("CA").issue(DNS, extensions=[x509.ExtendedKeyUsage([usage])])
        assert _verify(der).principal is SHOP


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((), "no principal has its names"),
        ((x509.DNSName("unknown.internal"),), "no principal has its names"),
        ((x509.DNSName("*.internal"),), "no principal has its names"),
        ((x509.DNSName("shop.internal."),), "no principal has its names"),
        ((x509.DNSName("shop.internal\0.evil.example"),), "no principal has its names"),
        ((x509.DNSName("a.shop.internal"),), "no principal has its names"),
        ((x509.UniformResourceIdentifier("spiffe://prod/Shop"),), "no principal has its names"),
        ((x509.UniformResourceIdentifier("spiffe://prod/shop/"),), "no principal has its names"),
        ((x509.UniformResourceIdentifier("https://shop.internal"),), "no principal has its names"),
        ((x509.DNSName("spiffe://prod/shop"),), "no principal has its names"),
        ((x509.UniformResourceIdentifier("shop.internal"),), "no principal has its names"),
        ((x509.RFC822Name("shop.internal"),), "no principal has its names"),
        ((x509.DirectoryName(name("shop.internal")),), "no principal has its names"),
        ((DNS, x509.DNSName("other.internal")), "several principals have rules that fit: other, shop"),
        ((URI, x509.UniformResourceIdentifier("spiffe://prod/a")), "a SPIFFE id and another URI"),
        ((URI, x509.UniformResourceIdentifier("https://a.example")), "a SPIFFE id and another URI"),
    ],
    ids=str,
)
def test_other_names_give_no_principal(names: tuple[x509.GeneralName, ...], reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        _verify(authority("CA").issue(*names, common_name="shop.internal"))


@pytest.mark.parametrize(
    ("begin", "end", "reason"),
    [
        (NOW + SECOND, NOW + DAY, "it is not valid yet"),
        (NOW - DAY, NOW, "it has expired"),
        (NOW - DAY, NOW - SECOND, "it has expired"),
    ],
)
def test_the_time_decides_to_the_second(begin, end, reason) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RefusedError, match=reason):
        _verify(authority("CA").issue(DNS, begin=begin, end=end))
    assert _verify(authority("CA").issue(DNS, begin=NOW, end=NOW + SECOND)).principal is SHOP


@pytest.mark.parametrize(
    ("extension", "reason"),
    [
        (x509.BasicConstraints(ca=True, path_length=None), "it is that of an authority"),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), "it is not for clients"),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), "it is not for clients"),
    ],
)
def test_a_certificate_for_something_else_is_refused(extension: x509.ExtensionType, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        _verify(authority("CA").issue(DNS, extensions=[extension]))


@pytest.mark.parametrize(
    "der", [b"", b"\0", b"0\x80", b"0\x84\xff\xff\xff\xff", bytes(100), b"0" * 70_000, b"-----BEGIN CERT"]
)
def test_bytes_that_are_no_certificate_are_refused(der: bytes) -> None:
    with pytest.raises(RefusedError):
        _verify(der)


def test_a_certificate_with_a_broken_part_is_refused_or_means_the_same() -> None:
    """Whatever byte is changed, no other principal comes out, and no other error."""
    der = authority("CA").issue(DNS, URI)
    for place in range(len(der)):
        changed = der[:place] + bytes([der[place] ^ 0x41]) + der[place + 1 :]
        try:
            assert _verify(changed).principal is SHOP
        except RefusedError:
            continue


def test_revoked_certificates_are_refused_by_their_issuer_and_number() -> None:
    ca, second = authority("CA"), authority("second CA")
    revocations = parse_revocations([ca.pem + second.pem, ca.revoke(77, 78) + second.revoke(79)])
    for issuer, serial, revoked in (
        (ca, 77, True),
        (ca, 78, True),
        (ca, 79, False),
        (second, 77, False),
        (second, 79, True),
        (authority("third CA"), 77, False),
    ):
        der = issuer.issue(DNS, serial=serial)
        if revoked:
            with pytest.raises(RefusedError, match="it is revoked"):
                _verify(der, revocations)
        else:
            assert _verify(der, revocations).principal is SHOP


def test_an_authority_with_a_new_key_revokes_with_either() -> None:
    old, new = authority("CA"), authority("CA", 1)
    revocations = parse_revocations([old.pem + new.pem, old.revoke(77) + new.revoke(78)])
    for serial in (77, 78):
        for issuer in (old, new):
            with pytest.raises(RefusedError, match="it is revoked"):
                _verify(issuer.issue(DNS, serial=serial), revocations)


def test_a_list_that_should_have_been_replaced_applies_and_tells_its_time() -> None:
    ca = authority("CA")
    revocations = parse_revocations([ca.pem, ca.revoke(77, next_update=NOW - DAY)])
    assert revocations.next_updates == (("CN=CA", (NOW - DAY).timestamp()),)
    with pytest.raises(RefusedError, match="it is revoked"):
        _verify(ca.issue(DNS), revocations)


def test_text_around_the_lists_is_passed_over() -> None:
    ca = authority("CA")
    text = b"Certificate Revocation List:\n" + ca.revoke(77) + b"\nand\n" + ca.revoke(78) + b"end"
    assert parse_revocations([b"text\n" + ca.pem, text]).serials == {name("CA"): {77, 78}}


def test_lists_that_cannot_be_used_are_refused_as_a_whole() -> None:
    ca, forged, other = authority("CA"), authority("CA", 2), authority("other CA")
    good = ca.revoke(77)
    distribution = x509.IssuingDistributionPoint(
        full_name=None,
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=True,
        only_contains_attribute_certs=False,
    )
    for lists, reason in (
        (b"", "--tls-client-crl has no revocation list in PEM"),
        (ca.pem, "--tls-client-crl has no revocation list in PEM"),
        (good.replace(b"\nMI", b"\nM!"), "list 1 of --tls-client-crl cannot be used"),
        (good + ca.revoke(78)[:-30], "has a revocation list that does not end"),
        (good[:-30] + ca.revoke(78), "has a revocation list that does not end"),
        (good + forged.revoke(), "list 2 of --tls-client-crl cannot be used: its signature is not that of"),
        (good + other.revoke(), "list 2 .* 'CN=other CA', which is not in --tls-client-ca; add this"),
        (other.revoke(77, issuer="CA"), "its signature is not that of 'CN=CA'"),
        (ca.revoke(extensions=[(x509.DeltaCRLIndicator(1), True)]), "give whole lists"),
        (ca.revoke(extensions=[(distribution, True)]), "the certificates of other authorities"),
    ):
        with pytest.raises(AccessError, match=reason):
            parse_revocations([ca.pem, lists])
    with pytest.raises(AccessError, match="--tls-client-ca has no certificates in PEM"):
        parse_revocations([b"text", good])


def test_an_authority_is_recognised_in_another_encoding_of_its_name() -> None:
    ca = authority("CA")
    spelt = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "CA", _type=x509.name._ASN1Type.PrintableString)]
    )
    builder = (
        x509.CertificateBuilder(spelt, name("client"))
        .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        .serial_number(77)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.SubjectAlternativeName([DNS]), critical=False)
    )
    der = builder.sign(ca.key, SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(RefusedError, match="it is revoked"):
        _verify(der, parse_revocations([ca.pem, ca.revoke(77)]))
