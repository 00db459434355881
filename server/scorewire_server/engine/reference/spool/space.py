"""How much room the spool has left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


class Space:
    """The bytes of the spool and of its disk.

    Args:
        folder: the folder of the spool.
        spool_bytes: the most bytes of all files in the spool.
        free_bytes: the least free bytes of the disk.
    """

    def __init__(self, folder: Path, spool_bytes: int, free_bytes: int) -> None:
        self._folder = folder
        self._spool_bytes = spool_bytes
        self._free_bytes = free_bytes
        self._used = 0
        self._free: int | None = None

    def measure(self) -> None:
        """Look at the spool and its disk."""
        self._used = _bytes_below(self._folder, levels=2)
        try:
            self._free = shutil.disk_usage(self._folder).free
        except OSError:
            # What cannot be read will fail when it is written.
            self._free = None

    def write(self, size: int) -> None:
        """Count bytes that were written since the last look."""
        self._used += size
        if self._free is not None:
            self._free -= size

    @property
    def problem(self) -> str:
        """For people: why no more rows may be written; "" if they may."""
        if self._used >= self._spool_bytes:
            return (
                f"the spool {self._folder} has reached its limit of {self._spool_bytes} bytes:"
                " records are dropped until the shipper has moved some"
            )
        if self._free is not None and self._free < self._free_bytes:
            return (
                f"the disk of {self._folder} has {max(0, self._free)} bytes free and must keep"
                f" {self._free_bytes}: records are dropped until there is room"
            )
        return ""


def _bytes_below(folder: Path, levels: int) -> int:
    """The bytes of all files in a folder and the folders below it, so many levels down."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                # Files come and go while this reads.
                try:
                    if entry.is_dir(follow_symlinks=False):
                        total += _bytes_below(Path(entry.path), levels - 1) if levels > 1 else 0
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
                except OSError:
                    continue
    except OSError:
        return total
    return total
