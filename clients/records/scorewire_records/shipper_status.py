"""What the shipper tells of its work, in `DIR/_spool/shipper.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any
from uuid import UUID

from scorewire_contract.records.segments import spool_bytes, spool_folder
from scorewire_contract.service import durable
from scorewire_records.shipper import Shipper
from scorewire_records.spool_end import SpoolEnd
from scorewire_records.spool_folder import STATUS, StartFolder, starts_of
from scorewire_records.start_state import StartState

_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """The rows of one start, seen = stored + pending + set_aside + expired.

    Rows that a store has lost, since it was restored from a backup, are missing from that sum.
    """

    seen: int
    stored: int
    pending: int
    set_aside: int
    expired: int

    @classmethod
    def of(cls, seen: int, state: StartState) -> RowCounts:
        """The counts of a start.

        Args:
            seen: rows in the spool so far.
            state: how far the shipper is.
        """
        seen = max(seen, state.rows)
        return cls(
            seen=seen,
            stored=state.stored,
            pending=seen - state.rows,
            set_aside=state.set_aside + state.refused,
            expired=state.expired,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipperStatus:
    """What the shipper tells.

    Attributes:
        pid: the process of the shipper.
        time: when this was told.
        store: the name of the store.
        problem: what is wrong; empty if nothing is.
        problem_since: since when; None if nothing is wrong.
        pending_bytes: bytes of segments that are in the spool.
        starts: the rows of each start in the spool.
    """

    pid: int
    time: datetime
    store: str
    problem: str = ""
    problem_since: datetime | None = None
    pending_bytes: int = 0
    starts: Mapping[UUID, RowCounts] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The contents of the file."""
        return {
            "pid": self.pid,
            "time": _text(self.time),
            "store": self.store,
            "problem": self.problem or None,
            "problem_since": self.problem_since and _text(self.problem_since),
            "pending_bytes": self.pending_bytes,
            "starts": {
                str(start): {name: getattr(counts, name) for name in RowCounts.__slots__}
                for start, counts in self.starts.items()
            },
        }


def read_status(records: Path) -> ShipperStatus | None:
    """What the shipper told last; None if it has never told anything that can be understood."""
    try:
        found = json.loads((spool_folder(records) / STATUS).read_bytes())
        since = found["problem_since"]
        return ShipperStatus(
            pid=int(found["pid"]),
            time=datetime.fromisoformat(found["time"]),
            store=str(found["store"]),
            problem=str(found["problem"] or ""),
            problem_since=since and datetime.fromisoformat(since),
            pending_bytes=int(found["pending_bytes"]),
            starts={UUID(start): RowCounts(**counts) for start, counts in found["starts"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


class StatusWriter:
    """Writes the status each second from a thread of its own, so that a store that hangs does not stop it.

    Args:
        records: the folder of records.
        shipper: the shipper.
        store: the name of the store.
        on_status: called with each status.
    """

    def __init__(
        self, records: Path, shipper: Shipper, store: str, on_status: Callable[[ShipperStatus], None]
    ) -> None:
        self._records, self._spool = records, spool_folder(records)
        self._shipper = shipper
        self._store = store
        self._on_status = on_status
        self._problem = ""
        self._since: datetime | None = None
        self._ends: dict[UUID, SpoolEnd] = {}
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="status", daemon=True)

    def __enter__(self) -> StatusWriter:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()
        self._write()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._write()
            self._stopped.wait(_EVERY_S)

    def _write(self) -> None:
        # What fails here is the shipper's problem already, and the next second may be better.
        with suppress(OSError):
            status = self._status()
            self._on_status(status)
            durable.write_json(self._spool / STATUS, status.to_json(), lasting=False)

    def _status(self) -> ShipperStatus:
        now = datetime.now(UTC)
        problem = "; ".join(self._shipper.problems.values())
        if problem != self._problem:
            self._since = (self._since or now) if problem else None
            self._problem = problem
        return ShipperStatus(
            pid=os.getpid(),
            time=now,
            store=self._store,
            problem=problem,
            problem_since=self._since,
            pending_bytes=spool_bytes(self._records),
            starts=self._counts(),
        )

    def _counts(self) -> dict[UUID, RowCounts]:
        here = starts_of(self._records)
        self._ends = {
            start: self._ends.get(start) or SpoolEnd(StartFolder(self._spool, start)) for start in here
        }
        counts = {}
        for start in here:
            end = self._ends[start]
            with suppress(OSError):
                end.follow()
            if (state := self._shipper.position(start)) is not None:
                counts[start] = RowCounts.of(end.rows, state)
            else:
                counts[start] = RowCounts.of(end.rows, StartState(start=start))
        return counts


def _text(time: datetime) -> str:
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")
