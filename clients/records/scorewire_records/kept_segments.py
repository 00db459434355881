"""Segments that a database has stored, kept for a while: it may be restored from a backup that lacks them.

They are in `DIR/_stored/<start>`, outside of the spool, so that they never keep new records out.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from scorewire_contract.records.segments import segments, start_folder, starts
from scorewire_contract.service import durable

_FOLDER = "_stored"
# All of them have no more bytes than this, and no more than this part of what is free on the disk.
_MAX_BYTES, _MAX_PART_OF_FREE = 1 << 30, 0.1


class KeptSegments:
    """The stored segments of all starts in a folder of records.

    Args:
        records: the folder of records.
        seconds: how long a segment is kept; with 0, it is removed at once.
    """

    def __init__(self, records: Path, seconds: float) -> None:
        self._records, self._folder = records, records / _FOLDER
        self._seconds = seconds

    def keep(self, start: UUID, path: Path) -> None:
        """Take a segment out of the spool, for good; it may be taken out already."""
        if self._seconds > 0:
            kept = start_folder(self._folder, start) / path.name
            try:
                durable.make_folder(kept.parent)
                os.utime(path)
                path.replace(kept)
            except OSError:
                # Not to have it is better than to have a spool that fills.
                durable.remove([path])
            else:
                durable.sync_folders([path, kept])
            self.prune()
        else:
            durable.remove([path])

    def starts(self) -> list[UUID]:
        """The starts that have segments here, the earliest first."""
        return starts(self._folder)

    def segments(self, start: UUID) -> list[tuple[int, Path]]:
        """The numbers and files of the segments of a start that are here, ascending."""
        return segments(start_folder(self._folder, start))

    def prune(self) -> None:
        """Remove segments that are too old, and the oldest ones of those that are too many."""
        found = sorted(self._files())
        total = sum(size for _, size, _ in found)
        limit = min(_MAX_BYTES, _MAX_PART_OF_FREE * shutil.disk_usage(self._records).free)
        oldest = time.time() - self._seconds
        for changed, size, path in found:
            if changed >= oldest and total <= limit:
                break
            path.unlink(missing_ok=True)
            total -= size
            if not any(path.parent.iterdir()):
                path.parent.rmdir()

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """When each segment was stored, its bytes, and its path."""
        for start in self.starts():
            for _, path in self.segments(start):
                status = path.stat()
                yield status.st_mtime, status.st_size, path
