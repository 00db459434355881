"""Counts which versions are in use by threads."""

from __future__ import annotations

from collections import Counter
from threading import Lock

from scorewire_server.engine.snapshot import LoadedVersion


class VersionUses:
    """Counts the uses of each version; any thread may call."""

    def __init__(self) -> None:
        self._counts: Counter[LoadedVersion] = Counter()
        self._lock = Lock()

    def enter(self, version: LoadedVersion, limit: int | None = None) -> bool:
        """Count one more use; False, and not counted, if all versions together have `limit` uses."""
        with self._lock:
            if limit is not None and self._counts.total() >= limit:
                return False
            self._counts[version] += 1
            return True

    def leave(self, version: LoadedVersion) -> None:
        """Count one use less of a version."""
        with self._lock:
            self._counts[version] -= 1
            if not self._counts[version]:
                del self._counts[version]

    def __contains__(self, version: LoadedVersion) -> bool:
        with self._lock:
            return version in self._counts
