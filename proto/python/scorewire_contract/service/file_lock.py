"""A lock between processes: a file that has no other purpose."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class LockedError(Exception):
    """Another process holds the lock; the message says which."""


class FileLock:
    """A lock that is held until it is released or the process ends, however it ends.

    Raises:
        LockedError: another process holds the lock.
        OSError: the file cannot be made, or its file system has no locks.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise LockedError(
                f"process {holder}" if holder.isdigit() else "a process that has just started"
            ) from None
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock. The file stays, since another process may be about to lock it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
