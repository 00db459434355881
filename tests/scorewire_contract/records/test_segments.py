from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from scorewire_contract.records import segments
from scorewire_contract.records.blocks import HEADER_BYTES, Block, Header, Kind, encode_block
from scorewire_contract.records.segments import Damage, read_segment, spool_bytes

START, OTHER = UUID(int=7 << 76 | 1 << 16), UUID(int=7 << 76 | 2 << 16)


def block(number: int, body: bytes = b"", start: UUID = START) -> bytes:
    return encode_block(Header(kind=Kind.ROWS, start=start, number=number), body)


BLOCKS = [block(number, bytes([number]) * 8 * number) for number in range(5)]
WHOLE = b"".join(BLOCKS)
ENDS = [len(b"".join(BLOCKS[: count + 1])) for count in range(5)]


def read(data: bytes | Path, **options: int | UUID) -> list[int | Damage]:
    """The numbers of the blocks, and the damage between them."""
    items = read_segment(data, **options)  # type: ignore[arg-type]
    return [each.header.number if isinstance(each, Block) else each for each in items]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "00000000.segment"


def test_all_blocks_of_a_whole_segment_are_read() -> None:
    assert read(WHOLE) == [0, 1, 2, 3, 4]
    found = [each for each in read_segment(WHOLE) if isinstance(each, Block)]
    assert [each.end for each in found] == ENDS
    assert [each.body for each in found] == [bytes([number]) * 8 * number for number in range(5)]


def test_an_empty_segment_has_no_blocks() -> None:
    assert read(b"") == []


@pytest.mark.parametrize("size", range(len(WHOLE)))
def test_a_segment_that_was_cut_has_its_whole_blocks_and_a_torn_tail(size: int) -> None:
    whole = sum(end <= size for end in ENDS)
    begin = ENDS[whole - 1] if whole else 0
    tail = [] if begin == size else [Damage(begin, size, is_torn=True)]
    assert read(WHOLE[:size]) == [*range(whole), *tail]
    assert read(WHOLE[:size], growing=True) == [*range(whole)]


@pytest.mark.parametrize("index", range(len(WHOLE)))
def test_a_flipped_byte_damages_exactly_its_block(index: int) -> None:
    data = bytearray(WHOLE)
    data[index] ^= 0x04
    hit = next(number for number, end in enumerate(ENDS) if index < end)
    damage = Damage(ENDS[hit] - len(BLOCKS[hit]), ENDS[hit])
    expected = [*range(hit), damage, *range(hit + 1, 5)]
    assert read(bytes(data)) == expected
    assert read(bytes(data), growing=True) == (expected if hit < 4 else [0, 1, 2, 3])


def test_damaged_blocks_in_a_row_are_one_damage() -> None:
    data = bytearray(WHOLE)
    data[ENDS[0]] ^= 1
    data[ENDS[2] - 1] ^= 1
    assert read(bytes(data)) == [0, Damage(ENDS[0], ENDS[2]), 3, 4]


def test_bytes_before_and_behind_the_blocks_are_damage() -> None:
    assert read(b"abc" + WHOLE + bytes(200)) == [
        Damage(0, 3),
        0,
        1,
        2,
        3,
        4,
        Damage(len(WHOLE) + 3, len(WHOLE) + 203),
    ]


def test_bytes_that_were_lost_damage_one_block() -> None:
    data = WHOLE[: ENDS[1] + 5] + WHOLE[ENDS[1] + 10 :]
    assert read(data) == [0, 1, Damage(ENDS[1], ENDS[2] - 5), 3, 4]


def test_a_block_in_a_text_of_a_caller_is_not_taken_for_one() -> None:
    forged = block(2, b"forged!!")
    data = bytearray(block(0) + block(1, forged) + block(2, b"original"))
    begin = len(block(0))
    data[begin + HEADER_BYTES + len(forged) - 1] ^= 1
    assert read(bytes(data)) == [0, Damage(begin, begin + len(block(1, forged))), 2]
    found = [each.body for each in read_segment(bytes(data)) if isinstance(each, Block)]
    assert found[-1] == b"original"


@pytest.mark.parametrize("forged", [block(1), block(9, start=OTHER), block(3), block((1 << 64) - 1)])
def test_blocks_of_another_start_or_with_a_number_out_of_order_are_damage(forged: bytes) -> None:
    data = block(0) + block(1) + forged + block(2)
    begin = len(block(0) + block(1))
    assert read(data) == [0, 1, Damage(begin, begin + len(forged)), 2]


def test_a_block_in_a_text_of_a_caller_hides_no_later_blocks() -> None:
    """The caller has the start from a prediction_id."""
    damaged = bytearray(block(1, bytes(16) + block((1 << 64) - 1, b"forged!!")))
    damaged[20] ^= 1
    begin = len(block(0))
    damage = Damage(begin, begin + len(damaged))
    data = block(0) + bytes(damaged) + block(2) + block(3)
    assert read(data) == [0, damage, 2, 3]
    assert read(data, offset=begin, after=0) == [damage, 2, 3]


def test_no_block_in_a_text_of_a_caller_tells_the_start() -> None:
    damaged = bytearray(block(1, block(7, b"forged!!", start=OTHER)))
    damaged[20] ^= 1
    data = bytes(damaged) + block(2)
    assert read(data, start=START) == [Damage(0, len(damaged)), 2]
    assert read(block(0) + data, start=START, offset=len(block(0)), after=0)[1:] == [2]
    assert read(WHOLE, start=OTHER) == [Damage(0, len(WHOLE))]


def test_a_number_may_rise_by_the_blocks_that_the_damaged_bytes_had() -> None:
    ends = len(block(1) + block(2))
    data = block(0) + bytes(ends) + block(3)
    assert read(data) == [0, Damage(len(block(0)), len(block(0)) + ends), 3]
    # Reading goes on behind damage that was passed before.
    assert read(data, offset=len(data) - len(block(3)), after=0) == [3]
    assert read(block(0) + bytes(ends - 1) + block(3)) == [0, Damage(len(block(0)), len(data) - 1)]


def test_a_file_is_read_like_its_bytes(file: Path) -> None:
    for data in (WHOLE, WHOLE[:-3], b"x" + WHOLE):
        file.write_bytes(data)
        assert read(file) == read(data)


def test_reading_goes_on_where_it_ended(file: Path) -> None:
    file.write_bytes(WHOLE[: ENDS[2] + 50])
    assert read(file, growing=True) == [0, 1, 2]
    file.write_bytes(WHOLE)
    assert read(file, growing=True, offset=ENDS[2], after=2) == [3, 4]


def test_a_marker_across_two_windows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for window in range(8, 20):
        monkeypatch.setattr(segments, "_WINDOW_BYTES", window)
        assert read(b"x" * 33 + WHOLE) == [Damage(0, 33), 0, 1, 2, 3, 4]


def test_a_block_of_the_largest_number_is_read() -> None:
    assert read(block((1 << 64) - 1)) == [(1 << 64) - 1]


def test_segments_and_starts_are_found_in_their_order(tmp_path: Path) -> None:
    spool = segments.spool_folder(tmp_path)
    assert segments.starts(spool) == []
    for start in (OTHER, START):
        folder = segments.start_folder(spool, start)
        folder.mkdir(parents=True)
        for number in (100_000_000, 2, 10):
            segments.segment_path(folder, number).touch()
        (folder / segments.LOCK).touch()
    segments.damaged_path(spool, START, 2, 96).parent.mkdir()
    (spool / "shipper.json").touch()
    assert segments.starts(spool) == [START, OTHER]
    found = segments.segments(segments.start_folder(spool, START))
    assert [(number, path.name) for number, path in found] == [
        (2, "00000002.segment"),
        (10, "00000010.segment"),
        (100_000_000, "100000000.segment"),
    ]
    assert segments.segments(spool / "none") == []
    assert segments.damaged_path(spool, START, 2, 96).name == f"{START}-00000002-96.bytes"
    assert replace(Damage(1, 2), is_torn=True) != Damage(1, 2)


def test_the_segments_of_all_starts_count(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = tmp_path / "_spool" / name
        folder.mkdir(parents=True)
        (folder / "00000000.segment").write_bytes(bytes(100))
        (folder / "lock").write_bytes(bytes(7))
    assert spool_bytes(tmp_path) == 200
    assert spool_bytes(tmp_path / "nowhere") == 0
