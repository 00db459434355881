"""The bytes of answers that callers have not taken yet.

grpc's core does not say what it holds of messages that come, and takes no quota
from Python; what it is given to send is known here.
"""

from __future__ import annotations

from collections import Counter

# Answers that are no longer are not counted.
FREE_BYTES = 1 << 12


class Quota:
    """Bytes that all connections may hold, and each of them."""

    def __init__(self, connection_bytes: int, all_bytes: int) -> None:
        self._connection_bytes = connection_bytes
        self._all_bytes = all_bytes
        self._by_peer: Counter[str] = Counter()
        self.used = 0

    def take(self, peer: str, count: int) -> bool:
        """Hold so many bytes for a connection; false where that is too much."""
        if self.used + count > self._all_bytes or self._by_peer[peer] + count > self._connection_bytes:
            return False
        self.used += count
        self._by_peer[peer] += count
        return True

    def give(self, peer: str, count: int) -> None:
        """Hold them no more."""
        self.used -= count
        self._by_peer[peer] -= count
        if not self._by_peer[peer]:
            del self._by_peer[peer]
