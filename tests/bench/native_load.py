"""Loads by the native generator of `scorewire load`, which compares every response."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console

from scorewire_loadtest import native_generator
from scorewire_loadtest.calls import PreparedCall
from scorewire_loadtest.plan import ClosedLoop, OpenLoop, Plan
from scorewire_loadtest.progress import ProgressBar
from scorewire_loadtest.results import Results
from scorewire_loadtest.target import Target
from tests.bench.h2load import LoadError
from tests.bench.measure import pinned
from tests.bench.scored_model import ScoredModel

WARMUP_SECONDS = 0.1


def run(
    target: Target,
    model: ScoredModel,
    calls: Sequence[PreparedCall],
    load: ClosedLoop | OpenLoop,
    *,
    connections: int,
    seconds: float,
    core: int | None,
) -> Results:
    """Make calls of one row for `seconds`; for longer if the machine was so busy that none was answered.

    Raises:
        LoadError: a call failed, or an answer was wrong, or none came.
    """
    for duration in (seconds, 1.0, 10.0):
        results = run_once(target, model, calls, load, connections=connections, seconds=duration, core=core)
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
) -> Results:
    """Make calls of one row for `seconds`, some of which may fail.

    Raises:
        LoadError: an answer was wrong.
    """
    plan = Plan(
        target=target,
        source=model.bundle,
        load=load,
        rows_per_call=1,
        connections=connections,
        streams=None,
        warmup_s=WARMUP_SECONDS,
        duration_s=seconds,
        timeout_s=timeout_s,
    )
    console = Console(file=sys.stderr, force_terminal=False)
    with pinned(core):
        bar = ProgressBar(console, warmup_s=WARMUP_SECONDS, duration_s=seconds)
        results = native_generator.run(plan, calls, bar)
    if results.wrong:
        raise LoadError(f"{results.wrong} answers were wrong: {results.wrong_examples}")
    return results
