"""Tells when the load generator, and not the server, set the results of a run.

A saturated generator handles responses late and sends calls late, and takes its own
delay for the server's. Its CPU share alone does not show that: a generator that waits
for a core looks idle. So three measures are looked at together:

1. Work: the share of time on a core, plus the share in the run queue, which is time in
   which the generator was ready to run and had no core.
2. The run queue by itself: others take the generator's core.
3. Lag: how late the generator handled an event that was due, compared with the latencies.
"""

from __future__ import annotations

from scorewire_loadtest.quantities import show_duration
from scorewire_loadtest.results import LATE_NS, Results

# Shares of time, 0 to 1.
MOST_WORK = 0.9
MOST_QUEUED = 0.1
# The share of calls that may leave late in an open loop.
MOST_LATE = 0.01
# A lag below this many microseconds is that of any timer. A larger one counts if it is at least this share
# of the latency at the same percentile.
LEAST_LAG_US = 1_000
MOST_LAG = 0.5


def reasons(results: Results) -> list[str]:
    """Why the results are the generator's own limits, as sentences; empty if they are the server's."""
    generator = results.generator
    queued = generator.queued or 0.0
    found = []
    work = min(generator.busy + queued, 1.0)
    if work > MOST_WORK:
        found.append(
            f"It was at work or waiting for a core {work:.0%} of the time (on a core {generator.busy:.0%},"
            f" in the run queue {queued:.0%})."
        )
    elif queued > MOST_QUEUED:
        found.append(
            f"It was ready to run and had no core {queued:.0%} of the time: other processes took its core."
        )
    if generator.late > MOST_LATE * max(results.calls, 1):
        found.append(
            f"{generator.late:,} calls left more than {show_duration(LATE_NS / 1000)} late through its own"
            " doing; their latency has the delay."
        )
    for percentile, lag_us in generator.lag_us.items():
        latency_us = results.latency_us.get(percentile)
        if latency_us is not None and lag_us > max(LEAST_LAG_US, MOST_LAG * latency_us):
            found.append(
                f"At p{percentile:g} it handled an event {show_duration(lag_us)} late, where the latency is"
                f" {show_duration(latency_us)}."
            )
    return found
