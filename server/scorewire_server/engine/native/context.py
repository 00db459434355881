"""The context of a call, as the extension hands it over."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Sequence
from struct import Struct
from time import perf_counter_ns
from typing import overload

from scorewire_server.engine.context import CallContext, deadline_in
from scorewire_server.engine.peer import Peer

# The lengths of a name and of its value, which stand before them.
_LENGTHS = Struct("<II")
_Pair = tuple[str, str | bytes]


class LazyMetadata(Sequence[_Pair]):
    """Metadata that is read when it is first looked at: most handlers never do.

    Args:
        block: for each entry the lengths of its name and its value, the name and the value.
    """

    __slots__ = ("_block", "_pairs")

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._pairs: tuple[_Pair, ...] | None = None

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, index: int) -> _Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[_Pair]: ...
    def __getitem__(self, index: int | slice) -> _Pair | Sequence[_Pair]:
        return self._read()[index]

    def _read(self) -> tuple[_Pair, ...]:
        if self._pairs is None:
            self._pairs = tuple(_pairs(self._block))
        return self._pairs


def read_context(
    path: str, metadata: bytes, peer: tuple[str, bytes | None], age_ns: int, seconds_left: float | None
) -> CallContext:
    """The context of a call, from the extension's values: `scorewire_native.Context`."""
    received_ns = perf_counter_ns() - age_ns
    return CallContext(path, LazyMetadata(metadata), Peer(*peer), deadline_in(seconds_left), received_ns)


def _pairs(block: bytes) -> Iterator[_Pair]:
    at = 0
    while at < len(block):
        name_length, value_length = _LENGTHS.unpack_from(block, at)
        at += _LENGTHS.size
        name = block[at : at + name_length].decode("latin-1")
        value = block[at + name_length : at + name_length + value_length]
        at += name_length + value_length
        yield name, _value(name, value)


def _value(name: str, value: bytes) -> str | bytes:
    """Bytes where the name ends in -bin, as such values travel in base64; else text."""
    if not name.endswith("-bin"):
        return value.decode("latin-1")
    try:
        return b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except ValueError:
        return value
