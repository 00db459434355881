"""The header of a block, and CRC32C."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TypeAlias
from uuid import UUID

import google_crc32c
import numpy as np
from numpy.typing import NDArray

# The format that is written. Blocks of format 1 are read as well: they have no principals.
FORMAT = 2
MARKER = b"\x89SWREC\r\n"
HEADER_BYTES = 96
# The most bytes of a body.
MAX_BODY_BYTES = 64 << 20
_HEADER = struct.Struct("<8sHHI16sQIIIIQQQQI")
_CRC = struct.Struct("<I")

Bytes: TypeAlias = "NDArray[np.uint8]"


class BlockError(ValueError):
    """Bytes are no whole block, or a block's body is not what its kind says."""


class Kind(IntEnum):
    """The kinds of blocks; readers skip others."""

    START = 1
    SOURCE = 2
    ROWS = 3
    LEDGER = 4
    END = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The header of a block.

    Attributes:
        kind: a `Kind`, or a number that this version does not know.
        start: the UUID of the start.
        number: the number of the block in its start, from 0 on, across segments.
        source: the number of the source of rows. In the last block of a start that ended in order: 1. Else 0.
        predictions: predictions in the block; each part of a prediction counts.
        rows: rows in the block.
        first_sequence: the smallest sequence number in the block; 0 unless it is of rows.
        predictions_before: predictions in all earlier blocks of the start.
        rows_before: rows in all earlier blocks of the start.
        fingerprint: `fingerprint_number` of the schema; 0 unless the block is of rows.
        body_bytes: the length of the body; a multiple of 8, up to `MAX_BODY_BYTES`.
        body_crc: CRC32C of the body.
        format: the format, from 1 to `FORMAT`.
    """

    kind: int
    start: UUID
    number: int
    source: int = 0
    predictions: int = 0
    rows: int = 0
    first_sequence: int = 0
    predictions_before: int = 0
    rows_before: int = 0
    fingerprint: int = 0
    body_bytes: int = 0
    body_crc: int = 0
    format: int = FORMAT

    @property
    def block_bytes(self) -> int:
        """The length of the whole block."""
        return HEADER_BYTES + self.body_bytes

    @property
    def is_last(self) -> bool:
        """Whether this is the last block of a start that ended in order."""
        return self.kind == Kind.END and self.source == 1

    def encode(self) -> bytes:
        """The bytes of the header."""
        head = _HEADER.pack(
            MARKER,
            self.format,
            self.kind,
            self.body_bytes,
            self.start.bytes,
            self.number,
            self.source,
            self.body_crc,
            self.predictions,
            self.rows,
            self.first_sequence,
            self.predictions_before,
            self.rows_before,
            self.fingerprint,
            0,
        )
        return head + _CRC.pack(crc32c(head))

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """Read a header from the first `HEADER_BYTES` of `data`.

        Raises:
            BlockError: the bytes are no whole header of a format that this program reads.
        """
        if len(data) < HEADER_BYTES or not data.startswith(MARKER):
            raise BlockError("no header of a block")
        (crc,) = _CRC.unpack_from(data, _HEADER.size)
        if crc != crc32c(data[: _HEADER.size]):
            raise BlockError("the CRC of a header is wrong")
        _, version, kind, size, start, number, source, body_crc, *counts, _ = _HEADER.unpack_from(data)
        if not 1 <= version <= FORMAT:
            raise BlockError(f"a block has format {version}, and this program reads formats 1 to {FORMAT}")
        if size > MAX_BODY_BYTES or size % 8:
            raise BlockError(f"a body cannot have {size} bytes")
        predictions, rows, first_sequence, predictions_before, rows_before, fingerprint = counts
        return cls(
            kind=kind,
            start=UUID(bytes=start),
            number=number,
            source=source,
            predictions=predictions,
            rows=rows,
            first_sequence=first_sequence,
            predictions_before=predictions_before,
            rows_before=rows_before,
            fingerprint=fingerprint,
            body_bytes=size,
            body_crc=body_crc,
            format=version,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A whole block of a segment.

    Attributes:
        offset: where the block begins in the segment.
        header: the header.
        body: the body.
    """

    offset: int
    header: Header
    body: bytes

    @property
    def end(self) -> int:
        """Where the next block begins in the segment."""
        return self.offset + self.header.block_bytes


def encode_block(header: Header, body: bytes) -> bytes:
    """A block: the header with the length and the CRC of the body, and the body.

    Raises:
        BlockError: the length of the body is no multiple of 8, or above `MAX_BODY_BYTES`.
    """
    if len(body) > MAX_BODY_BYTES or len(body) % 8:
        raise BlockError(f"a body cannot have {len(body)} bytes")
    return replace(header, body_bytes=len(body), body_crc=crc32c(body)).encode() + body


def crc32c(data: bytes | Bytes) -> int:
    """CRC32C (Castagnoli) of bytes."""
    # Its stubs say bytes; it takes arrays too, without a copy.
    return int(google_crc32c.value(data))


def fingerprint_number(fingerprint: str) -> int:
    """The first 16 hex digits of a schema fingerprint, as a number."""
    return int(fingerprint[:16], 16)


def padded(data: bytes, fill: bytes = b"\0") -> bytes:
    """Bytes, filled up to a multiple of 8."""
    return data + fill * (-len(data) % 8)
