"""Two tenants: what one notices of another that calls far more often than it may."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from scorewire_loadtest.pacing import Constant
from scorewire_loadtest.plan import ClosedLoop, OpenLoop
from scorewire_loadtest.results import Results
from tests.access_files import Key, write_access
from tests.bench.access.callers import Bench, Caller
from tests.bench.tables import Bar

# Calls a second: what the quiet tenant makes, and the limit of the loud one.
QUIET, LIMIT = 2_000.0, 2_000.0
TIMES = 10
MOST_P99, LEAST_GOODPUT = 1.2, 0.95
# Later answers are of no use to the quiet tenant.
TIMEOUT_SECONDS = 1.0
# Of a tenant without limits, which keeps every place taken.
FLOOD_CONNECTIONS, FLOOD_IN_FLIGHT = 16, 64
_MAX_OUTSTANDING = 4096
# The loud tenant begins before the quiet one is measured, and ends after that.
_LEAD_SECONDS, _TAIL_SECONDS = 0.3, 0.5


@dataclass(frozen=True, slots=True)
class Course:
    """What the quiet tenant saw in one round, and how many calls of the loud one were answered and not."""

    p99_us: float
    goodput: float
    answered: int = 0
    refused: int = 0


def measure(bench: Bench) -> list[Bar]:
    """Print the table of what the quiet tenant sees."""
    quiet, limited, flooding = Key.make(), Key.make(), Key.make()
    everything: dict[str, Any] = {"predict": ["*"]}
    file = write_access(
        bench.folder / "tenants" / "access.toml",
        {
            "quiet": {**everything, "calls_per_second": 10 * QUIET, "keys": [quiet.entry()]},
            "limited": {
                **everything,
                "calls_per_second": LIMIT,
                "calls_burst": LIMIT / 10,
                "keys": [limited.entry()],
            },
            "flooding": {**everything, "keys": [flooding.entry()]},
        },
    )
    with bench.server("tenants", "--access", file) as server:
        quiet_one = Caller(server, quiet.text)
        loud: dict[str, tuple[Caller, OpenLoop | ClosedLoop, int] | None] = {
            "nobody else": None,
            "another tenant at its limit": (Caller(server, limited.text), _open(LIMIT), 8),
            f"another tenant at {TIMES} times its limit": (
                Caller(server, limited.text),
                _open(TIMES * LIMIT),
                8,
            ),
            "a tenant without limits that floods": (
                Caller(server, flooding.text),
                ClosedLoop(FLOOD_CONNECTIONS * FLOOD_IN_FLIGHT),
                FLOOD_CONNECTIONS,
            ),
        }
        found: dict[str, list[Course]] = {name: [] for name in loud}
        _quiet_course(bench, quiet_one)
        for number in range(bench.rounds):
            for name in list(loud) if number % 2 else reversed(loud):
                found[name].append(_round(bench, quiet_one, loud[name]))
    return _tell(found)


def _open(rate: float) -> OpenLoop:
    return OpenLoop(Constant(rate), _MAX_OUTSTANDING)


def _round(bench: Bench, quiet: Caller, loud: tuple[Caller, OpenLoop | ClosedLoop, int] | None) -> Course:
    if loud is None:
        return _quiet_course(bench, quiet)
    with _beside(bench, *loud) as results:
        course = _quiet_course(bench, quiet)
    (of_loud,) = results
    return Course(course.p99_us, course.goodput, of_loud.answered, of_loud.failed)


def _quiet_course(bench: Bench, quiet: Caller) -> Course:
    results = bench.load(quiet, _open(QUIET), timeout_s=TIMEOUT_SECONDS)
    return Course(results.latency_us[99.0], 1 - results.error_rate)


@contextmanager
def _beside(
    bench: Bench, caller: Caller, load: OpenLoop | ClosedLoop, connections: int
) -> Iterator[list[Results]]:
    """A load on another thread while the block runs; the list has its results after the block."""
    found: list[Results] = []
    seconds = bench.seconds + _LEAD_SECONDS + _TAIL_SECONDS

    def run() -> None:
        found.append(bench.load(caller, load, connections=connections, seconds=seconds))

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(_LEAD_SECONDS)
    try:
        yield found
    finally:
        thread.join()


def _tell(found: dict[str, list[Course]]) -> list[Bar]:
    alone = found["nobody else"]
    click.echo("\n| beside the quiet tenant | its p99 µs | over alone | goodput | loud: answered | refused |")
    click.echo("|---|---|---|---|---|---|")
    bars = []
    for name, courses in found.items():
        ratios = [there.p99_us / here.p99_us for here, there in zip(alone, courses, strict=True)]
        goodput = [course.goodput for course in courses]
        cells = [f"{statistics.median(course.p99_us for course in courses):,.0f}"]
        cells += [f"{statistics.median(ratios):.2f}", f"{statistics.median(goodput):.3f}"]
        cells += [f"{sum(course.answered for course in courses):,}"]
        cells += [f"{sum(course.refused for course in courses):,}"]
        click.echo(f"| {name} | {' | '.join(cells)} |")
        if "times" in name:
            bars.append(Bar(name=f"p99 beside {name}, over alone", values=ratios, at_most=MOST_P99))
        if "tenant" in name:
            bars.append(Bar(name=f"goodput beside {name}", values=goodput, at_least=LEAST_GOODPUT))
    return bars
