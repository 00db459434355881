"""Makes the C library's allocator return the memory of large messages to the system."""

from __future__ import annotations

import ctypes
import sys

# The numbers of mallopt's parameters in glibc.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_THRESHOLD_BYTES = 1 << 20


def give_back_large_blocks() -> bool:
    """Return blocks of 1 MiB and more to the system as soon as they are free.

    By default glibc raises this threshold to the size of the largest freed block, up to
    32 MiB, and keeps smaller free blocks in its heap for good.

    Returns:
        Whether the threshold is set; only glibc has it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    return all(mallopt(name, _THRESHOLD_BYTES) for name in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
