"""Follows the end of a start's spool: what its server has written so far."""

from __future__ import annotations

from pathlib import Path

from scorewire_contract.records.blocks import Block, BlockError, Kind
from scorewire_contract.records.ledger import decode_ledgers
from scorewire_contract.records.segments import read_segment
from scorewire_contract.records.source import Start
from scorewire_records.spool_folder import StartFolder
from scorewire_records.start_state import Ledgers


class SpoolEnd:
    """The counts behind the last block of a start.

    Args:
        folder: the folder of the start.

    Attributes:
        rows: rows in all blocks so far.
        ledgers: the last ledger of each writer; empty if there is none in the spool.
        created: when the first segment that was seen was begun; empty if unknown.
        engine: the engine of the server; empty if unknown.
        ended: whether the server has stopped in order.
    """

    def __init__(self, folder: StartFolder) -> None:
        self._folder = folder
        self._segment = -1
        self._offset = 0
        self._block = -1
        self.rows = 0
        self.ledgers: Ledgers = ()
        self.created = ""
        self.engine = ""
        self.ended = False

    def follow(self) -> None:
        """Read what was written since the last call, or at the first call, the last two segments.

        Raises:
            OSError: a segment cannot be read.
        """
        for number, path in self._folder.segments()[-2:]:
            if number > self._segment:
                self._segment, self._offset = number, 0
            if number == self._segment:
                self._read(path)

    def _read(self, path: Path) -> None:
        # The shipper may remove a segment that it has shipped.
        if not path.exists():
            return
        for found in read_segment(
            path, growing=True, start=self._folder.start, offset=self._offset, after=self._block
        ):
            if isinstance(found, Block):
                self._pass(found)

    def _pass(self, block: Block) -> None:
        header = block.header
        self._offset, self._block = block.end, header.number
        self.rows = header.rows_before + header.rows
        self.ended = header.is_last
        try:
            if header.kind == Kind.LEDGER:
                self.ledgers = tuple(decode_ledgers(block.body))
            elif header.kind == Kind.START and not self.created:
                start = Start.decode(block.body)
                self.created, self.engine = start.created, start.engine
        except BlockError:
            # The shipper sets the block aside, and tells people.
            return
