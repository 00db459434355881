"""Bounds the bytes of answers that callers have not taken yet.

gRPC's core does not tell how many bytes of received messages it holds, and takes no
quota from Python. So only answers, which are known here, are counted.
"""

from __future__ import annotations

from collections import Counter

# Answers up to this size are not counted.
FREE_BYTES = 1 << 12


class Quota:
    """Counts the bytes that are held, in all and by connection."""

    def __init__(self, connection_bytes: int, all_bytes: int) -> None:
        self._connection_bytes = connection_bytes
        self._all_bytes = all_bytes
        self._by_peer: Counter[str] = Counter()
        self.used = 0

    def take(self, peer: str, count: int) -> bool:
        """Count bytes as held by a connection; False, and not counted, if a limit would be exceeded."""
        if self.used + count > self._all_bytes or self._by_peer[peer] + count > self._connection_bytes:
            return False
        self.used += count
        self._by_peer[peer] += count
        return True

    def give(self, peer: str, count: int) -> None:
        """Count bytes as no longer held."""
        self.used -= count
        self._by_peer[peer] -= count
        if not self._by_peer[peer]:
            del self._by_peer[peer]
