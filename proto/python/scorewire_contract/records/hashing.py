"""Keyed hashes, which stand for values that nobody may read and that can still be compared."""

from __future__ import annotations

import struct
from hashlib import blake2b
from math import isnan

MAX_KEY_BYTES = 64
_DIGEST_BYTES = 16


def hash_text(text: str, key: bytes) -> str:
    """The keyed hash of a text, 32 hex digits: BLAKE2b of its UTF-8. An empty text is a missing value: "".

    Raises:
        ValueError: the key has more than `MAX_KEY_BYTES`.
    """
    return _hash(text.encode(), key) if text else ""


def hash_number(number: float, key: bytes) -> str:
    """The keyed hash of a number, 32 hex digits: BLAKE2b of its 8 bytes, little-endian. NaN becomes "".

    Raises:
        ValueError: the key has more than `MAX_KEY_BYTES`.
    """
    return "" if isnan(number) else _hash(struct.pack("<d", number), key)


def _hash(data: bytes, key: bytes) -> str:
    return blake2b(data, digest_size=_DIGEST_BYTES, key=key).hexdigest()
