"""Walks over the blocks of one start, and checks and counts them.

What a walk finds depends on the state at the begin of a segment and the bytes of that
segment only. So a segment that is read again after a crash gives the same rows and the
same counts, and damaged bytes are set aside under the same name.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from scorewire_contract.records.blocks import (
    FORMAT,
    HEADER_BYTES,
    MARKER,
    Block,
    BlockError,
    Header,
    Kind,
    crc32c,
)
from scorewire_contract.records.ledger import decode_ledgers
from scorewire_contract.records.rows import RowsBlock
from scorewire_contract.records.segments import Damage, damaged_path, read_segment
from scorewire_contract.records.source import Source, Start
from scorewire_contract.schema import Version, check_model_name
from scorewire_contract.service import durable
from scorewire_records.start_state import StartState
from scorewire_records.store import Contents, End, Ledgers, SourceRows, StartDescription

_PIECE_BYTES = 1 << 20


class NewerFormatError(Exception):
    """A segment has a newer format than this program reads."""


class Walk:
    """Where the shipper is in a start.

    Args:
        spool: the folder of the spool.
        state: the state at the begin of a segment.

    Attributes:
        state: the state after the last block that was read.
        offset: where the next block begins in the segment.
    """

    def __init__(self, spool: Path, state: StartState) -> None:
        self._spool = spool
        self.state = state
        self.offset = 0
        # Sources by number, of this segment; those of the segment before stand in for damaged ones.
        self._sources: dict[int, Source] = {}
        self._descriptions: dict[int, str] = {}
        # Where the counts would be if the headers of damaged blocks, since the last whole one, are right.
        self._doubtful = (0, 0)

    def copy(self) -> Walk:
        """A walk that goes on from here, while this one stays."""
        other = copy.copy(self)
        other._sources, other._descriptions = dict(self._sources), dict(self._descriptions)
        return other

    def read(self, path: Path, *, growing: bool) -> Iterator[Contents]:
        """The blocks of the segment that stores keep, from here on. The walk moves before it returns one.

        Raises:
            NewerFormatError: the segment has a newer format.
            OSError: the segment cannot be read, or damaged bytes cannot be set aside.
        """
        if self.offset == 0:
            _check_format(path)
        after = -1 if self.state.block is None else self.state.block - 1
        blocks = read_segment(path, growing=growing, start=self.state.start, offset=self.offset, after=after)
        for found in blocks:
            if isinstance(found, Damage):
                self._pass_damage(path, found)
            elif (contents := self._pass_block(path, found)) is not None:
                yield contents

    def next_segment(self, segment: int) -> None:
        """Go to the begin of the segment after `segment`, which is done."""
        self.state = replace(self.state, segment=segment + 1, sources=self._descriptions)
        self.offset, self._sources, self._descriptions = 0, {}, {}

    def end(self) -> None:
        """Count what was damaged at the end of the last segment, as no block behind it can tell."""
        predictions, rows = self._doubtful
        if rows > self.state.rows:
            self._lose(predictions, rows)

    def _pass_block(self, path: Path, block: Block) -> Contents | None:
        """Count a block and take over what it tells; its contents if stores keep them."""
        header = block.header
        if self.state.block is None:
            # What earlier segments had was stored before, as far as anyone can know.
            self.state = replace(self.state, predictions=header.predictions_before, rows=header.rows_before)
        self._lose(header.predictions_before, header.rows_before)
        try:
            contents = self._understand(block)
        except (BlockError, ValueError):
            # The bytes are what the server wrote, but not what this program can store.
            self._set_aside(path, block.offset, block.end)
            self.state = replace(self.state, set_aside=self.state.set_aside + header.rows)
            contents = None
        self.offset = block.end
        self.state = replace(
            self.state,
            block=header.number + 1,
            predictions=header.predictions_before + header.predictions,
            rows=header.rows_before + header.rows,
            ended=header.is_last,
        )
        return contents

    def _understand(self, block: Block) -> Contents | None:
        header = block.header
        if header.kind == Kind.START:
            start = Start.decode(block.body)
            self.state = replace(
                self.state,
                created=self.state.created or start.created,
                server=start.server,
                engine=start.engine,
            )
            return StartDescription(header.number, start)
        if header.kind == Kind.SOURCE:
            self._define(block.body)
        elif header.kind == Kind.LEDGER:
            self.state = replace(self.state, ledgers=tuple(decode_ledgers(block.body)))
            return Ledgers(header.number, self.state.ledgers)
        elif header.is_last:
            return End(header.number)
        elif header.kind == Kind.ROWS:
            source = self._source(header.source)
            rows = RowsBlock.decode(block.body, source, header.format)
            if (len(rows), rows.row_count) != (header.predictions, header.rows):
                raise BlockError("a block has other rows than its header says")
            return SourceRows(header.number, source, rows)
        return None

    def _define(self, body: bytes) -> Source:
        source = Source.decode(body)
        # The names become names of folders and tables.
        check_model_name(source.model)
        Version(source.version)
        self._sources[source.source] = source
        self._descriptions[source.source] = body.decode().rstrip()
        return source

    def _source(self, number: int) -> Source:
        if number in self._sources:
            return self._sources[number]
        if number in self.state.sources:
            return self._define(self.state.sources[number].encode())
        raise BlockError(f"the block of source {number} was damaged")

    def _lose(self, predictions: int, rows: int) -> None:
        """Count what is missing up to a place where so many predictions and rows stand before."""
        lost = max(0, rows - self.state.rows)
        self.state = replace(
            self.state, predictions=predictions, rows=rows, set_aside=self.state.set_aside + lost
        )
        self._doubtful = (0, 0)

    def _pass_damage(self, path: Path, damage: Damage) -> None:
        if damage.is_torn:
            self.state = replace(self.state, torn_bytes=self.state.torn_bytes + damage.end - damage.offset)
        else:
            head = self._set_aside(path, damage.offset, damage.end)
            with suppress(BlockError):
                header = Header.decode(head)
                if header.start == self.state.start:
                    self._doubtful = (
                        header.predictions_before + header.predictions,
                        header.rows_before + header.rows,
                    )
        self.offset = damage.end

    def _set_aside(self, path: Path, begin: int, end: int) -> bytes:
        """Set bytes of the segment aside, and count them; returns the first of them."""
        aside = damaged_path(self._spool, self.state.start, self.state.segment, begin)
        head = _copy(path, aside, begin, end)
        self.state = replace(
            self.state,
            pieces=self.state.pieces + 1,
            set_aside_bytes=self.state.set_aside_bytes + end - begin,
        )
        return head


def set_block_aside(spool: Path, start: UUID, segment: int, path: Path, number: int) -> None:
    """Copy a block to the folder of damaged ones: it is whole, but the store refuses it.

    Args:
        spool: the folder of the spool.
        start: the start.
        segment: the number of the segment.
        path: the file of the segment.
        number: the number of the block.

    Raises:
        OSError: the segment cannot be read, or the copy cannot be written.
    """
    for found in read_segment(path, growing=True):
        if isinstance(found, Block) and found.header.number == number:
            _copy(path, damaged_path(spool, start, segment, found.offset), found.offset, found.end)
            return


def _copy(path: Path, aside: Path, begin: int, end: int) -> bytes:
    """Copy bytes of a segment to a file; returns the first of them."""
    durable.make_folder(aside.parent)
    temporary = durable.temporary_of(aside)
    head = b""
    with path.open("rb") as segment, temporary.open("wb") as copied:
        segment.seek(begin)
        while (rest := end - segment.tell()) > 0 and (piece := segment.read(min(rest, _PIECE_BYTES))):
            head = head or piece[:HEADER_BYTES]
            copied.write(piece)
    durable.publish({temporary: aside})
    return head


def _check_format(path: Path) -> None:
    with path.open("rb") as segment:
        head = segment.read(HEADER_BYTES)
    found = int.from_bytes(head[8:10], "little")
    whole = len(head) == HEADER_BYTES and int.from_bytes(head[-4:], "little") == crc32c(head[:-4])
    if whole and head.startswith(MARKER) and found > FORMAT:
        raise NewerFormatError(
            f"its format is {found}, and this program reads formats up to {FORMAT}: install a newer one"
        )
