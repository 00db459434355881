"""The generator in Python, on asyncio and grpc.aio. It runs wherever Python runs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence

from scorewire_loadtest.attack import Attack
from scorewire_loadtest.calls import PreparedCall
from scorewire_loadtest.plan import Plan
from scorewire_loadtest.progress import REDRAW_S, Course, ProgressBar
from scorewire_loadtest.recorder import Recorder
from scorewire_loadtest.results import Results
from scorewire_loadtest.streams import StreamTransport
from scorewire_loadtest.timer import open_timer
from scorewire_loadtest.transport import Transport, UnaryTransport


def run(plan: Plan, calls: Sequence[PreparedCall], bar: ProgressBar) -> Results:
    """Make the calls of a plan; Ctrl-C ends the run early, and a second time aborts it."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_run(plan, calls, bar))


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - not available on Windows

    return uvloop.Loop


async def _run(plan: Plan, calls: Sequence[PreparedCall], bar: ProgressBar) -> Results:
    transport: Transport
    if plan.streams is None:
        transport = UnaryTransport(plan.target, connections=plan.connections, timeout_s=plan.timeout_s)
    else:
        transport = StreamTransport(
            plan.target, connections=plan.connections, streams=plan.streams, timeout_s=plan.timeout_s
        )
    timer = open_timer()
    try:
        # Existing objects outlive the run, so the garbage collector need not visit them.
        gc.collect()
        gc.freeze()
        attack = Attack(
            transport=transport,
            calls=calls,
            load=plan.load,
            warmup_s=plan.warmup_s,
            duration_s=plan.duration_s,
            timer=timer,
        )
        with _interruptible(attack):
            async with _drawn(bar, attack.recorder):
                return await attack.run()
    finally:
        gc.unfreeze()
        timer.close()
        await transport.close()


@contextlib.contextmanager
def _interruptible(attack: Attack) -> Iterator[None]:
    """Make Ctrl-C end the run early, so that the results so far are reported; the second one aborts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    previous = signal.getsignal(signal.SIGINT)

    def restore() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, previous)

    def handle() -> None:
        restore()
        attack.stop()

    loop.add_signal_handler(signal.SIGINT, handle)
    try:
        yield
    finally:
        restore()


@contextlib.asynccontextmanager
async def _drawn(bar: ProgressBar, recorder: Recorder) -> AsyncIterator[None]:
    """Draw the progress while the block runs, if the bar is shown."""
    if not bar.is_shown:
        yield
        return
    drawing = asyncio.create_task(_draw(bar, recorder))
    try:
        yield
    finally:
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)


async def _draw(bar: ProgressBar, recorder: Recorder) -> None:
    while True:
        totals = recorder.totals
        bar.show(
            Course(
                answered=totals.answered,
                failed=totals.calls - totals.answered,
                wrong=totals.wrong,
                second=totals.seconds[-1] if totals.seconds else None,
            )
        )
        await asyncio.sleep(REDRAW_S)
