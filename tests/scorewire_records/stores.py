"""A store in memory that takes single blocks, and can fail like a database."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from scorewire_records.store import Contents, RefusedError, SourceRows, StoreError, Totals


class MemoryStore:
    """Keeps the rows of each start; refuses everything while `problem` is set."""

    name = "memory"

    def __init__(self, *, whole_segments: bool = False) -> None:
        self.whole_segments = whole_segments
        self.problem = ""
        self.calls: list[tuple[int, list[int]]] = []
        self._blocks: dict[UUID, dict[int, SourceRows]] = {}
        self._positions: dict[UUID, int] = {}
        # Sequence numbers whose blocks are refused, and the rows that were.
        self.refuses: set[int] = set()
        self._refused: dict[UUID, int] = {}

    def position(self, start: UUID) -> int:
        self._check()
        return self._positions.get(start, 0)

    def store(self, start: UUID, segment: int, blocks: Iterable[Contents]) -> None:
        all_blocks = list(blocks)
        found = {each.number: each for each in all_blocks if isinstance(each, SourceRows)}
        self._check()
        known = self._blocks.setdefault(start, {})
        if not self.whole_segments:
            assert all_blocks[0].number >= self.position(start)
            for each in all_blocks:
                if isinstance(each, SourceRows) and self.refuses & set(each.rows.sequences.tolist()):
                    raise RefusedError(each, "no such rows")
                if isinstance(each, SourceRows):
                    known[each.number] = each
                self._positions[start] = each.number + 1
        if found or self.whole_segments:
            self.calls.append((segment, list(found)))
        known |= found

    def pass_over(self, start: UUID, block: SourceRows) -> None:
        self._check()
        self._refused[start] = self._refused.get(start, 0) + block.rows.row_count
        self._positions[start] = block.number + 1

    def expire(self, now: datetime) -> set[UUID]:  # noqa: ARG002 - the protocol's signature
        return set()

    def totals(self, start: UUID) -> Totals | None:
        self._check()
        if self.whole_segments:
            return None
        return Totals(stored=self.rows(start), refused=self._refused.get(start, 0))

    def close(self) -> None:
        pass

    def rows(self, start: UUID) -> int:
        return sum(each.rows.row_count for each in self._blocks.get(start, {}).values())

    def blocks(self, start: UUID) -> list[SourceRows]:
        """The blocks of rows in their order."""
        return [each for _, each in sorted(self._blocks.get(start, {}).items())]

    def sequences(self, start: UUID) -> list[int]:
        """The sequence number of each row, in the order of blocks."""
        blocks = self._blocks.get(start, {})
        return [
            int(rows.sequences[index])
            for number in sorted(blocks)
            for rows in [blocks[number].rows]
            for index in rows.prediction_of_row
        ]

    def forget(self, start: UUID, *, after: int) -> None:
        """Go back to an older backup."""
        self._blocks[start] = {number: each for number, each in self._blocks[start].items() if number < after}
        self._positions[start] = after

    def _check(self) -> None:
        if self.problem:
            raise StoreError(self.problem)
