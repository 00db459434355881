from __future__ import annotations

import hashlib
import struct

import pytest

from scorewire_contract.records.hashing import hash_number, hash_text

KEY = b"k" * 32


def test_a_text_is_hashed_with_the_key() -> None:
    digest = hash_text("zażółć", KEY)
    assert digest == hashlib.blake2b("zażółć".encode(), digest_size=16, key=KEY).hexdigest()
    assert digest != hash_text("zażółć", KEY + b"k")


def test_a_number_is_hashed_as_a_double() -> None:
    expected = hashlib.blake2b(struct.pack("<d", 1.5), digest_size=16, key=KEY).hexdigest()
    assert hash_number(1.5, KEY) == expected


def test_a_missing_value_stays_missing() -> None:
    assert hash_text("", KEY) == hash_number(float("nan"), KEY) == ""


def test_a_key_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="64"):
        hash_text("a", b"k" * 65)
