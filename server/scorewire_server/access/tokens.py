"""Reads and verifies JSON Web Tokens (RFC 7519), signed and in compact form (RFC 7515).

A token is read here strictly, so that it has one meaning, and PyJWT verifies its
signature only. What the token says of itself chooses among the keys of one issuer;
the algorithm is that of the key. Headers that name or contain other keys (`jku`,
`jwk`, `x5u`, `x5c`) are ignored.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from scorewire_server.access.issuers import ALGORITHMS, Issuer
from scorewire_server.access.jwks import MAX_KEY_ID, VerificationKey
from scorewire_server.access.refusal import RefusedError
from scorewire_server.access.strict_json import parse_object
from scorewire_server.engine.access import MAX_TOKEN_BYTES

_SEGMENT = re.compile(rb"[A-Za-z0-9_-]+")
_MAX_HEADER_BYTES = 4096
_MAX_ISSUER = 2048
_MAX_AUDIENCES = 100
_LAST_SECOND = 253_402_300_799  # of the year 9999
# What a token may say that it is: of RFC 7519, and an access token of RFC 9068.
_TYPES = {"jwt", "at+jwt", "application/jwt", "application/at+jwt"}
_JWS = jwt.PyJWS(algorithms=list(ALGORITHMS))


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A token that can be read; nothing that it says is known to be true.

    Attributes:
        issuer: the claim iss.
        key_id: the header kid.
        algorithm: the header alg.
        claims: all claims.
        text: the token.
    """

    issuer: str
    key_id: str
    algorithm: str
    claims: Mapping[str, Any] = field(repr=False)
    text: bytes = field(repr=False)


def read_token(text: bytes) -> UnverifiedToken:
    """Read a token, and verify nothing.

    Raises:
        RefusedError: it cannot be read, needs an extension, or is no token for access.
    """
    if len(text) > MAX_TOKEN_BYTES:
        raise RefusedError("it is too long")
    segments = text.split(b".")
    if len(segments) != 3:
        raise RefusedError("it is neither an API key nor a signed token")
    if len(segments[0]) > _MAX_HEADER_BYTES:
        raise RefusedError("its header is too long")
    header = _object("header", segments[0])
    claims = _object("payload", segments[1])
    _decode("signature", segments[2])
    if "crit" in header or "b64" in header:
        raise RefusedError("its header needs an extension")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise RefusedError("it is a token for something else, by its typ")
    return UnverifiedToken(
        issuer=_text("iss", claims.get("iss"), _MAX_ISSUER),
        key_id=_text("kid", header.get("kid"), MAX_KEY_ID),
        algorithm=_text("alg", header.get("alg"), MAX_KEY_ID),
        claims=claims,
        text=text,
    )


def verify_token(token: UnverifiedToken, issuer: Issuer, key: VerificationKey, now: float) -> float:
    """Verify a token with a key of its issuer; returns the time, in seconds since 1970, when it ends.

    Args:
        token: the token.
        issuer: the issuer that the token names.
        key: the key of this issuer that the token names.
        now: seconds since 1970.

    Raises:
        RefusedError: the signature or a claim is not valid.
    """
    if token.algorithm != key.algorithm or key.algorithm not in issuer.algorithms:
        raise RefusedError("its algorithm is not that of its key")
    try:
        _JWS.decode_complete(token.text, key.key, algorithms=[key.algorithm])
    except jwt.PyJWTError:
        raise RefusedError("its signature is not valid") from None
    return _check_claims(token.claims, issuer, now)


def _check_claims(claims: Mapping[str, Any], issuer: Issuer, now: float) -> float:
    leeway = issuer.leeway_seconds
    if claims.get("iss") != issuer.name:
        raise RefusedError("its issuer is another one")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if len(audiences) > _MAX_AUDIENCES or not all(isinstance(each, str) for each in audiences):
        raise RefusedError("its aud is neither a text nor a list of texts")
    if issuer.audience not in audiences:
        raise RefusedError("it is for another audience")
    if not isinstance(claims.get("sub", ""), str):
        raise RefusedError("its sub is no text")
    end = _time(claims, "exp")
    if end is None:
        raise RefusedError("it has no end (exp)")
    if now >= end + leeway:
        raise RefusedError("it has expired")
    for name, reason in (("nbf", "it is not valid yet"), ("iat", "it was issued in the future")):
        begin = _time(claims, name)
        if begin is not None and now < begin - leeway:
            raise RefusedError(reason)
    return end + leeway


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """A time in seconds since 1970; None if there is no such claim."""
    if name not in claims:
        return None
    value = claims[name]
    # False for NaN and for infinity, too; a bool is an int.
    if type(value) not in (int, float) or not 0 <= value <= _LAST_SECOND:
        raise RefusedError(f"its {name} is no time")
    return float(value)


def _text(name: str, value: Any, longest: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise RefusedError(f"its {name} is missing, no text, or too long")
    return value


def _object(name: str, segment: bytes) -> dict[str, Any]:
    try:
        return parse_object(_decode(name, segment))
    except ValueError:
        raise RefusedError(f"its {name} is no plain JSON object") from None


def _decode(name: str, segment: bytes) -> bytes:
    """The content of a segment, of which there is one spelling only."""
    if _SEGMENT.fullmatch(segment) is not None and len(segment) % 4 != 1:
        content = urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
        if urlsafe_b64encode(content).rstrip(b"=") == segment:
            return content
    raise RefusedError(f"its {name} is not in base64url")
