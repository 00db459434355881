"""The folder of a start in the spool, and whether its server is gone."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from scorewire_contract.records.blocks import HEADER_BYTES, BlockError, Header, Kind
from scorewire_contract.records.identity import MAX_WRITERS
from scorewire_contract.records.segments import DAMAGED, LOCK, segments, spool_folder, start_folder, starts
from scorewire_contract.service import durable

STATUS, SHIPPER_LOCK = "shipper.json", "shipper.lock"
# A server locks its folder a moment after it has made it; before, no one else may try the lock.
_YOUNG_S = 60.0


class StartFolder:
    """The folder of one start.

    Args:
        spool: the folder of the spool.
        start: the start.

    Attributes:
        start: the start.
        path: the folder.
    """

    def __init__(self, spool: Path, start: UUID) -> None:
        self.start = start
        self.path = start_folder(spool, start)

    def segments(self) -> list[tuple[int, Path]]:
        """The numbers and files of the segments, ascending."""
        return [(number, path) for number, path in segments(self.path) if path.is_file()]

    def strangers(self) -> list[Path]:
        """What the server did not put here."""
        known = {path for _, path in self.segments()}
        with os.scandir(self.path) as entries:
            found = [Path(entry.path) for entry in entries]
        return sorted(path for path in found if path not in known and path.name != LOCK)

    def remove(self) -> None:
        """Remove the folder, of which only the lock is left."""
        durable.remove([self.path / LOCK])
        self.path.rmdir()
        durable.sync(self.path.parent)

    def server_is_gone(self, *, was_seen: bool) -> bool:
        """Whether the server of this start has ended, so that nothing here changes any more.

        Args:
            was_seen: whether there was a segment before.
        """
        if not was_seen and not self.segments() and self._age_s() < _YOUNG_S:
            return False
        try:
            lock = (self.path / LOCK).open("rb")
        except FileNotFoundError:
            return True
        with lock:
            return _lock(lock.fileno())

    def _age_s(self) -> float:
        created_ms = self.start.int >> 80
        return time.time() - created_ms / 1000


def is_closed(path: Path) -> bool:
    """Whether a segment has its last block, so that it does not change any more."""
    with path.open("rb") as segment:
        size = os.fstat(segment.fileno()).st_size
        if size < HEADER_BYTES:
            return False
        segment.seek(size - HEADER_BYTES)
        try:
            return Header.decode(segment.read(HEADER_BYTES)).kind == Kind.END
        except BlockError:
            return False


def starts_of(records: Path) -> list[UUID]:
    """The starts in the spool of a folder of records, the earliest first."""
    # Writers have the last bits of a start's UUID for their numbers.
    return [start for start in starts(spool_folder(records)) if start.int % MAX_WRITERS == 0]


def strangers(records: Path) -> list[Path]:
    """What is in the spool that neither a server nor a shipper put there."""
    spool = spool_folder(records)
    known = {*map(str, starts_of(records)), DAMAGED, STATUS, SHIPPER_LOCK}
    with os.scandir(spool) as entries:
        names = [entry.name for entry in entries]
    return sorted(spool / name for name in names if name not in known and not name.startswith("."))


@contextmanager
def shipper_lock(records: Path) -> Iterator[bool]:
    """Try to be the one shipper of a folder of records, while the context lasts; tells whether it worked."""
    spool = spool_folder(records)
    spool.mkdir(parents=True, exist_ok=True)
    with (spool / SHIPPER_LOCK).open("ab") as lock:
        yield _lock(lock.fileno())


def shipper_works(records: Path) -> bool:
    """Whether a shipper works on a folder of records."""
    try:
        lock = (spool_folder(records) / SHIPPER_LOCK).open("rb")
    except FileNotFoundError:
        return False
    with lock:
        return not _lock(lock.fileno())


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
