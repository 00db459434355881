"""The folders of a spool, and the blocks of a segment, also of a damaged one.

A segment may end within a block: its writer was killed, or still writes. Bytes within a
segment may be damaged. Neither stops a reader: it goes on with the next whole block.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from scorewire_contract.records.blocks import HEADER_BYTES, MARKER, Block, BlockError, Header, crc32c

SPOOL, DAMAGED, LOCK = "_spool", "_damaged", "lock"
_SEGMENT = re.compile(r"(\d{8,10})\.segment")
_WINDOW_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that are no whole block.

    The counts in the header of the next block tell how many predictions and rows were lost.

    Attributes:
        offset: where the bytes begin.
        end: where they end.
        is_torn: whether they are the begin of a block that was not written to its end. Nothing is lost that
            was counted: the bytes need not be set aside.
    """

    offset: int
    end: int
    is_torn: bool = False


def spool_folder(records: Path) -> Path:
    """The folder of the spool in the folder of records."""
    return records / SPOOL


def start_folder(spool: Path, start: UUID) -> Path:
    """The folder of a start in a spool."""
    return spool / str(start)


def segment_path(folder: Path, segment: int) -> Path:
    """The file of a segment in the folder of its start."""
    return folder / f"{segment:08d}.segment"


def damaged_path(spool: Path, start: UUID, segment: int, offset: int) -> Path:
    """The file for bytes of a segment that are set aside."""
    return spool / DAMAGED / f"{start}-{segment:08d}-{offset}.bytes"


def starts(spool: Path) -> list[UUID]:
    """The starts that have a folder in a spool, the earliest first."""
    return sorted(start for path in _entries(spool) if path.is_dir() and (start := _start(path.name)))


def segments(folder: Path) -> list[tuple[int, Path]]:
    """The numbers and files of the segments in the folder of a start, ascending."""
    found = ((_SEGMENT.fullmatch(path.name), path) for path in _entries(folder))
    return sorted((int(match[1]), path) for match, path in found if match)


def spool_bytes(records: Path) -> int:
    """The bytes of the segments of all starts in a folder of records; 0 if they cannot be read."""
    size = 0
    for path in spool_folder(records).glob("*/*.segment"):
        # The shipper may have removed it meanwhile.
        with suppress(OSError):
            size += path.stat().st_size
    return size


def read_segment(
    segment: Path | bytes,
    *,
    growing: bool = False,
    start: UUID | None = None,
    offset: int = 0,
    after: int = -1,
) -> Iterator[Block | Damage]:
    """The whole blocks of a segment in their order, and the bytes between them that are damaged.

    Of a file, only one block is in memory at a time.

    Args:
        segment: a file, or its bytes.
        growing: whether the segment may still grow. What follows the last whole block is then not there yet.
        start: the start of the segment; None for that of the first whole block.
        offset: where to begin: the `end` of a block that was read before.
        after: the number of the last block that was read before; -1 if there is none.

    Raises:
        OSError: the file cannot be read.
    """
    if isinstance(segment, bytes):
        yield from _Reader(_Memory(segment), start, after).read(offset, growing)
        return
    with _File(segment) as file:
        yield from _Reader(file, start, after).read(offset, growing)


class _Data(Protocol):
    """Bytes that can be read in any order."""

    size: int

    def read(self, offset: int, length: int) -> bytes: ...


class _Memory:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


class _File:
    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._file.fileno(), length, offset)
        while len(data) < length and (
            more := os.pread(self._file.fileno(), length - len(data), offset + len(data))
        ):
            data += more
        return data


class _Reader:
    """Reads the blocks of one start in ascending order.

    Blocks of other starts are damage, and so are numbers that do not ascend, or rise by more than the blocks
    that the bytes between can have. A caller knows the start from the ids of its predictions, and may send
    texts with the bytes of a block: where the segment is damaged, such a block is taken for one only if its
    number is about right, and then it hides no more than the next blocks.
    """

    def __init__(self, data: _Data, start: UUID | None, after: int) -> None:
        self._data = data
        self._start = start
        self._after = after
        # Where the segment has blocks with higher numbers than `after`; None before its first block.
        self._begin: int | None = None

    def read(self, offset: int, growing: bool) -> Iterator[Block | Damage]:
        size = self._data.size
        if offset:
            # Damaged blocks may stand before the offset.
            self._begin = 0
        while offset < size:
            header = self._header(offset)
            if header is None:
                end, is_torn = self._find(offset + 1), self._is_begun(offset)
            elif offset + header.block_bytes > size:
                end, is_torn = size, True
            elif (body := self._body(offset, header)) is None:
                # The header is whole, so that the length in it is right.
                end, is_torn = offset + header.block_bytes, False
            else:
                block = Block(offset, header, body)
                self._start, self._after = header.start, header.number
                offset = self._begin = block.end
                yield block
                continue
            if end < size and not self._is_whole(end):
                end = self._find(end)
            if end == size and growing:
                return
            yield Damage(offset, end, is_torn and end == size)
            offset = end

    def _header(self, offset: int) -> Header | None:
        """The header at an offset, if it is whole and of a block that may follow."""
        try:
            header = Header.decode(self._data.read(offset, HEADER_BYTES))
        except BlockError:
            return None
        if self._start not in (None, header.start) or header.number <= self._after:
            return None
        blocks_between = header.number - self._after - 1
        if self._begin is not None and blocks_between * HEADER_BYTES > offset - self._begin:
            return None
        return header

    def _body(self, offset: int, header: Header) -> bytes | None:
        body = self._data.read(offset + HEADER_BYTES, header.body_bytes)
        return body if len(body) == header.body_bytes and crc32c(body) == header.body_crc else None

    def _is_whole(self, offset: int) -> bool:
        header = self._header(offset)
        return header is not None and self._body(offset, header) is not None

    def _is_begun(self, offset: int) -> bool:
        """Whether the segment ends within a header that begins here."""
        rest = self._data.size - offset
        begin = self._data.read(offset, min(rest, len(MARKER)))
        return rest < HEADER_BYTES and MARKER.startswith(begin)

    def _find(self, offset: int) -> int:
        """Where the next whole block begins, from an offset on; the end of the segment if there is none."""
        while offset < self._data.size:
            window = self._data.read(offset, _WINDOW_BYTES)
            at = window.find(MARKER)
            while at >= 0:
                if self._is_whole(offset + at):
                    return offset + at
                at = window.find(MARKER, at + 1)
            # A marker may begin in this window and end in the next.
            offset += max(1, len(window) - len(MARKER) + 1)
        return self._data.size


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _start(name: str) -> UUID | None:
    try:
        start = UUID(name)
    except ValueError:
        return None
    return start if str(start) == name else None
