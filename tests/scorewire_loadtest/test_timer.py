from __future__ import annotations

import asyncio
import sys
import time

import pytest

from scorewire_loadtest.timer import FileTimer, LoopTimer, Timer, open_timer


async def _check(timer: Timer) -> None:
    try:
        for delay_ns in (3_000_000, 100_000, 0, -5):
            due_ns = time.monotonic_ns() + delay_ns
            await timer.until(due_ns)
            assert time.monotonic_ns() >= due_ns
    finally:
        timer.close()


async def test_a_timer_never_wakes_early() -> None:
    # The timers of the event loop are rounded, and may fire early by its resolution.
    timer = open_timer()
    assert isinstance(timer, FileTimer) == (sys.platform == "linux")
    await _check(timer)


async def test_the_timer_of_the_loop_serves_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorewire_loadtest.timer.sys.platform", "other")
    timer = open_timer()
    assert isinstance(timer, LoopTimer)
    begin = asyncio.get_running_loop().time()
    await timer.until(time.monotonic_ns() + 2_000_000)
    assert asyncio.get_running_loop().time() - begin >= 0.0019
    timer.close()
