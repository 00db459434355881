"""What keeps records: the protocol that Parquet files and PostgreSQL implement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias
from uuid import UUID

from scorewire_contract.records.ledger import WriterLedger
from scorewire_contract.records.rows import RowsBlock
from scorewire_contract.records.source import Source, Start


class StoreError(Exception):
    """The store cannot be used now; the message tells people why, and has no password."""


class RefusedError(Exception):
    """The store will never take a block of rows; all blocks before it are stored.

    Attributes:
        block: the block.
    """

    def __init__(self, block: SourceRows, reason: str) -> None:
        super().__init__(reason)
        self.block = block


@dataclass(frozen=True, slots=True, eq=False)
class SourceRows:
    """A block of rows with the source that they came from.

    Attributes:
        number: the number of the block in its start.
        source: where the rows came from.
        rows: the rows.
    """

    number: int
    source: Source
    rows: RowsBlock


@dataclass(frozen=True, slots=True)
class StartDescription:
    """What the first block of a segment tells of the server.

    Attributes:
        number: the number of the block.
        description: the body of the block.
    """

    number: int
    description: Start


@dataclass(frozen=True, slots=True)
class Ledgers:
    """A block with the ledger of each writer, which counts all blocks before it.

    Attributes:
        number: the number of the block.
        writers: the ledgers of the writers 0, 1, 2 and so on.
    """

    number: int
    writers: tuple[WriterLedger, ...]


@dataclass(frozen=True, slots=True)
class End:
    """The last block of a start that ended in order.

    Attributes:
        number: the number of the block.
    """

    number: int


Contents: TypeAlias = "SourceRows | StartDescription | Ledgers | End"


@dataclass(frozen=True, slots=True)
class Totals:
    """What a store knows of one start.

    Attributes:
        stored: rows that it has ever stored, expired ones among them.
        expired: rows that it has removed since they were too old.
        refused: rows of blocks that it would not take, and passed over.
    """

    stored: int = 0
    expired: int = 0
    refused: int = 0


class Store(Protocol):
    """Keeps records. One shipper at a time calls it, from one thread.

    Every method raises `StoreError` if the store cannot be used now. The shipper then tells people, waits,
    and calls `position` again before it stores more. Other errors come from reading `blocks`, but for
    `RefusedError`.

    Attributes:
        name: what people call it, without a password: `parquet`, or a URL.
        whole_segments: whether `store` takes whole closed segments only; else any blocks that are there.
    """

    name: str
    whole_segments: bool

    def position(self, start: UUID) -> int:
        """The number of the first block of a start that is not stored.

        A store of whole segments does not know: it returns 0, and takes a segment again as often as needed.
        """

    def store(self, start: UUID, segment: int, blocks: Iterable[Contents]) -> None:
        """Store blocks of one segment in their order; once this returns, they are on the disk.

        Numbers ascend, and are not below `position(start)`, which becomes the last number plus 1. Numbers
        are left out where a block is damaged, or has nothing to store. A store of whole segments gets
        rows only, and stores all of them or none.

        Raises:
            RefusedError: the store refuses one of the blocks for good.

        Args:
            start: the start.
            segment: the number of the segment.
            blocks: the blocks; of a whole segment, an iterator that reads them one by one. It may be empty.
        """

    def pass_over(self, start: UUID, block: SourceRows) -> None:
        """Count the rows of a block that was refused, and go on behind it, all or none of this.

        A store of whole segments refuses no block.
        """

    def expire(self, now: datetime) -> set[UUID]:
        """Remove records whose retention is over, and return the starts whose totals this changed."""

    def totals(self, start: UUID) -> Totals | None:
        """What became of the rows of one start; None if the store does not count them.

        A store that can be restored from a backup must count, so that people learn what it lost.
        """

    def close(self) -> None:
        """Give up connections and files."""
