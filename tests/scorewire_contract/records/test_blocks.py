from __future__ import annotations

import struct
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest

from scorewire_contract.records.blocks import (
    FORMAT,
    HEADER_BYTES,
    MAX_BODY_BYTES,
    BlockError,
    Header,
    Kind,
    crc32c,
    encode_block,
    fingerprint_number,
    padded,
)

HEADER = Header(
    kind=Kind.ROWS,
    start=UUID("019aa1b2-c3d4-7e5f-8a9b-0c1d2e3f0000"),
    number=(1 << 64) - 1,
    source=0xFFFFFFFF,
    predictions=3,
    rows=4,
    first_sequence=1 << 63,
    predictions_before=5,
    rows_before=6,
    fingerprint=(1 << 64) - 2,
)


def with_crc(data: bytes) -> bytes:
    return data[:92] + struct.pack("<I", crc32c(data[:92]))


def test_the_crc_is_castagnolis() -> None:
    assert crc32c(b"123456789") == crc32c(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283


def test_a_header_is_read_as_it_was_written() -> None:
    block = encode_block(HEADER, b"12345678")
    header = Header.decode(block)
    assert len(block) == HEADER_BYTES + 8 == header.block_bytes
    assert header.body_crc == crc32c(b"12345678")
    assert header.encode() == block[:HEADER_BYTES]
    assert Header.decode(HEADER.encode()) == HEADER


def test_fields_are_where_the_format_has_them() -> None:
    block = encode_block(HEADER, bytes(16))
    assert block[:8] == bytes.fromhex("895357524543 0D0A")
    assert struct.unpack_from("<HHI", block, 8) == (2, 3, 16)
    assert UUID(bytes=block[16:32]) == HEADER.start
    assert struct.unpack_from("<QI", block, 32) == ((1 << 64) - 1, 0xFFFFFFFF)
    assert struct.unpack_from("<IIQQQQI", block, 48) == (3, 4, 1 << 63, 5, 6, (1 << 64) - 2, 0)


@pytest.mark.parametrize("index", range(HEADER_BYTES))
def test_a_header_with_a_flipped_byte_is_not_whole(index: int) -> None:
    data = bytearray(HEADER.encode())
    data[index] ^= 0x10
    with pytest.raises(BlockError):
        Header.decode(bytes(data))


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_headers_of_all_formats_so_far_are_read(number: int) -> None:
    header = replace(HEADER, format=number)
    assert Header.decode(header.encode()) == header


@pytest.mark.parametrize("number", [0, FORMAT + 1])
def test_a_header_of_another_format_is_refused(number: int) -> None:
    data = bytearray(HEADER.encode())
    data[8] = number
    with pytest.raises(BlockError, match=f"format {number}"):
        Header.decode(with_crc(bytes(data)))


@pytest.mark.parametrize("size", [4, MAX_BODY_BYTES + 8])
def test_a_header_with_an_impossible_length_is_refused(size: int) -> None:
    data = bytearray(HEADER.encode())
    struct.pack_into("<I", data, 12, size)
    with pytest.raises(BlockError, match=f"{size} bytes"):
        Header.decode(with_crc(bytes(data)))


@pytest.mark.parametrize("size", [1, MAX_BODY_BYTES + 8])
def test_a_body_of_an_impossible_length_is_refused(size: int) -> None:
    with pytest.raises(BlockError, match=f"{size} bytes"):
        encode_block(HEADER, bytes(size))


def test_a_fingerprint_gives_its_first_digits() -> None:
    assert fingerprint_number("00000000000000ffabcd") == 255


def test_bytes_are_padded_to_a_multiple_of_8() -> None:
    assert [padded(b"x" * size) for size in (0, 1, 8)] == [b"", b"x" + bytes(7), b"x" * 8]
