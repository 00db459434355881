from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from scorewire_contract.patterns import Patterns
from scorewire_server.access.access_file import AccessFile, Open, parse_access_file
from scorewire_server.access.issuers import KeysUrl
from scorewire_server.access.tables import AccessError
from scorewire_server.engine.access import PrincipalLimits, Rate, Right

FOLDER = Path("folder")
DIGESTS = [sha256(bytes([each])).hexdigest() for each in range(3)]
ISSUER = """
[[issuers]]
issuer = "https://login.example/"
audience = "scorewire"
jwks = "https://login.example/jwks.json"
algorithms = ["RS256"]
"""
KEY = f'[[principals.shop.keys]]\nid = "3f9a1c2b"\nsha256 = "{DIGESTS[0]}"\n'
RULE = '[[principals.shop.tokens]]\nissuer = "https://login.example/"\n'
CERTIFICATE = "[[principals.shop.certificates]]\n"
WHOLE = f"""
[open]
reflection = true
statistics = true

[failures]
per_second = 5
burst = 7.5

[principals.shop]
predict = ["repurchase", "game-*"]
observe = ["*"]
control = []
calls_per_second = 1000
calls_burst = 200
rows_per_second = 0.5
max_in_flight = 64
share = 2
{KEY}expires = 2096-01-01T00:00:00Z
{RULE}subject = "service-shop"
{RULE}claims = {{ client_id = "shop", admin = true, level = 3 }}
{CERTIFICATE}dns = "Shop.Internal"
{CERTIFICATE}uri = "spiffe://prod/shop"
[principals.admin]
control = ["*"]
{ISSUER}leeway_seconds = 0
cooldown_seconds = 10.5
max_stale_seconds = 3600
[[issuers]]
issuer = "here"
audience = "b"
jwks = "keys/here.json"
algorithms = ["ES256", "EdDSA"]
"""


def _parse(text: str) -> AccessFile:
    return parse_access_file(text.encode(), FOLDER / "access.toml")


def test_all_entries_are_read() -> None:
    file = _parse(WHOLE)
    assert file.open == Open(reflection=True, metrics=False, statistics=True)
    assert file.table.failures == Rate(5, 7.5)
    shop, admin = file.table.principals["shop"], file.table.principals["admin"]
    assert shop.rights == {
        Right.PREDICT: Patterns(frozenset({"repurchase"}), ("game-",)),
        Right.OBSERVE: Patterns(frozenset(), ("",)),
        Right.CONTROL: Patterns(),
    }
    assert shop.limits == PrincipalLimits(calls=Rate(1000, 200), rows=Rate(0.5, 1), in_flight=64, share=2.0)
    assert admin.limits == PrincipalLimits()
    assert admin.may(Right.CONTROL, "any")
    assert not admin.may(Right.PREDICT, "any")
    digest = bytes.fromhex(DIGESTS[0])
    assert file.key_ids == {"3f9a1c2b": digest}
    assert file.table.keys[digest].principal is shop
    assert file.table.keys[digest].expires == 3_976_214_400
    remote, local = file.issuers["https://login.example/"], file.issuers["here"]
    assert remote.keys == KeysUrl(True, "login.example", 443, "/jwks.json")
    assert (remote.leeway_seconds, remote.cooldown_seconds, remote.max_stale_seconds) == (0, 10.5, 3600)
    assert local.keys == FOLDER / "keys/here.json"
    assert local.algorithms == {"ES256", "EdDSA"}
    assert (local.leeway_seconds, local.cooldown_seconds, local.max_stale_seconds) == (30, 30, 86_400)
    assert file.certificates.principal_of(["shop.internal"], []) is shop
    assert file.certificates.principal_of([], ["spiffe://prod/shop"]) is shop
    assert file.certificates.principal_of(["other"], ["spiffe://prod/Shop"]) is None


def test_an_empty_file_lets_nobody_in_and_opens_nothing() -> None:
    file = _parse("")
    assert not file.table.principals
    assert not file.table.keys
    assert file.table.failures == Rate(100, 200)
    assert file.open == Open()


def test_an_expired_key_stays_in_the_table_with_its_end() -> None:
    file = _parse(KEY + "expires = 2020-01-01T00:00:00+01:00")
    assert [grant.expires for grant in file.table.keys.values()] == [1_577_833_200]


def test_a_key_appears_in_no_text_of_the_file() -> None:
    file = _parse(KEY)
    assert DIGESTS[0] not in repr(file)
    assert str(bytes.fromhex(DIGESTS[0])) not in repr(file.table)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[opne]", "the file has an unknown entry 'opne'; did you mean 'open'?"),
        ("[open]\nmetrix = true", "[open] has an unknown entry 'metrix'; did you mean 'metrics'?"),
        ('[open]\nmetrics = "yes"', "[open] metrics is 'yes'; it must be true or false"),
        ("open = 1", "[open] is 1; it must be a table"),
        ("principals = []", "[principals] is []; it must be a table"),
        ("principals.shop = 3", "[principals.shop] is 3; it must be a table"),
        ("[principals.Shop]", "[principals.'Shop']: the name of the principal 'Shop' must be 1 to 63"),
        ("[principals.shop]\npredcit = []", "[principals.shop] has an unknown entry 'predcit'; did you mean"),
        ('[principals.shop]\npredict = "*"', "[principals.shop] predict is '*'; it must be a list of texts"),
        ("[principals.shop]\npredict = [1]", "[principals.shop] predict is [1]; it must be a list of texts"),
        ('[principals.shop]\npredict = ["a", "a"]', "[principals.shop] predict has 'a' twice"),
        ('[principals.shop]\npredict = ["*-a"]', "[principals.shop] predict has '*-a'; it must be the name"),
        ('[principals.shop]\nobserve = ["a**"]', "[principals.shop] observe has 'a**'"),
        ('[principals.shop]\ncontrol = ["A"]', "[principals.shop] control has 'A'"),
        ('[principals.shop]\ncontrol = ["a?"]', "[principals.shop] control has 'a?'"),
        ('[principals.shop]\npredict = ["a\\n"]', "[principals.shop] predict is"),
        (
            f"[principals.shop]\npredict = {[f'm{each}' for each in range(1001)]}",
            "[principals.shop] predict has 1001 texts; it may have 1000",
        ),
        ("[principals.shop]\ncalls_per_second = 0", "[principals.shop] calls_per_second is 0; it must be"),
        ("[principals.shop]\ncalls_per_second = -1", "[principals.shop] calls_per_second is -1"),
        ("[principals.shop]\ncalls_per_second = nan", "[principals.shop] calls_per_second is nan"),
        ("[principals.shop]\ncalls_per_second = inf", "[principals.shop] calls_per_second is inf"),
        ("[principals.shop]\ncalls_per_second = true", "[principals.shop] calls_per_second is True"),
        ('[principals.shop]\ncalls_per_second = "1"', "[principals.shop] calls_per_second is '1'"),
        ("[principals.shop]\ncalls_burst = 3", "[principals.shop] calls_burst needs calls_per_second"),
        ("[principals.shop]\nrows_burst = 3", "[principals.shop] rows_burst needs rows_per_second"),
        (
            "[principals.shop]\nrows_per_second = 3\nrows_burst = 0",
            "[principals.shop] rows_burst is 0; it must be a number from 1 to",
        ),
        ("[principals.shop]\nmax_in_flight = 0", "[principals.shop] max_in_flight is 0; it must be a whole"),
        ("[principals.shop]\nmax_in_flight = 1.5", "[principals.shop] max_in_flight is 1.5"),
        ("[principals.shop]\nmax_in_flight = true", "[principals.shop] max_in_flight is True"),
        ("[principals.shop]\nshare = 0", "[principals.shop] share is 0"),
        ("[failures]\nburst = 0", "[failures] burst is 0"),
        ("[failures]\nrate = 0", "[failures] has an unknown entry 'rate'"),
        # Keys.
        ("[principals.shop.keys]\nid = 1", "[principals.shop.keys] must be tables: write [[principals"),
        ("[[principals.shop.keys]]", "[[principals.shop.keys]] number 1 has no id; write one"),
        (
            '[[principals.shop.keys]]\nid = "3f9a1c2b"',
            "[[principals.shop.keys]] number 1 has no sha256; write one",
        ),
        (KEY.replace("3f9a1c2b", "3F9A1C2B"), "number 1 id must be the 8 lowercase hex digits"),
        (KEY.replace("3f9a1c2b", "3f9a1c2"), "number 1 id must be the 8 lowercase hex digits"),
        (KEY.replace(DIGESTS[0], DIGESTS[0].upper()), "number 1 sha256 must be 64 lowercase hex digits"),
        (KEY.replace(DIGESTS[0], DIGESTS[0][:-2]), "number 1 sha256 must be 64 lowercase hex digits"),
        (KEY + 'expires = "2096-01-01"', "number 1 expires is '2096-01-01'; it must be a time with a zone"),
        (KEY + "expires = 2096-01-01", "number 1 expires is datetime.date(2096, 1, 1); it must be a time"),
        (KEY + "expires = 2096-01-01T00:00:00", "number 1 expires is 2096-01-01 00:00:00; it must be a time"),
        (KEY + "secret = 1", "[[principals.shop.keys]] number 1 has an unknown entry 'secret'"),
        (KEY + KEY.replace(DIGESTS[0], DIGESTS[1]), "number 2 id 3f9a1c2b is that of a key of shop, too"),
        (
            KEY + KEY.replace("3f9a1c2b", "00000000").replace("shop", "other"),
            "[[principals.other.keys]] number 1 sha256 is that of a key of shop, too",
        ),
        # Rules for tokens.
        (RULE + 'subject = "a"', "no [[issuers]] has this name; add it"),
        (RULE + ISSUER, "[[principals.shop.tokens]] number 1 fits all tokens of its issuer"),
        (RULE + "claims = {}" + ISSUER, "[[principals.shop.tokens]] number 1 fits all tokens of its issuer"),
        (RULE + 'subject = ""' + ISSUER, "number 1 subject is ''"),
        (RULE + "claims = { a = 1.5 }" + ISSUER, "number 1 claims 'a' is 1.5; it must be a text, a whole"),
        (RULE + 'claims = { a = ["b"] }' + ISSUER, "number 1 claims 'a' is ['b']"),
        (RULE + 'claims = { sub = "b" }' + ISSUER, "number 1 claims has sub; write it as subject"),
        (RULE + 'clams = { a = "b" }' + ISSUER, "has an unknown entry 'clams'; did you mean 'claims'?"),
        (
            f'{RULE}subject = "a"\n{RULE.replace("shop", "other")}subject = "a"{ISSUER}',
            "[[principals.other.tokens]] number 1 has the same claims as a rule of shop",
        ),
        # Certificates.
        (CERTIFICATE, "number 1 must have one of dns and uri"),
        (CERTIFICATE + 'dns = "a"\nuri = "b:c"', "number 1 must have one of dns and uri"),
        (CERTIFICATE + 'dns = "*.internal"', "number 1 dns is '*.internal'; it must be a whole name"),
        (CERTIFICATE + 'dns = "a b"', "number 1 dns is 'a b'; it must be a whole name"),
        (CERTIFICATE + 'uri = "shop"', "number 1 uri is 'shop'; it must be a whole URI"),
        (CERTIFICATE + 'cn = "shop"', "has an unknown entry 'cn'; its entries are dns, uri"),
        (
            CERTIFICATE + 'dns = "A"\n' + CERTIFICATE.replace("shop", "other") + 'dns = "a"',
            "[[principals.other.certificates]] number 1 dns a is one of shop, too",
        ),
        # Issuers.
        (ISSUER.replace("issuer = ", "isuer = "), "[[issuers]] number 1 has an unknown entry 'isuer'"),
        (ISSUER + ISSUER, "[[issuers]] number 2 is 'https://login.example/' again"),
        (ISSUER.replace('audience = "scorewire"', ""), "[[issuers]] number 1 has no audience; write one"),
        (ISSUER.replace('"scorewire"', '["scorewire"]'), "[[issuers]] number 1 audience is ['scorewire']"),
        (ISSUER.replace('algorithms = ["RS256"]', ""), "[[issuers]] number 1 has no algorithms; write one"),
        (ISSUER.replace("RS256", "HS256"), "algorithms has 'HS256'; it must be one of RS256, ES256, EdDSA"),
        (ISSUER.replace("RS256", "none"), "algorithms has 'none'"),
        (ISSUER.replace('"RS256"', ""), "algorithms is empty"),
        (ISSUER.replace('["RS256"]', '"RS256"'), "algorithms is 'RS256'; it must be a list"),
        (ISSUER + "leeway_seconds = 601", "leeway_seconds is 601; it must be a number from 0 to 600"),
        (ISSUER + "cooldown_seconds = 0", "cooldown_seconds is 0"),
        (ISSUER + "cooldown_seconds = 90\nmax_stale_seconds = 60", "is less than cooldown_seconds"),
        (ISSUER.replace("https://login.example/jwks", "http://login.example/jwks"), "must begin with https"),
        (ISSUER.replace("https://login.example/jwks", "ftp://login.example/jwks"), "jwks must be a URL like"),
        (ISSUER.replace("login.example/jwks", "user:secret@login.example/jwks"), "without a user"),
        (ISSUER.replace("jwks.json", "jwks.json#a"), "without a user and without a fragment"),
        (ISSUER.replace("login.example/jwks", "login.example:70000/jwks"), "jwks must be a URL like"),
        (ISSUER.replace("jwks.json", "jwks json"), "jwks must be a URL like"),
        # The form.
        ("[open", "folder/access.toml is no valid TOML"),
        ("[open]\n[open]", "is no valid TOML"),
        ("a" * 100 + "=" + "[" * 10_000, "is no valid TOML"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(text: str, where: str) -> None:
    with pytest.raises(AccessError) as caught:
        _parse(text)
    message = str(caught.value)
    assert message.startswith("folder/access.toml")
    assert where in message
    assert message.isprintable()
    assert len(message) < 400


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(AccessError, match="it is not UTF-8"):
        parse_access_file(b"\xff", FOLDER / "access.toml")


def test_a_secret_that_stands_in_the_wrong_place_is_not_shown() -> None:
    secret = "scorewire_3f9a1c2b_" + "5e" * 32
    for text in (
        KEY.replace(DIGESTS[0], secret),
        KEY.replace("3f9a1c2b", secret),
        KEY + f'key = "{secret}"',
        ISSUER.replace("login.example/jwks", f"user:{secret}@login.example/jwks"),
    ):
        with pytest.raises(AccessError) as caught:
            _parse(text)
        assert "5e5e" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://a.example", KeysUrl(True, "a.example", 443, "/")),
        ("https://a.example:8443/x?y=z", KeysUrl(True, "a.example", 8443, "/x?y=z")),
        ("http://127.0.0.1:8080/jwks", KeysUrl(False, "127.0.0.1", 8080, "/jwks")),
        ("http://localhost/jwks", KeysUrl(False, "localhost", 80, "/jwks")),
        ("http://[::1]:99/jwks", KeysUrl(False, "::1", 99, "/jwks")),
    ],
)
def test_keys_come_over_https_or_from_loopback(url: str, read: KeysUrl) -> None:
    file = _parse(ISSUER.replace("https://login.example/jwks.json", url))
    assert file.issuers["https://login.example/"].keys == read


def test_one_principal_may_have_many_rules_that_fit() -> None:
    file = _parse(f'{RULE}subject = "a"\n{RULE}claims = {{ b = 1 }}\n{ISSUER}')
    principal = file.tokens.principal_of("https://login.example/", {"sub": "a", "b": 1})
    assert principal is file.table.principals["shop"]
    assert file.tokens.principal_of("another", {"sub": "a", "b": 1}) is None
