"""Forgeries with the signature itself, and what it covers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.forgeries.world import (
    Make,
    claims,
    compact,
    dump,
    encode,
    header,
    honest_token,
    keys,
)

# The orders of the groups of P-256 and of Ed25519.
_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ED25519 = 2**252 + 27742317777372353535851937790883648493
_HALF = 32


def cases() -> dict[str, Make]:
    """The forgeries, by their names."""
    made: dict[str, Make] = {}
    for key_id, changes in {
        "rsa": {**_ANY, **_RSA},
        "ec": {**_ANY, **_EC},
        "ed": {**_ANY, **_ED},
    }.items():
        for name, change in changes.items():
            made[f"signature of {key_id}: {name}"] = partial(_changed, key_id=key_id, change=change)
        made[f"signature of {key_id} of another header"] = partial(_other_header, key_id=key_id)
        made[f"signature of {key_id} of other claims"] = partial(_other_claims, key_id=key_id)
        made[f"signature of {key_id} of the claims alone"] = partial(_of_claims, key_id=key_id)
        made[f"signature of {key_id} of the content, not encoded"] = partial(_of_content, key_id=key_id)
    return made


def other_s(now: float) -> bytes:
    """An honest token with (r, n - s) in place of (r, s).

    Both are valid, and RFC 7518 demands none of them. The signed content is the same.
    """

    def change(signature: bytes) -> bytes:
        s = _P256 - int.from_bytes(signature[_HALF:], "big")
        return signature[:_HALF] + s.to_bytes(_HALF, "big")

    return _changed(now, key_id="ec", change=change)


def _changed(now: float, *, key_id: str, change: Callable[[bytes], bytes]) -> bytes:
    key = keys()[key_id]
    return compact(header(key), claims(now), lambda data: change(key.sign(data)))


def _other_header(now: float, *, key_id: str) -> bytes:
    key = keys()[key_id]
    segments = honest_token(now, key).split(b".")
    return b".".join((encode(dump(header(key, typ="at+jwt"))), *segments[1:]))


def _other_claims(now: float, *, key_id: str) -> bytes:
    segments = honest_token(now, keys()[key_id]).split(b".")
    return b".".join((segments[0], encode(dump(claims(now, exp=int(now) + 10_000_000))), segments[2]))


def _of_claims(now: float, *, key_id: str) -> bytes:
    key = keys()[key_id]
    return compact(header(key), claims(now), lambda data: key.sign(data.partition(b".")[2]))


def _of_content(now: float, *, key_id: str) -> bytes:
    key = keys()[key_id]
    content = dump(header(key)) + b"." + dump(claims(now))
    return compact(header(key), claims(now), lambda _: key.sign(content))


def _with_order(signature: bytes) -> bytes:
    """With s plus the order of the group in place of s: the same number to a careless verifier."""
    s = int.from_bytes(signature[_HALF:], "big") + _P256
    return signature[:_HALF] + s.to_bytes(_HALF + 1, "big")


def _with_order_of_ed25519(signature: bytes) -> bytes:
    s = int.from_bytes(signature[_HALF:], "little") + _ED25519
    return signature[:_HALF] + s.to_bytes(_HALF, "little")


def _der(signature: bytes) -> bytes:
    r, s = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
    return encode_dss_signature(r, s)


_ZERO, _ONE = bytes(_HALF), (1).to_bytes(_HALF, "big")
_ORDER = _P256.to_bytes(_HALF, "big")
_ANY: dict[str, Callable[[bytes], bytes]] = {
    "all zeros": lambda signature: bytes(len(signature)),
    "all ones": lambda signature: b"\xff" * len(signature),
    "a single zero": lambda _: b"\0",
    "first bit flipped": lambda signature: bytes([signature[0] ^ 0x80]) + signature[1:],
    "last bit flipped": lambda signature: signature[:-1] + bytes([signature[-1] ^ 1]),
    "without its last byte": lambda signature: signature[:-1],
    "without its first byte": lambda signature: signature[1:],
    "with a zero before it": lambda signature: b"\0" + signature,
    "with a zero after it": lambda signature: signature + b"\0",
    "twice": lambda signature: signature * 2,
    "backwards": lambda signature: signature[::-1],
}
_RSA: dict[str, Callable[[bytes], bytes]] = {
    "the number one": lambda signature: bytes(len(signature) - 1) + b"\1",
    "of 512 bytes": lambda signature: signature.rjust(512, b"\0"),
}
_EC: dict[str, Callable[[bytes], bytes]] = {
    "in DER": _der,
    "halves exchanged": lambda signature: signature[_HALF:] + signature[:_HALF],
    "r is zero": lambda signature: _ZERO + signature[_HALF:],
    "s is zero": lambda signature: signature[:_HALF] + _ZERO,
    "r and s are one": lambda _: _ONE + _ONE,
    "r is the order": lambda signature: _ORDER + signature[_HALF:],
    "s is the order": lambda signature: signature[:_HALF] + _ORDER,
    "r and s are the order": lambda _: _ORDER + _ORDER,
    "order added to s": _with_order,
    "DER of zeros": lambda _: b"0\x06\x02\x01\0\x02\x01\0",
}
_ED: dict[str, Callable[[bytes], bytes]] = {
    "order added to s": _with_order_of_ed25519,
    "point of order one": lambda _: b"\1" + bytes(63),
}
