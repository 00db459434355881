"""Loads by the native generator of `scorewire load`, which compares every response."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence

from rich.console import Console

from scorewire_loadtest import native_generator
from scorewire_loadtest.calls import PreparedCall
from scorewire_loadtest.plan import ClosedLoop, OpenLoop, Plan
from scorewire_loadtest.progress import Course, ProgressBar
from scorewire_loadtest.results import Results
from scorewire_loadtest.target import Target
from tests.bench.h2load import LoadError
from tests.bench.measure import pinned
from tests.bench.scored_model import ScoredModel

WARMUP_SECONDS = 0.1


class ProcessorWatch(ProgressBar):
    """Measures the processor time of a server for a call, from the first answer that counts to the last look.

    Args:
        pid: the id of the server's process.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(Console(file=sys.stderr, force_terminal=False), warmup_s=0.0, duration_s=0.0)
        self._pid = pid
        self._looks: list[tuple[float, int]] = []

    def show(self, course: Course) -> None:
        """Look at the server."""
        if course.answered:
            self._looks.append((processor_seconds(self._pid), course.answered))

    @property
    def us_per_call(self) -> float:
        """Microseconds of processor time for a call; not a number where the load was too short to tell."""
        if len(self._looks) < 2:
            return math.nan
        (first_s, first_calls), (last_s, last_calls) = self._looks[0], self._looks[-1]
        return (last_s - first_s) / (last_calls - first_calls) * 1e6 if last_calls > first_calls else math.nan


def processor_seconds(pid: int) -> float:
    """The processor time of a process, by the clock that clock_getcpuclockid(3) has for it."""
    return time.clock_gettime(~pid << 3 | 2)


def run(
    target: Target,
    model: ScoredModel,
    calls: Sequence[PreparedCall],
    load: ClosedLoop | OpenLoop,
    *,
    connections: int,
    seconds: float,
    core: int | None,
    streams: int | None = None,
    spins: bool = False,
    watch: ProgressBar | None = None,
) -> Results:
    """Make calls of one row for `seconds`; for longer if the machine was so busy that none was answered.

    Raises:
        LoadError: a call failed, or an answer was wrong, or none came.
    """
    for duration in (seconds, 1.0, 10.0):
        results = run_once(
            target,
            model,
            calls,
            load,
            connections=connections,
            seconds=duration,
            core=core,
            streams=streams,
            spins=spins,
            watch=watch,
        )
        if results.failed:
            raise LoadError(f"of {results.calls} calls, {results.failed} failed: {results.errors}")
        if results.answered:
            return results
    raise LoadError("no call was answered")


def run_once(
    target: Target,
    model: ScoredModel,
    calls: Sequence[PreparedCall],
    load: ClosedLoop | OpenLoop,
    *,
    connections: int,
    seconds: float,
    core: int | None,
    timeout_s: float = 60.0,
    streams: int | None = None,
    spins: bool = False,
    watch: ProgressBar | None = None,
) -> Results:
    """Make calls of one row for `seconds`, some of which may fail.

    Args:
        target: the server.
        model: the model that the calls are for.
        calls: the calls, made in turn.
        load: when calls are made.
        connections: the number of connections.
        seconds: the length of the measured part.
        core: the core of the generator; None is any.
        timeout_s: the timeout of a call.
        streams: the number of streams; None for unary calls.
        spins: whether the generator never sleeps, so that no latency includes the time to wake it.
        watch: is shown the course of the run.

    Raises:
        LoadError: an answer was wrong.
    """
    plan = Plan(
        target=target,
        source=model.bundle,
        load=load,
        rows_per_call=1,
        connections=connections,
        streams=streams,
        warmup_s=WARMUP_SECONDS,
        duration_s=seconds,
        timeout_s=timeout_s,
        spins=spins,
    )
    console = Console(file=sys.stderr, force_terminal=False)
    with pinned(core):
        bar = watch or ProgressBar(console, warmup_s=WARMUP_SECONDS, duration_s=seconds)
        results = native_generator.run(plan, calls, bar)
    if results.wrong:
        raise LoadError(f"{results.wrong} answers were wrong: {results.wrong_examples}")
    return results
