"""What an engine counts. Plain numbers, so that counting costs next to nothing on the hot path."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from scorewire_server.errors import Code, Reason

# The methods, as they are counted.
PREDICT = "Predict"
PREDICT_STREAM = "PredictStream"
# Upper bounds of the histograms, in seconds; a last bucket takes the rest.
BUCKETS_SECONDS = (
    0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001,
    0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
_BUCKETS_NS = tuple(round(bound * 1e9) for bound in BUCKETS_SECONDS)


class Histogram:
    """Counts of durations by bucket, and their sum in nanoseconds."""

    __slots__ = ("counts", "sum_ns")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS_NS) + 1)
        self.sum_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one duration."""
        self.counts[bisect_left(_BUCKETS_NS, duration_ns)] += 1
        self.sum_ns += duration_ns


@dataclass(slots=True)
class VersionStatistics:
    """What one version answered. The histograms have one entry a call."""

    rows: int = 0
    row_errors: dict[Reason, int] = field(default_factory=dict)
    decode: Histogram = field(default_factory=Histogram)
    run: Histogram = field(default_factory=Histogram)
    encode: Histogram = field(default_factory=Histogram)


@dataclass(slots=True)
class Statistics:
    """What an engine answered since it started.

    `answered` counts by method, `failed` by method, code and reason; each message
    of a stream counts as a call. `versions` has (model, version) for keys, and
    only of versions that were loaded, so that callers cannot make it grow.
    """

    in_flight: int = 0
    streams: int = 0
    answered: dict[str, int] = field(default_factory=dict)
    failed: dict[tuple[str, Code, Reason], int] = field(default_factory=dict)
    versions: dict[tuple[str, str], VersionStatistics] = field(default_factory=dict)

    def count_failure(self, method: str, code: Code, reason: Reason) -> None:
        """Count one failed call."""
        key = (method, code, reason)
        self.failed[key] = self.failed.get(key, 0) + 1
