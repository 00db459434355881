"""Encodes protobuf's wire format by hand, so that tests can write what no library writes."""

from __future__ import annotations

import struct
from collections.abc import Sequence

VARINT, FIXED64, BYTES, GROUP_START, GROUP_END, FIXED32 = range(6)


def varint(value: int, padding: int = 0) -> bytes:
    """Encode a varint; `padding` adds redundant bytes, which readers accept up to ten bytes in total."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    if padding:
        out[-1] |= 0x80
        out += b"\x80" * (padding - 1) + b"\x00"
    return bytes(out)


def tag(number: int, wire_type: int) -> bytes:
    """Encode a field's tag."""
    return varint(number << 3 | wire_type)


def varint_field(number: int, value: int, padding: int = 0) -> bytes:
    """Encode an integer field."""
    return tag(number, VARINT) + varint(value, padding)


def bytes_field(number: int, content: bytes) -> bytes:
    """Encode a field of bytes, a text, a message or packed numbers."""
    return tag(number, BYTES) + varint(len(content)) + content


def packed(number: int, values: Sequence[float]) -> bytes:
    """Encode a packed field of doubles."""
    return bytes_field(number, struct.pack(f"<{len(values)}d", *values))


def unpacked(number: int, values: Sequence[float]) -> bytes:
    """Encode a field of doubles that is not packed."""
    return b"".join(tag(number, FIXED64) + struct.pack("<d", value) for value in values)


def group(number: int, content: bytes) -> bytes:
    """Encode a group, which proto2 had."""
    return tag(number, GROUP_START) + content + tag(number, GROUP_END)
