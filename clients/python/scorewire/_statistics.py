"""Statistics of the calls that versions answered, by route."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from scorewire._errors import reason_name
from scorewire_proto.v1 import models_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The count of numbers from `inner` up to, but without, `outer`, which is farther from zero."""

    inner: float
    outer: float
    count: int

    @property
    def middle(self) -> float:
        """The number that represents the bucket."""
        return 0.0 if self.inner == 0 else (self.inner + self.outer) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A histogram with buckets that are at most a sixteenth of an octave wide.

    `buckets` are in ascending order, without empty buckets.
    """

    buckets: tuple[Bucket, ...] = ()

    @property
    def count(self) -> int:
        """How many numbers were counted; NaN is never counted."""
        return sum(bucket.count for bucket in self.buckets)

    def quantile(self, quantile: float) -> float:
        """The middle of the bucket that holds the quantile, 0 to 1; NaN if nothing was counted."""
        wanted, seen = max(1, math.ceil(quantile * self.count)), 0
        for bucket in self.buckets:
            seen += bucket.count
            if seen >= wanted:
                return bucket.middle
        return math.nan

    def since(self, earlier: Distribution) -> Distribution:
        """What was counted since an earlier reading."""
        before = {(bucket.inner, bucket.outer): bucket.count for bucket in earlier.buckets}
        now = [
            replace(bucket, count=bucket.count - before.get((bucket.inner, bucket.outer), 0))
            for bucket in self.buckets
        ]
        return Distribution(buckets=tuple(bucket for bucket in now if bucket.count > 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteStatistics:
    """Statistics of one version on one route. Each message of a stream counts as a call.

    Attributes:
        model: the model's name.
        version: the version that answered.
        route: the version or alias that callers named; "" if they named neither.
        shadow: whether the calls were copies for a shadow version.
        calls: calls that were answered.
        rows: rows of the calls that were answered.
        errors: calls that failed after the version was found, by reason.
        row_errors: rows that got an error instead of a score, by reason.
        latency_seconds: histogram over calls, from the first byte decoded to the last one encoded.
        scores: histogram over rows of the last column of the first output that is not a class.
        dropped: copies that the server skipped because it was busy.
        loaded_at: when the version was loaded and counting began, in UTC.
    """

    model: str
    version: str
    route: str
    shadow: bool
    calls: int
    rows: int
    errors: Mapping[str, int]
    row_errors: Mapping[str, int]
    latency_seconds: Distribution
    scores: Distribution
    dropped: int
    loaded_at: datetime

    @property
    def failed(self) -> int:
        """How many calls failed."""
        return sum(self.errors.values())

    @property
    def failed_rows(self) -> int:
        """How many rows got an error."""
        return sum(self.row_errors.values())

    def since(self, earlier: RouteStatistics) -> RouteStatistics:
        """What was counted since an earlier reading; everything if the version was reloaded since."""
        if earlier.loaded_at != self.loaded_at:
            return self
        return replace(
            self,
            calls=self.calls - earlier.calls,
            rows=self.rows - earlier.rows,
            errors=_since(self.errors, earlier.errors),
            row_errors=_since(self.row_errors, earlier.row_errors),
            latency_seconds=self.latency_seconds.since(earlier.latency_seconds),
            scores=self.scores.since(earlier.scores),
            dropped=self.dropped - earlier.dropped,
        )


def statistics_from(message: models_pb2.RouteStatistics) -> RouteStatistics:
    """Convert the message."""
    return RouteStatistics(
        model=message.model,
        version=message.version,
        route=message.route,
        shadow=message.shadow,
        calls=message.calls,
        rows=message.rows,
        errors={reason_name(each.reason): each.count for each in message.errors},
        row_errors={reason_name(each.reason): each.count for each in message.row_errors},
        latency_seconds=_distribution_from(message.latency_seconds),
        scores=_distribution_from(message.scores),
        dropped=message.dropped,
        loaded_at=message.since.ToDatetime(tzinfo=UTC),
    )


def _distribution_from(message: models_pb2.Distribution) -> Distribution:
    return Distribution(
        buckets=tuple(
            Bucket(inner=bucket.inner, outer=bucket.outer, count=bucket.count) for bucket in message.buckets
        )
    )


def _since(now: Mapping[str, int], earlier: Mapping[str, int]) -> dict[str, int]:
    counts = {reason: count - earlier.get(reason, 0) for reason, count in now.items()}
    return {reason: count for reason, count in counts.items() if count}
