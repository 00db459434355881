"""Carries out a run: prepares the calls, makes them, and shows the progress."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from scorewire_contract.bundle import Bundle
from scorewire_loadtest import calls
from scorewire_loadtest.attack import Attack, ClosedLoop, OpenLoop
from scorewire_loadtest.calls import PreparedCall
from scorewire_loadtest.pacing import Poisson
from scorewire_loadtest.quantities import show_duration
from scorewire_loadtest.results import Recorder, Results
from scorewire_loadtest.rows import read_table
from scorewire_loadtest.streams import StreamTransport
from scorewire_loadtest.timer import open_timer
from scorewire_loadtest.transport import ServerError, Target, Transport, UnaryTransport, get_model

# Drawing takes time from the load generator, so the progress bar is drawn rarely.
_REDRAW_S = 0.5


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of rows for a model; `version` is a version or an alias, or "" for the default version."""

    path: Path
    model: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The settings of a run. `streams` is None for unary calls; times are in seconds."""

    target: Target
    source: Bundle | InputFile
    load: OpenLoop | ClosedLoop
    rows_per_call: int
    connections: int
    streams: int | None
    warmup_s: float
    duration_s: float
    timeout_s: float

    def describe(self) -> dict[str, str]:
        """The settings for people, by name."""
        source = self.source
        if isinstance(source, Bundle):
            rows, checked = f"golden rows of {source.model} {source.version}", "every score"
        else:
            rows = f"{source.path} for {source.model} {source.version}".rstrip()
            checked = "names and sizes of outputs; no scores are known"
        if isinstance(self.load, ClosedLoop):
            loop = f"closed, {self.load.concurrency} callers"
        else:
            arrivals = "chance" if isinstance(self.load.pacing, Poisson) else "constant"
            loop = (
                f"open, {self.load.pacing.rate:g} calls/s, {arrivals} distances,"
                f" at most {self.load.max_outstanding} outstanding"
            )
        calls_kind = "unary" if self.streams is None else f"{self.streams} streams"
        return {
            "server": self.target.address,
            "rows": f"{rows}, {self.rows_per_call} a call",
            "checked": checked,
            "loop": loop,
            "calls": f"{calls_kind} over {self.connections} connections, timeout {self.timeout_s:g} s",
            "duration": f"{self.duration_s:g} s after {self.warmup_s:g} s of warm-up",
        }


def execute(plan: Plan, console: Console) -> Results:
    """Carry out a run, with a progress bar if the console is a terminal.

    Raises:
        ServerError: the server cannot be reached, or does not have the model or its schema.
        ValueError: the rows do not fit the model.
        OSError: the input file cannot be read.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_execute(plan, console))


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - not available on Windows

    return uvloop.Loop


async def _execute(plan: Plan, console: Console) -> Results:
    prepared = await _prepare(plan)
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
            calls=prepared,
            load=plan.load,
            warmup_s=plan.warmup_s,
            duration_s=plan.duration_s,
            timer=timer,
        )
        with _interruptible(attack):
            async with _progress(plan, attack.recorder, console):
                return await attack.run()
    finally:
        gc.unfreeze()
        timer.close()
        await transport.close()


async def _prepare(plan: Plan) -> list[PreparedCall]:
    """Get the model from the server, and serialize the calls."""
    source = plan.source
    if isinstance(source, Bundle):
        found = await get_model(plan.target, source.model, source.manifest.version, timeout_s=plan.timeout_s)
        if found.schema.fingerprint != source.manifest.schema.fingerprint:
            raise ServerError(
                f"the server's {source.model} {source.version} takes other rows than the bundle:"
                f" its schema is {found.schema.fingerprint}, the bundle's"
                f" {source.manifest.schema.fingerprint}. Is it another bundle of the same version?"
            )
        return calls.from_bundle(source, rows_per_call=plan.rows_per_call)
    found = await get_model(plan.target, source.model, source.version, timeout_s=plan.timeout_s)
    return calls.from_table(
        read_table(source.path, found.schema),
        found.schema,
        model=source.model,
        version=source.version,
        rows_per_call=plan.rows_per_call,
    )


@contextlib.contextmanager
def _interruptible(attack: Attack) -> Iterator[None]:
    """Make Ctrl-C end the run early, so that the results so far are reported."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    previous = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, attack.stop)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, previous)


@contextlib.asynccontextmanager
async def _progress(plan: Plan, recorder: Recorder, console: Console) -> AsyncIterator[None]:
    """Show a progress bar while the block runs, if the console is a terminal."""
    if not console.is_terminal:
        yield
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[course]}"),
        console=console,
        auto_refresh=False,
        transient=True,
    )
    total_s = plan.warmup_s + plan.duration_s
    drawing = asyncio.create_task(_draw(bar, total_s, recorder))
    try:
        with bar:
            yield
    finally:
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)


async def _draw(bar: Progress, total_s: float, recorder: Recorder) -> None:
    task = bar.add_task("warming up", total=total_s, course="")
    while True:
        now_ns = time.monotonic_ns()
        left_s = (recorder.end_ns - now_ns) / 1e9
        course = f"{recorder.answered:,} answered, {recorder.failed:,} failed, {recorder.wrong:,} wrong"
        if recorder.seconds and (p99_us := recorder.seconds[-1].p99_us) is not None:
            course += f", {recorder.seconds[-1].answered:,}/s, p99 {show_duration(p99_us)}"
        stage = "warming up" if now_ns < recorder.begin_ns else "load" if left_s > 0 else "last answers"
        bar.update(task, completed=min(total_s - left_s, total_s), description=stage, course=course)
        bar.refresh()
        await asyncio.sleep(_REDRAW_S)
