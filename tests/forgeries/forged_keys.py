"""Forgeries with the algorithm and with the key: whoever verifies must choose both, never the token."""

from __future__ import annotations

import hashlib
import hmac
import json
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.forgeries.world import (
    ISSUER,
    OTHER_ISSUER,
    SECRET,
    Make,
    SigningKey,
    claims,
    compact,
    dump,
    encode,
    header,
    keys,
    other_keys,
    stolen_names,
    with_header,
)

SIGNERS = ("rsa", "ec", "ed")
_NONE = (
    "none", "None", "NONE", "nOnE", "none ", " none", "", "null", "nоne", "none\0", "plain", "unsecured",
)  # fmt: skip
_ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA",
    "Ed25519", "Ed448", "ED25519", "rs256", "es256", "eddsa", "RS256 ", "ES256\n", "ES256\0", "RSA", "SHA256",
    "RSA-OAEP", "dir", "A128KW", "ECDH-ES",
)  # fmt: skip
_NO_TEXTS: dict[str, Any] = {
    "a number": 1,
    "null": None,
    "true": True,
    "a list": ["ES256"],
    "an object": {"alg": "ES256"},
    "left out": ...,
}
_KEY_IDS: dict[str, Any] = {
    "left out": ...,
    "null": None,
    "empty": "",
    "a number": 1,
    "true": True,
    "a list": ["ec"],
    "an object": {"kid": "ec"},
    "unknown": "nobody",
    "in capitals": "EC",
    "with a space at its end": "ec ",
    "with a null character": "ec\0",
    "a path": "../../../../etc/passwd",
    "an empty file": "/dev/null",
    "the path of the key set": "keys.json",
    "SQL": "' UNION SELECT 'ec' -- ",
    "a command": "| sleep 10",
    "a URL": "https://evil.example/key",
    "a format": "{0.__class__}%s%n",
    "long": "ec" * 300,
    "a lone surrogate": "\ud800",
    "a newline": "ec\nalg: none",
    "that of the other issuer": "other-rsa",
}


def cases() -> dict[str, Make]:
    """The forgeries, by their names."""
    return {**_without_signature(), **_hmac(), **_algorithms(), **_key_ids(), **_other_keys(), **_own_keys()}


def _unsigned(now: float, algorithm: str, signature: bytes | None) -> bytes:
    key = keys()["ec"]
    return compact(
        header(key, alg=algorithm), claims(now), key.sign if signature is None else lambda _: signature
    )


def _not_signed(now: float, *, key: SigningKey) -> bytes:
    return compact(header(key), claims(now), lambda _: b"")


def _without_signature() -> dict[str, Make]:
    made: dict[str, Make] = {}
    for algorithm in _NONE:
        shown = f"alg {algorithm!a}"
        made[f"{shown} and no signature"] = partial(_unsigned, algorithm=algorithm, signature=b"")
        made[f"{shown} and any signature"] = partial(_unsigned, algorithm=algorithm, signature=b"x")
        made[f"{shown} and a valid signature"] = partial(_unsigned, algorithm=algorithm, signature=None)
    for key_id in SIGNERS:
        made[f"no signature of {key_id}"] = partial(_not_signed, key=keys()[key_id])
    for name, value in _NO_TEXTS.items():
        made[f"alg is {name}"] = with_header(alg=value)
    return made


def _hmac() -> dict[str, Make]:
    """The public key, which everybody knows, as the secret of HMAC."""
    made: dict[str, Make] = {}
    for key_id in SIGNERS:
        key = keys()[key_id]
        secrets: dict[str, bytes] = {
            "PEM": key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "PEM without its end": key.public.public_bytes(
                Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
            ).strip(),
            "DER": key.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            "JWK": dump(key.listed),
            "spaced JWK": json.dumps(key.listed).encode(),
            "key id": key_id.encode(),
            "empty": b"",
        }
        if key_id == "rsa":
            secrets["PKCS1"] = key.public.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
            secrets["modulus"] = str(key.listed["n"]).encode()
        if key_id == "ed":
            secrets["raw"] = key.public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        for name, secret in secrets.items():
            made[f"HS256 with {key_id} as {name}"] = partial(
                _with_hmac, key=key, digest="sha256", secret=secret
            )
        for digest in ("sha384", "sha512"):
            made[f"{digest} of HMAC with {key_id} as PEM"] = partial(
                _with_hmac, key=key, digest=digest, secret=secrets["PEM"]
            )

    def listed_secret(now: float) -> bytes:
        data = encode(dump({"alg": "HS256", "kid": "secret"})) + b"." + encode(dump(claims(now)))
        return data + b"." + encode(hmac.new(SECRET, data, "sha256").digest())

    made["HS256 with a secret that the key set lists"] = listed_secret
    return made


def _with_hmac(now: float, *, key: SigningKey, digest: str, secret: bytes) -> bytes:
    head = header(key, alg=f"HS{hashlib.new(digest).digest_size * 8}")
    return compact(head, claims(now), lambda data: hmac.new(secret, data, digest).digest())


def _algorithms() -> dict[str, Make]:
    """A valid signature under another name, and one of another algorithm of the same key."""
    made: dict[str, Make] = {}
    for key_id in SIGNERS:
        for algorithm in _ALGORITHMS:
            if algorithm != keys()[key_id].algorithm:
                made[f"signature of {key_id}, alg {algorithm!a}"] = with_header(key_id, alg=algorithm)
    for algorithm in ("RS384", "RS512", "PS256", "PS384", "PS512"):
        for shown in (algorithm, "RS256"):

            def make(now: float, algorithm: str = algorithm, shown: str = shown) -> bytes:
                key = keys()["rsa"]
                return compact(header(key, alg=shown), claims(now), lambda data: key.sign(data, algorithm))

            made[f"signed with {algorithm}, alg {shown}"] = make
    return made


def _key_ids() -> dict[str, Make]:
    return {f"kid is {name}": with_header(kid=value) for name, value in _KEY_IDS.items()}


def _own_keys() -> dict[str, Make]:
    """Valid signatures of keys that the key set lists for something else, or that are too weak."""
    listed = ("weak", "for-encryption", "for-rs512", "for-wrapping", "p384", "p521", "k1", "ed448")
    made: dict[str, Make] = {f"signed with the key {key_id}": with_header(key_id) for key_id in listed}
    made |= {
        f"signed with the key {key_id}, alg ES256": with_header(key_id, alg="ES256")
        for key_id in ("p384", "p521", "k1")
    }
    made["signed with the key of RS512 as RS512"] = lambda now: compact(
        header(keys()["for-rs512"], alg="RS512"),
        claims(now),
        lambda data: keys()["for-rs512"].sign(data, "RS512"),
    )
    return made


def _other_keys() -> dict[str, Make]:
    """Signatures of keys that are not of the issuer, whatever the header says of them."""
    made: dict[str, Make] = {}
    for key_id, key in stolen_names().items():
        jwk = {name: value for name, value in key.listed.items() if name != "kid"}
        for name, extra in {
            "": {},
            " and jwk": {"jwk": jwk},
            " and jwk with the kid": {"jwk": key.listed},
            " and jku": {"jku": "https://evil.example/jwks.json"},
            " and jku of loopback": {"jku": "http://127.0.0.1:9/jwks.json"},
            " and jku of a file": {"jku": "file:///etc/passwd"},
            " and x5u": {"x5u": "https://evil.example/key.pem"},
            " and x5c": {"x5c": ["MIIB"]},
        }.items():
            made[f"signed by a stranger as {key_id}{name}"] = partial(_signed, key=key, **extra)
        made[f"signed by a stranger with {key_id} and jwk, no kid"] = partial(
            _signed, key=key, kid=..., jwk=jwk
        )
    for key_id, key in other_keys().items():
        made[f"signed by the other issuer with {key_id}"] = partial(_signed, key=key)
    made["signed by the other issuer with both, for its subject"] = partial(
        _signed, key=other_keys()["both"], changes={"sub": "service-other"}
    )
    other = {"iss": OTHER_ISSUER, "sub": "service-other"}
    for key_id in (*SIGNERS, "both"):
        made[f"signed with {key_id} in the name of the other issuer"] = partial(
            _signed, key=keys()[key_id], changes=other
        )
    made["signed by the other issuer with an algorithm that it does not use"] = partial(
        _signed, key=other_keys()["ec"], changes=other
    )
    made["signed by the other issuer for a subject of the first one"] = partial(
        _signed, key=other_keys()["other-rsa"], changes={"iss": OTHER_ISSUER}
    )
    made["the issuer in the header only"] = partial(
        _signed, key=keys()["ec"], changes={"iss": ...}, iss=ISSUER
    )
    return made


def _signed(now: float, *, key: SigningKey, changes: dict[str, Any] | None = None, **head: Any) -> bytes:
    return compact(header(key, **head), claims(now, **(changes or {})), key.sign)
