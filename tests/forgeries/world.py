"""An access file with two issuers of tokens, and what honest and forged tokens are made of."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import get_default_algorithms

ISSUER, OTHER_ISSUER = "https://login.example/", "https://other.example/"
AUDIENCE = "scorewire"
LEEWAY = 30
SUBJECT = "service-shop"
API_KEY = "scorewire_0a1b2c3d_" + "5e" * 32
# The principal of each kind of honest credential.
SHOP, STATS = "shop", "stats"

Members: TypeAlias = Mapping[str, Any]
# Makes a token for a time in seconds since 1970.
Make: TypeAlias = Callable[[float], bytes]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, and how it is listed in the key set of an issuer."""

    key_id: str
    algorithm: str
    key: Any = field(repr=False)
    listed: Members

    def sign(self, data: bytes, algorithm: str | None = None) -> bytes:
        """A signature, also with an algorithm that the key is not meant for."""
        return bytes(get_default_algorithms()[algorithm or self.algorithm].sign(data, self.key))

    @property
    def public(self) -> Any:
        """The public key."""
        return self.key.public_key()


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token of a test.

    Attributes:
        name: what is special about it.
        make: makes it.
    """

    name: str
    make: Make

    def sendable(self, now: float) -> bool:
        """Whether a gRPC client sends it: printable ASCII, without space at the ends."""
        token = self.make(now)
        return (
            0 < len(token) <= 8192 and token == token.strip() and all(0x20 <= each < 0x7F for each in token)
        )


def signing_key(key_id: str, algorithm: str, key: Any, **members: Any) -> SigningKey:
    """A key that signs by an algorithm, with further members of its entry in a key set."""
    listed = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
    return SigningKey(key_id, algorithm, key, {**listed, "kid": key_id, **members})


def _rsa(key_id: str, bits: int = 2048, **members: Any) -> SigningKey:
    return signing_key(key_id, "RS256", rsa.generate_private_key(65537, bits), **members)


@cache
def keys() -> dict[str, SigningKey]:
    """The keys of the issuer, by their ids: those that may sign, and others that its key set lists."""
    made = [
        _rsa("rsa", alg="RS256", use="sig"),
        signing_key("ec", "ES256", ec.generate_private_key(ec.SECP256R1())),
        signing_key("ed", "EdDSA", ed25519.Ed25519PrivateKey.generate()),
        _rsa("both", key_ops=["verify"]),
        _rsa("weak", 1024),
        _rsa("for-encryption", use="enc"),
        _rsa("for-rs512", alg="RS512"),
        _rsa("for-wrapping", key_ops=["wrapKey"]),
        signing_key("p384", "ES384", ec.generate_private_key(ec.SECP384R1())),
        signing_key("p521", "ES512", ec.generate_private_key(ec.SECP521R1())),
        signing_key("k1", "ES256K", ec.generate_private_key(ec.SECP256K1())),
        signing_key("ed448", "EdDSA", ed448.Ed448PrivateKey.generate()),
    ]
    return {key.key_id: key for key in made}


@cache
def other_keys() -> dict[str, SigningKey]:
    """The keys of the other issuer; one has an id that a key of the first issuer has, too."""
    made = [
        _rsa("other-rsa"),
        _rsa("both"),
        signing_key("ec", "ES256", ec.generate_private_key(ec.SECP256R1())),
    ]
    return {key.key_id: key for key in made}


@cache
def stolen_names() -> dict[str, SigningKey]:
    """Keys of nobody, with the ids of the issuer's keys."""
    made = [
        _rsa("rsa"),
        signing_key("ec", "ES256", ec.generate_private_key(ec.SECP256R1())),
        signing_key("ed", "EdDSA", ed25519.Ed25519PrivateKey.generate()),
    ]
    return {key.key_id: key for key in made}


SECRET = b"a secret of HMAC that the key set lists"


def key_set() -> bytes:
    """The key set of the issuer."""
    secret = {"kty": "oct", "kid": "secret", "k": encode(SECRET).decode(), "alg": "HS256"}
    return json.dumps({"keys": [*(key.listed for key in keys().values()), secret]}).encode()


def write_world(folder: Path, jwks: str = "keys.json") -> Path:
    """Write the access file, and the key sets that it names; returns the access file.

    Args:
        folder: an empty folder.
        jwks: where the issuer's keys are; its file is written in any case.
    """
    (folder / "keys.json").write_bytes(key_set())
    (folder / "other.json").write_text(json.dumps({"keys": [key.listed for key in other_keys().values()]}))
    access = folder / "access.toml"
    access.write_text(f"""
[principals.{SHOP}]
predict = ["*"]
[[principals.{SHOP}.keys]]
id = "{API_KEY.split("_")[1]}"
sha256 = "{sha256(API_KEY.encode()).hexdigest()}"
[[principals.{SHOP}.tokens]]
issuer = "{ISSUER}"
subject = "{SUBJECT}"
[principals.{STATS}]
observe = ["*"]
[[principals.{STATS}.tokens]]
issuer = "{ISSUER}"
claims = {{ client_id = "stats", admin = true, level = 3 }}
[principals.other]
predict = ["*"]
[[principals.other.tokens]]
issuer = "{OTHER_ISSUER}"
subject = "service-other"
[[issuers]]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
jwks = "{jwks}"
algorithms = ["RS256", "ES256", "EdDSA"]
leeway_seconds = {LEEWAY}
[[issuers]]
issuer = "{OTHER_ISSUER}"
audience = "{AUDIENCE}"
jwks = "other.json"
algorithms = ["RS256"]
leeway_seconds = {LEEWAY}
""")
    return access


def encode(content: bytes) -> bytes:
    """A segment of a token: base64url without padding."""
    return urlsafe_b64encode(content).rstrip(b"=")


def claims(now: float, **changes: Any) -> dict[str, Any]:
    """The claims of an honest token; a change to `...` leaves a claim out."""
    made = {
        "iss": ISSUER,
        "sub": SUBJECT,
        "aud": AUDIENCE,
        "iat": int(now) - 10,
        "nbf": int(now) - 10,
        "exp": int(now) + 600,
        **changes,
    }
    return {name: value for name, value in made.items() if value is not ...}


def header(key: SigningKey, **changes: Any) -> dict[str, Any]:
    """The header of an honest token; a change to `...` leaves a member out."""
    made = {"alg": key.algorithm, "kid": key.key_id, "typ": "JWT", **changes}
    return {name: value for name, value in made.items() if value is not ...}


def dump(value: Any) -> bytes:
    """JSON as tokens have it."""
    return json.dumps(value, separators=(",", ":")).encode()


def compact(
    head: Members | bytes, payload: Members | bytes, sign: Callable[[bytes], bytes], *, encoded: bool = False
) -> bytes:
    """A token of a header and a payload, as JSON or, if `encoded`, as the segments themselves."""
    parts = [part if isinstance(part, bytes) else dump(part) for part in (head, payload)]
    data = b".".join(parts if encoded else map(encode, parts))
    return data + b"." + encode(sign(data))


def honest_token(now: float, key: SigningKey | None = None) -> bytes:
    """A token of the principal shop."""
    key = key or keys()["rsa"]
    return compact(header(key), claims(now), key.sign)


def with_claims(key_id: str = "ec", **changes: Any) -> Make:
    """Makes a token with other claims; a callable is called with the time."""

    def make(now: float) -> bytes:
        key = keys()[key_id]
        changed = {name: value(now) if callable(value) else value for name, value in changes.items()}
        return compact(header(key), claims(now, **changed), key.sign)

    return make


def with_header(key_id: str = "ec", **changes: Any) -> Make:
    """Makes a token with another header, signed with the key."""

    def make(now: float) -> bytes:
        key = keys()[key_id]
        return compact(header(key, **changes), claims(now), key.sign)

    return make
