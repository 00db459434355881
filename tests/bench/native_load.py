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
from tests.bench.servers import Server

WARMUP_SECONDS = 0.1


def run(
    server: Server,
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
        plan = Plan(
            target=Target(server.address),
            source=model.bundle,
            load=load,
            rows_per_call=1,
            connections=connections,
            streams=None,
            warmup_s=WARMUP_SECONDS,
            duration_s=duration,
            timeout_s=60.0,
        )
        console = Console(file=sys.stderr, force_terminal=False)
        with pinned(core):
            bar = ProgressBar(console, warmup_s=WARMUP_SECONDS, duration_s=duration)
            results = native_generator.run(plan, calls, bar)
        if results.failed or results.wrong:
            raise LoadError(
                f"of {results.calls} calls, {results.failed} failed and {results.wrong} were wrong:"
                f" {results.errors} {results.wrong_examples}"
            )
        if results.answered:
            return results
    raise LoadError("no call was answered")
