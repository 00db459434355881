"""Access files for tests: principals with API keys, and issuers that sign tokens (JWTs)."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomlkit
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from scorewire_server.access.editing import add_key
from scorewire_server.engine.access import Right

Algorithm = Literal["RS256", "ES256", "EdDSA"]
AUDIENCE = "scorewire"
_ES256_BYTES = 32


@dataclass(frozen=True, slots=True)
class Key:
    """An API key, as a caller shows it."""

    text: str

    @classmethod
    def make(cls) -> Key:
        """A new key."""
        return cls(f"scorewire_{secrets.token_hex(4)}_{secrets.token_hex(32)}")

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
    algorithm: Algorithm
    private: Any = field(repr=False)
    kid: str

    @classmethod
    def make(cls, name: str = "https://login.example/", algorithm: Algorithm = "RS256") -> Issuer:
        """An issuer with a new key."""
        private: Any
        if algorithm == "RS256":
            private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        elif algorithm == "ES256":
            private = ec.generate_private_key(ec.SECP256R1())
        else:
            private = ed25519.Ed25519PrivateKey.generate()
        return cls(name, algorithm, private, secrets.token_hex(8))

    def jwks(self) -> dict[str, Any]:
        """The public key as a JWK Set."""
        return {"keys": [{"kid": self.kid, "use": "sig", "alg": self.algorithm, **self._public()}]}

    def jwks_text(self) -> str:
        """The JWK Set as JSON."""
        return json.dumps(self.jwks())

    def entry(self, jwks: str | Path, **more: Any) -> dict[str, Any]:
        """The issuer's entry in an access file; `jwks` is a URL or a file."""
        return {
            "issuer": self.name,
            "audience": AUDIENCE,
            "jwks": str(jwks),
            "algorithms": [self.algorithm],
            **more,
        }

    def token(self, subject: str, *, seconds: float = 3600, **claims: Any) -> str:
        """A token that is valid for some time, with further claims or other values of them."""
        now = int(time.time())
        told = {"iss": self.name, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": int(now + seconds)}
        signed = f"{self.head(self.kid)}.{_encoded_json(told | claims)}"
        return f"{signed}.{_encoded(self._sign(signed.encode()))}"

    def head(self, kid: str) -> str:
        """The first part of a token that names a key."""
        return _encoded_json({"alg": self.algorithm, "typ": "JWT", "kid": kid})

    def _sign(self, data: bytes) -> bytes:
        if self.algorithm == "RS256":
            return bytes(self.private.sign(data, padding.PKCS1v15(), hashes.SHA256()))
        if self.algorithm == "ES256":
            r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(_ES256_BYTES) + s.to_bytes(_ES256_BYTES)
        return bytes(self.private.sign(data))

    def _public(self) -> dict[str, str]:
        public = self.private.public_key()
        if self.algorithm == "RS256":
            numbers = public.public_numbers()
            return {"kty": "RSA", "n": _encoded_number(numbers.n), "e": _encoded_number(numbers.e)}
        if self.algorithm == "ES256":
            numbers = public.public_numbers()
            place = {name: _encoded(getattr(numbers, name).to_bytes(_ES256_BYTES)) for name in ("x", "y")}
            return {"kty": "EC", "crv": "P-256", **place}
        return {"kty": "OKP", "crv": "Ed25519", "x": _encoded(public.public_bytes_raw())}


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _encoded_json(value: Mapping[str, Any]) -> str:
    return _encoded(json.dumps(value, separators=(",", ":")).encode())


def _encoded_number(value: int) -> str:
    return _encoded(value.to_bytes((value.bit_length() + 7) // 8))


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
