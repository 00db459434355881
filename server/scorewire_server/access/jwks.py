"""Key sets of issuers (JWKS, RFC 7517): the public keys that can verify their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from scorewire_server.access.issuers import ALGORITHMS, Issuer
from scorewire_server.access.strict_json import parse_object
from scorewire_server.access.tables import AccessError, show

MAX_KEY_ID = 256
MAX_SET_BYTES = 512 << 10
_MOST_KEYS = 256
_RSA_BITS = range(2048, 8192 + 1)
# The members of a public key, by its type.
_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key of an issuer.

    Attributes:
        key_id: its kid.
        algorithm: the one algorithm that it is used with.
        members: its values, as of the JWKS.
        key: the key, for PyJWT.
    """

    key_id: str
    algorithm: str
    members: tuple[str, ...]
    key: jwt.PyJWK = field(repr=False, compare=False)


def parse_keys(content: bytes, issuer: Issuer) -> dict[str, VerificationKey]:
    """The keys of a JWKS that can verify tokens of the issuer, by their ids.

    Keys for other purposes and algorithms are left out, as RFC 7517 wants.

    Raises:
        AccessError: the content is no JWKS, has no key to verify with, or two with one id.
    """
    try:
        entries = parse_object(content).get("keys")
    except ValueError as error:
        raise AccessError(f"this is no key set (JWKS): {error}") from None
    if not isinstance(entries, list):
        raise AccessError('this is no key set (JWKS): it has no list "keys"')
    if len(entries) > _MOST_KEYS:
        raise AccessError(f"the key set has {len(entries)} keys; it may have {_MOST_KEYS}")
    keys: dict[str, VerificationKey] = {}
    for entry in entries:
        key = _key(entry, issuer) if isinstance(entry, dict) else None
        if key is None:
            continue
        if keys.setdefault(key.key_id, key) != key:
            raise AccessError(f"the key set has two keys with the kid {show(key.key_id)}")
    if not keys:
        wanted = ", ".join(sorted(issuer.algorithms))
        raise AccessError(f"the key set has no public key with a kid for {wanted}")
    return keys


def _key(entry: Mapping[str, Any], issuer: Issuer) -> VerificationKey | None:
    """A key of a set; None if it is not one to verify tokens of the issuer with."""
    key_id, kty = entry.get("kid"), entry.get("kty")
    algorithm = _algorithm(entry)
    operations = entry.get("key_ops", ["verify"])
    if (
        algorithm not in issuer.algorithms
        or not isinstance(key_id, str)
        or not 0 < len(key_id) <= MAX_KEY_ID
        or entry.get("use", "sig") != "sig"
        or entry.get("alg", algorithm) != algorithm
        or not isinstance(operations, list)
        or "verify" not in operations
        # The private part of a key that others can read: whoever has it can make tokens.
        or "d" in entry
    ):
        return None
    members = {name: entry.get(name) for name in _MEMBERS[str(kty)]}
    values = tuple(value for value in members.values() if isinstance(value, str))
    if len(values) != len(members):
        return None
    try:
        key = jwt.PyJWK({"kty": kty, **members}, algorithm)
    except Exception:
        # Whatever the library says of a key that is none.
        return None
    if isinstance(key.key, RSAPublicKey) and key.key.key_size not in _RSA_BITS:
        return None
    return VerificationKey(key_id, str(algorithm), values, key)


def _algorithm(entry: Mapping[str, Any]) -> str | None:
    """The algorithm of a key, by its type and curve."""
    kind = entry.get("kty"), entry.get("crv")
    for algorithm, (kty, curve) in ALGORITHMS.items():
        if kind == (kty, curve) or (curve is None and kind[0] == kty):
            return algorithm
    return None
