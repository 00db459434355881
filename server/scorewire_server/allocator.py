"""The C library's allocator, told to give back what a burst of large messages leaves."""

from __future__ import annotations

import ctypes
import sys

# glibc's numbers of what mallopt sets.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_THRESHOLD_BYTES = 1 << 20


def give_back_large_blocks() -> bool:
    """Have blocks of 1 MiB and more go back to the system as soon as they are free.

    Unless it is told, glibc raises this threshold to the largest block that was
    freed, up to 32 MiB, and keeps smaller ones in its heap for good.

    Returns:
        Whether the allocator could be told; only glibc's can.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    return all(mallopt(name, _THRESHOLD_BYTES) for name in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
