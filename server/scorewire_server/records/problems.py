"""Finds out what is wrong with records, by a look every second."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from time import monotonic

from scorewire_server.engine.recording import RecordCounts
from scorewire_server.records.ledger import imbalance
from scorewire_server.records.shipper_status import ShippedRows, ShipperStatus

# Drops are a problem for this time.
DROP_SECONDS = 60.0
# Sums that do not hold are a problem once nothing was counted for this time.
REST_SECONDS = 5.0
# The shipper hangs if it has told nothing for this time.
SILENCE_SECONDS = 30.0
_ADVICE = {
    "ring_full": "records came faster than they could be written; raise --records-ring-bytes",
    "too_large": "calls were larger than the ring; raise --records-ring-bytes",
    "spool_full": "--records-spool-bytes or --records-free-bytes was reached",
    "disk": "the spool could not be written",
}


class Problems:
    """Judges the counts of the engine and what the shipper tells."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        # The counts of drops and since when they were so; the first entry is a minute old.
        self._drops: deque[tuple[float, Mapping[str, int]]] = deque([(-math.inf, {})])
        self._seen: tuple[RecordCounts, ShippedRows] | None = None
        self._seen_at = self._told_at = clock()
        self._told: str | None = None

    def find(self, counts: RecordCounts, status: ShipperStatus) -> list[str]:
        """What is wrong, as sentences for people.

        Args:
            counts: the counts of the engine.
            status: what the shipper has told last.
        """
        now = self._clock()
        found = [counts.problem, *self._dropped(counts, now), status.problem]
        if status.told != self._told:
            self._told, self._told_at = status.told, now
        silent = now - self._told_at
        if silent >= SILENCE_SECONDS:
            found.append(f"the shipper has told nothing for {silent:.0f} seconds")
        if (counts, status.rows) != self._seen:
            self._seen, self._seen_at = (counts, status.rows), now
        # A shipper with a problem, or none, may know less than the engine.
        at_rest = now - self._seen_at >= REST_SECONDS and silent < REST_SECONDS
        if at_rest and not any(found) and (reason := imbalance(counts, status.rows)):
            found.append(f"the ledger does not add up: {reason}")
        return [each for each in found if each]

    def _dropped(self, counts: RecordCounts, now: float) -> Iterator[str]:
        """What was dropped in the last minute."""
        while len(self._drops) > 1 and now - self._drops[1][0] >= DROP_SECONDS:
            self._drops.popleft()
        if self._drops[-1][1] != counts.dropped:
            self._drops.append((now, counts.dropped))
        before = self._drops[0][1]
        for cause, rows in counts.dropped.items():
            if lost := rows - before.get(cause, 0):
                yield f"{lost} rows were dropped within a minute ({cause}): {_ADVICE[cause]}"
