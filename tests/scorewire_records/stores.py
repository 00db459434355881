"""A store in memory that takes single blocks, and can fail like a database."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from scorewire_records.store import Contents, SourceRows, StoreError, Totals


class MemoryStore:
    """Keeps the rows of each start; refuses everything while `problem` is set."""

    name = "memory"

    def __init__(self, *, whole_segments: bool = False) -> None:
        self.whole_segments = whole_segments
        self.problem = ""
        self.calls: list[tuple[int, list[int]]] = []
        self._blocks: dict[UUID, dict[int, SourceRows]] = {}
        self._positions: dict[UUID, int] = {}

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
            self._positions[start] = all_blocks[-1].number + 1
        if found or self.whole_segments:
            self.calls.append((segment, list(found)))
        known |= found

    def expire(self, now: datetime) -> set[UUID]:  # noqa: ARG002 - the protocol's signature
        return set()

    def totals(self, start: UUID) -> Totals | None:
        self._check()
        return None if self.whole_segments else Totals(stored=self.rows(start))

    def close(self) -> None:
        pass

    def rows(self, start: UUID) -> int:
        return sum(each.rows.row_count for each in self._blocks.get(start, {}).values())

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
