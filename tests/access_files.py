"""Access files for tests: principals with API keys, and issuers that sign tokens (JWTs)."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomlkit
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from scorewire_server.access.editing import add_key
from scorewire_server.access.keys import make_key
from scorewire_server.engine.access import Right
from tests.forgeries.world import AUDIENCE, SigningKey, compact, dump, encode, header, signing_key

Algorithm = Literal["RS256", "ES256", "EdDSA"]
_PRIVATE_KEYS: Mapping[Algorithm, Callable[[], Any]] = {
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


@dataclass(frozen=True, slots=True)
class Key:
    """An API key, as a caller shows it."""

    text: str

    @classmethod
    def make(cls) -> Key:
        """A new key."""
        return cls(make_key().text)

    def entry(self, **more: Any) -> dict[str, Any]:
        """The key's entry in an access file, which has its hash only."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return {"id": self.text.split("_")[1], "sha256": digest, **more}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call with this key."""
        return bearer(self.text)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call with a token."""
    return (("authorization", f"Bearer {token}"),)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Signs tokens; `jwks` is what its endpoint answers."""

    name: str
    key: SigningKey

    @classmethod
    def make(cls, name: str = "https://login.example/", algorithm: Algorithm = "RS256") -> Issuer:
        """An issuer with a new key."""
        key_id, private = secrets.token_hex(8), _PRIVATE_KEYS[algorithm]()
        return cls(name, signing_key(key_id, algorithm, private, use="sig", alg=algorithm))

    def jwks(self) -> dict[str, Any]:
        """The public key as a JWK Set."""
        return {"keys": [self.key.listed]}

    def jwks_text(self) -> str:
        """The JWK Set as JSON."""
        return json.dumps(self.jwks())

    def entry(self, jwks: str | Path, **more: Any) -> dict[str, Any]:
        """The issuer's entry in an access file; `jwks` is a URL or a file."""
        return {
            "issuer": self.name,
            "audience": AUDIENCE,
            "jwks": str(jwks),
            "algorithms": [self.key.algorithm],
            **more,
        }

    def token(self, subject: str, *, seconds: float = 3600, **claims: Any) -> str:
        """A token that is valid for some time, with further claims or other values of them."""
        now = int(time.time())
        told = {"iss": self.name, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": int(now + seconds)}
        return compact(header(self.key), told | claims, self.key.sign).decode()

    def head(self, key_id: str) -> str:
        """The first part of a token that names a key."""
        return encode(dump(header(self.key, kid=key_id))).decode()


def write_access(file: Path, principals: Mapping[str, Mapping[str, Any]], **more: Any) -> Path:
    """Write an access file in one step; `more` has further tables, such as `issuers` and `open`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.next")
    scratch.write_text(tomlkit.dumps({**more, "principals": principals}), encoding="utf-8")
    scratch.chmod(0o600)
    scratch.replace(file)
    return file


def new_key(access: Path, name: str, *, limits: Mapping[str, float] | None = None, **rights: str) -> str:
    """A new key of a principal of an access file, which is made if need be.

    Args:
        access: the file.
        name: the principal; a new one if there are rights.
        limits: entries of the principal, such as `calls_per_second`.
        rights: patterns of models by right, separated by spaces.
    """
    patterns = {Right(right): models.split() for right, models in rights.items()}
    key = add_key(access, name, patterns, None)
    if limits:
        entries = "".join(f"{entry} = {value}\n" for entry, value in limits.items())
        head = f"[principals.{name}]\n"
        access.write_text(access.read_text().replace(head, head + entries))
    return key.text
