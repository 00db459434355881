"""The metadata that a caller sends with a call, and its rules.

gRPC itself checks some of them, but late and without a word on what to do. No
error names a value, because a value may be a credential.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

# Metadata of a call, as values by key or as pairs, such as `{"authorization": "Bearer ..."}`.
# Keys are in lower case. A value is a str of printable ASCII characters, or bytes if its key
# ends in "-bin". A key may come several times in pairs.
Metadata: TypeAlias = Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]]
Pairs: TypeAlias = tuple[tuple[str, str | bytes], ...]

MAX_PAIRS = 64
# As HTTP/2 counts: 32 bytes more for each pair. gRPC's servers take 8 KiB by default, with what gRPC adds.
MAX_BYTES = 7 * 1024
_PAIR_BYTES = 32

_KEY = re.compile(r"[0-9a-z_.-]+")
# Printable, and no space at either end, where gRPC may drop it.
_TEXT = re.compile(r"([!-~]([ -~]*[!-~])?)?")
_BINARY = "-bin"
_RESERVED_PREFIX = "grpc-"
# Those that gRPC sends itself, and those that HTTP/2 forbids.
_RESERVED = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)


def check_metadata(metadata: Metadata | None) -> Pairs:
    """The pairs of a call's metadata.

    Raises:
        ValueError: a key or a value is not valid, or there are too many of them.
    """
    if metadata is None:
        return ()
    pairs = metadata.items() if isinstance(metadata, Mapping) else metadata
    if isinstance(pairs, str | bytes) or not isinstance(pairs, Iterable):
        raise ValueError(f"metadata is a dict or a list of pairs, not {type(metadata).__name__}")
    checked: list[tuple[str, str | bytes]] = []
    size = 0
    for pair in pairs:
        if len(checked) == MAX_PAIRS:
            raise ValueError(f"metadata has more than {MAX_PAIRS} pairs")
        if isinstance(pair, str | bytes) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise ValueError("metadata is a dict, or a list of pairs of a key and a value")
        key, value = pair
        _check_key(key)
        _check_value(key, value)
        size += len(key) + len(value) + _PAIR_BYTES
        if size > MAX_BYTES:
            raise ValueError(f"metadata is larger than {MAX_BYTES:,} bytes")
        checked.append((key, value))
    return tuple(checked)


def is_reserved(key: str) -> bool:
    """Whether a key is gRPC's own, so that a caller cannot send it."""
    return key.startswith(_RESERVED_PREFIX) or key in _RESERVED


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        shown = f"{key[:50]!r}" if isinstance(key, str) else type(key).__name__
        raise ValueError(f"a metadata key has the characters a-z, 0-9, '_', '-' and '.' only, unlike {shown}")
    if is_reserved(key):
        raise ValueError(f"the metadata key {key[:50]!r} is gRPC's own: leave it out")


def _check_value(key: str, value: object) -> None:
    if key.endswith(_BINARY):
        if not isinstance(value, bytes):
            raise ValueError(f"the metadata key {key[:50]!r} ends in {_BINARY!r}: its value is bytes")
    elif not isinstance(value, str):
        raise ValueError(
            f"the value of the metadata key {key[:50]!r} is a str, not {type(value).__name__};"
            f" bytes need a key that ends in {_BINARY!r}"
        )
    elif not _TEXT.fullmatch(value):
        raise ValueError(
            f"the value of the metadata key {key[:50]!r} has printable ASCII characters only,"
            " with no space at either end"
        )
