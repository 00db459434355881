"""The settings of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scorewire import Explain
from scorewire_contract.bundle import Bundle
from scorewire_loadtest.pacing import Pacing, Poisson
from scorewire_loadtest.target import Target


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Each call is sent when it is due, whether or not earlier calls have been answered.

    While `max_outstanding` calls are in flight, due calls wait; the wait counts as latency.
    """

    pacing: Pacing
    max_outstanding: int


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """`concurrency` callers, each of which waits for a response before its next call."""

    concurrency: int


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of rows for a model; `version` is a version or an alias, or "" for the default version."""

    path: Path
    model: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The settings of a run. `streams` is None for unary calls; times are in seconds.

    `explain` is what the calls ask for besides predictions; None for nothing.

    The native generator `spins` where its own time to wake up would blur the latencies: it never sleeps.
    """

    target: Target
    source: Bundle | InputFile
    load: OpenLoop | ClosedLoop
    rows_per_call: int
    connections: int
    streams: int | None
    warmup_s: float
    duration_s: float
    timeout_s: float
    spins: bool = False
    explain: Explain | None = None

    def describe(self) -> dict[str, str]:
        """The settings for people, by name."""
        source = self.source
        if isinstance(source, Bundle):
            rows, checked = f"golden rows of {source.model} {source.version}", "every score"
        else:
            rows = f"{source.path} for {source.model} {source.version}".rstrip()
            checked = "names and sizes of outputs; no scores are known"
        why = ""
        if self.explain is not None:
            why = f", explained by {self.explain.top_k or 'all'} columns"
            checked += ", and that contributions " + (
                "are there" if self.explain.top_k else "add up to margins"
            )
        if isinstance(self.load, ClosedLoop):
            loop = f"closed, {self.load.concurrency} callers"
        else:
            pacing = self.load.pacing
            arrivals = "constant arrivals"
            if isinstance(pacing, Poisson):
                arrivals = f"Poisson arrivals of seed {pacing.seed}"
            loop = (
                f"open, {pacing.rate:g} calls/s, {arrivals}, at most {self.load.max_outstanding} outstanding"
            )
        calls_kind = "unary" if self.streams is None else f"{self.streams} streams"
        return {
            "server": self.target.address,
            "rows": f"{rows}, {self.rows_per_call} a call{why}",
            "checked": checked,
            "loop": loop,
            "calls": f"{calls_kind} over {self.connections} connections, timeout {self.timeout_s:g} s",
            "duration": f"{self.duration_s:g} s after {self.warmup_s:g} s of warm-up",
        }
