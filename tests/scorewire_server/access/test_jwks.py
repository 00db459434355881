from __future__ import annotations

import json
from typing import Any

import pytest

from scorewire_server.access.jwks import parse_keys
from scorewire_server.access.tables import AccessError
from tests.forgeries.world import key_set, keys, stolen_names
from tests.scorewire_server.access.issuing import key_set_of, make_issuer

EC = keys()["ec"].listed


def _set(*entries: Any) -> bytes:
    return json.dumps({"keys": entries}).encode()


def test_only_keys_that_verify_tokens_of_the_issuer_are_taken() -> None:
    found = parse_keys(key_set(), make_issuer())
    assert {key_id: key.algorithm for key_id, key in found.items()} == {
        "rsa": "RS256",
        "ec": "ES256",
        "ed": "EdDSA",
        "both": "RS256",
    }


def test_keys_of_algorithms_that_the_issuer_does_not_use_are_left_out() -> None:
    found = parse_keys(key_set(), make_issuer(algorithms=frozenset({"EdDSA"})))
    assert list(found) == ["ed"]


@pytest.mark.parametrize(
    "changes",
    [
        {"kid": ...},
        {"kid": 1},
        {"kid": ""},
        {"kid": "a" * 257},
        {"use": "enc"},
        {"use": None},
        {"alg": "ES384"},
        {"alg": "none"},
        {"alg": "HS256"},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"kty": "RSA"},
        {"kty": ["EC"]},
        {"kty": ...},
        {"crv": "P-384"},
        {"crv": ...},
        {"crv": None},
        {"x": ...},
        {"x": 1},
        {"x": ""},
        {"x": EC["y"], "y": EC["y"]},
        {"x": "!" * 43},
        {"y": EC["y"][:-2]},
        {"d": "AAAA"},
    ],
    ids=",".join,
)
def test_a_key_that_is_none_is_left_out(changes: dict[str, Any]) -> None:
    entry = {name: value for name, value in {**EC, **changes}.items() if value is not ...}
    found = parse_keys(_set(entry, keys()["ed"].listed, "text", None, []), make_issuer())
    assert list(found) == ["ed"]


def test_a_private_key_in_the_set_is_left_out_since_others_have_it() -> None:
    from jwt.algorithms import get_default_algorithms

    key = keys()["rsa"]
    private = get_default_algorithms()["RS256"].to_jwk(key.key, as_dict=True)
    private |= {"kid": "rsa", "key_ops": ["sign", "verify"]}
    assert list(parse_keys(_set(private, EC), make_issuer())) == ["ec"]


def test_equal_keys_are_equal_and_others_are_not() -> None:
    first, again = (parse_keys(key_set_of("ec", "ed"), make_issuer()) for _ in range(2))
    assert first == again
    other = parse_keys(_set(stolen_names()["ec"].listed, keys()["ed"].listed), make_issuer())
    assert other["ec"] != first["ec"]
    assert other["ed"] == first["ed"]


def test_one_key_may_be_there_twice_but_two_keys_have_two_ids() -> None:
    assert list(parse_keys(_set(EC, EC), make_issuer())) == ["ec"]
    with pytest.raises(AccessError, match="two keys with the kid 'ec'"):
        parse_keys(_set(EC, stolen_names()["ec"].listed), make_issuer())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no key set"),
        (b"\xff", "no key set"),
        (b"[]", "it is no object"),
        (b"{}", 'no list "keys"'),
        (b'{"keys": {}}', 'no list "keys"'),
        (b'{"keys": [], "keys": []}', "a member twice"),
        (b'{"keys": ' + b"[" * 100_000, "too deep|no key set"),
        (b'{"keys": []}', "no public key with a kid for ES256, EdDSA, RS256"),
        (b'{"keys": [' + b",".join([b"1"] * 257) + b"]}", "257 keys; it may have 256"),
        (b"<html></html>", "no key set"),
    ],
)
def test_what_is_no_key_set_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(AccessError, match=reason):
        parse_keys(content, make_issuer())
