"""The way of one writer's records to the thread that writes the spool."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from uuid import UUID

from scorewire_contract.records.identity import writer_uuid
from scorewire_contract.records.ledger import CAUSES, Count, WriterLedger
from scorewire_server.engine.interpreted.recording import Record


class Tally:
    """Predictions and their rows. One thread counts, others may read."""

    __slots__ = ("predictions", "rows")

    def __init__(self) -> None:
        self.predictions = self.rows = 0

    def add(self, predictions: int, rows: int) -> None:
        """Count predictions and rows."""
        self.predictions += predictions
        self.rows += rows

    @property
    def count(self) -> Count:
        """What was counted so far."""
        return Count(self.predictions, self.rows)


class Lane:
    """A `RecordLane`: a queue that is bounded by the memory of its records.

    One thread records, and another one takes the records. They share no lock: each has
    counters of its own.

    Args:
        start: the UUID of the start.
        writer: the number of the writer.
        max_bytes: about the most memory of the records that wait.
        wake: wakes the thread that takes the records.

    Attributes:
        writer: the number of the writer.
    """

    def __init__(self, start: UUID, writer: int, max_bytes: int, wake: Callable[[], None]) -> None:
        self.writer = writer
        self._name = str(writer_uuid(start, writer))
        self._max_bytes = max_bytes
        self._wake = wake
        self._waiting: deque[tuple[int, Record, int]] = deque()
        self._open = True
        # Of the thread that records.
        self._next = self._offered = self._entered = self._entered_bytes = 0
        self._sampled_out, self._ring_full, self._too_large = Tally(), Tally(), Tally()
        # Of the thread that takes the records.
        self._left_bytes = 0
        self._spooled = Tally()
        self._lost = {cause: Tally() for cause in CAUSES}

    def next_id(self) -> str:
        """The prediction_id of the next record."""
        return f"{self._name}-{self._next}"

    def sampled_out(self, rows: int) -> None:
        """Count a prediction that is not kept."""
        self._offered += rows
        self._sampled_out.add(1, rows)

    def record(self, record: Record) -> None:
        """Keep a record if there is room, else drop and count it; it takes the next sequence number."""
        rows, size, sequence = record.row_count, record.memory_bytes, self._next
        self._next += 1
        self._offered += rows
        if size > self._max_bytes:
            self._too_large.add(1, rows)
        elif not self._open or self._entered_bytes - self._left_bytes + size > self._max_bytes:
            self._ring_full.add(1, rows)
        else:
            waiting = sequence, record, size
            self._entered += rows
            self._entered_bytes += size
            self._waiting.append(waiting)
            self._wake()
            if not self._open:
                self._take_back(waiting)

    def close(self) -> None:
        """Drop further records, as if the lane were full."""
        self._open = False

    def _take_back(self, waiting: tuple[int, Record, int]) -> None:
        """Drop a record that came while the lane was closed, unless it was taken."""
        try:
            self._waiting.remove(waiting)
        except ValueError:
            return
        _, record, size = waiting
        self._entered -= record.row_count
        self._entered_bytes -= size
        self._ring_full.add(1, record.row_count)

    def take(self) -> Iterator[tuple[int, Record, int]]:
        """Take the records that wait now: the sequence number, the record and about its memory in bytes.

        The memory of a record counts until the next one is taken.
        """
        for _ in range(len(self._waiting)):
            try:
                sequence, record, size = self._waiting.popleft()
            except IndexError:
                # A record that came while the lane was closed was taken back.
                return
            yield sequence, record, size
            self._left_bytes += size

    @property
    def is_waiting(self) -> bool:
        """Whether records wait."""
        return bool(self._waiting)

    def count(self, cause: str, predictions: int, rows: int) -> None:
        """Count what was taken: why it is lost, or "" if it is in the spool."""
        tally = self._lost[cause] if cause else self._spooled
        tally.add(predictions, rows)

    @property
    def ledger(self) -> WriterLedger:
        """The counts since the start."""
        lost = {cause: tally.count for cause, tally in self._lost.items()}
        lost["ring_full"] += self._ring_full.count
        lost["too_large"] += self._too_large.count
        return WriterLedger(
            self._next, self._sampled_out.count, self._spooled.count, tuple(lost[cause] for cause in CAUSES)
        )

    @property
    def offered(self) -> int:
        """Rows of all predictions that were offered."""
        return self._offered

    @property
    def buffered(self) -> int:
        """Rows that were taken in and are not written or lost yet."""
        left = self._spooled.rows + sum(tally.rows for tally in self._lost.values())
        return self._entered - left
