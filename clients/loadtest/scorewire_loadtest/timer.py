"""Timers that are precise enough for an open loop.

Event loops round their timers to milliseconds, which is longer than a call takes.
Linux has timerfd: such a timer fires within some tens of microseconds, and an event
loop can wait for it without busy waiting.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from typing import Protocol

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_TFD_NONBLOCK = 0o4000
_TFD_CLOEXEC = 0o2000000
_NS_PER_SECOND = 1_000_000_000


class Timer(Protocol):
    """Sleeps until a time of `time.monotonic_ns`; for one task at a time."""

    async def until(self, due_ns: int) -> None:
        """Sleep until a time, and return at once if the time has passed."""

    def close(self) -> None:
        """Release the timer's resources."""


class LoopTimer:
    """A timer of the running event loop, precise to about a millisecond."""

    async def until(self, due_ns: int) -> None:
        """As in `Timer`."""
        await asyncio.sleep(max(due_ns - time.monotonic_ns(), 0) / _NS_PER_SECOND)

    def close(self) -> None:
        """Do nothing: there are no resources."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class FileTimer:
    """A timerfd of Linux, see timerfd_create(2), that the running event loop watches.

    Raises:
        OSError: a timerfd cannot be created.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._loop = asyncio.get_running_loop()
        self._file = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "no timerfd")
        self._waiter: asyncio.Future[None] | None = None
        self._loop.add_reader(self._file, self._fired)

    async def until(self, due_ns: int) -> None:
        """As in `Timer`."""
        if due_ns <= time.monotonic_ns():
            return
        due = _Timespec(due_ns // _NS_PER_SECOND, due_ns % _NS_PER_SECOND)
        spec = _Itimerspec(_Timespec(0, 0), due)
        self._waiter = self._loop.create_future()
        if self._libc.timerfd_settime(self._file, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), "a timerfd cannot be set")
        await self._waiter

    def close(self) -> None:
        """Stop watching and close the file."""
        if self._file >= 0:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = -1

    def _fired(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:
            return
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def open_timer() -> Timer:
    """Open the most precise timer that the system has, for the running event loop."""
    if sys.platform == "linux":
        try:
            return FileTimer()
        except (OSError, AttributeError):
            # Some systems that identify as Linux have no timerfd.
            return LoopTimer()
    return LoopTimer()
