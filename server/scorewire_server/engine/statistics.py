"""The statistics of an engine: plain numbers, so that counting costs next to nothing on the hot path."""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.scoring import Scores
from scorewire_server.errors import Code, Reason

# Upper bounds of the histograms' buckets, in seconds; one more bucket takes longer durations.
BUCKETS_SECONDS = (
    0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001,
    0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
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

    def add_all(self, other: Histogram) -> None:
        """Add the counts of another histogram."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum_ns += other.sum_ns


_Key = TypeVar("_Key")
_DOUBLE = struct.Struct(">d")
_HALF = struct.Struct(">H")
# Fewer numbers than this are counted faster one by one than as an array.
_FEW = 16
# Magnitudes below 2^-40 count as 0, and magnitudes from 2^40 count as just below 2^40.
_SMALLEST, _LARGEST = 2.0**-40, math.nextafter(2.0**40, 0)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Numbers from `inner` up to, but without, `outer`, which is farther from zero."""

    inner: float
    outer: float
    count: int


class Distribution:
    """A distribution of numbers, counted by the first 16 bits of the double.

    These bits are the sign, the exponent and 4 bits of the mantissa, so a bucket is a
    sixteenth of an octave wide. NaN is not counted.

    Attributes:
        counts: how many numbers have these 16 bits.
    """

    __slots__ = ("counts",)

    def __init__(self, counts: Iterable[tuple[int, int]] = ()) -> None:
        self.counts: dict[int, int] = dict(counts)

    def add(self, value: float) -> None:
        """Count one number."""
        if value != value:  # noqa: PLR0124 - the test for NaN
            return
        magnitude = abs(value)
        if magnitude < _SMALLEST:
            value = 0.0
        elif magnitude > _LARGEST:
            value = math.copysign(_LARGEST, value)
        key = _HALF.unpack_from(_DOUBLE.pack(value))[0]
        self.counts[key] = self.counts.get(key, 0) + 1

    def add_all(self, values: NDArray[np.float64]) -> None:
        """Count many numbers."""
        values = values[~np.isnan(values)]
        signs = np.signbit(values)
        magnitudes = np.minimum(np.abs(values), _LARGEST)
        keys = magnitudes.view(np.uint64) >> np.uint64(48)
        keys += signs.astype(np.uint64) << np.uint64(15)
        keys[magnitudes < _SMALLEST] = 0
        for key, count in zip(*map(np.ndarray.tolist, np.unique(keys, return_counts=True)), strict=True):
            self.counts[key] = self.counts.get(key, 0) + count

    @property
    def count(self) -> int:
        """How many numbers were counted."""
        return sum(self.counts.values())

    def add_counts(self, other: Distribution) -> None:
        """Add the counts of another distribution."""
        _add(self.counts, other.counts)

    def buckets(self) -> list[Bucket]:
        """The buckets that are not empty, in ascending order."""
        found = [
            Bucket(_bound(key), _SMALLEST if key == 0 else _bound(key + 1), count)
            for key, count in list(self.counts.items())
        ]
        return sorted(found, key=lambda bucket: bucket.inner + bucket.outer)

    def quantiles(self, wanted: Iterable[float]) -> Iterator[float]:
        """For each wanted quantile the middle of its bucket; no values if no number was counted.

        Args:
            wanted: quantiles from 0 to 1, in ascending order.
        """
        buckets = self.buckets()
        total = sum(bucket.count for bucket in buckets)
        rest = iter(buckets)
        seen, middle = 0, 0.0
        for quantile in wanted if total else ():
            while seen < max(1, math.ceil(quantile * total)):
                bucket = next(rest)
                seen += bucket.count
                middle = 0.0 if bucket.inner == 0 else (bucket.inner + bucket.outer) / 2
            yield middle


def _bound(key: int) -> float:
    """The double with these first 16 bits, the other bits 0."""
    bound: float = _DOUBLE.unpack(_HALF.pack(key) + bytes(6))[0]
    return bound


class RouteKey(NamedTuple):
    """What a count belongs to: a version, the name by which callers named it, and whether it got copies.

    Attributes:
        model: the model's name.
        version: the version that answered.
        route: the version or alias that callers named; "" for calls that named none.
        shadow: whether the version scored copies of these calls.
    """

    model: str
    version: str
    route: str
    shadow: bool = False


@dataclass(slots=True)
class RouteStatistics:
    """The counts of one version on one route; each message of a stream counts as a call.

    Attributes:
        calls: answered calls.
        rows: rows in answered calls.
        failed: calls that failed after their version was found, by code and reason.
        row_errors: rows with an error instead of a score, by reason.
        latency: seconds of each call, from the first byte decoded to the last byte encoded.
        scores: the last column of the version's `score_output`, of each row.
        dropped: copies for a shadow that were left out, since too many were waiting.
    """

    calls: int = 0
    rows: int = 0
    failed: dict[tuple[Code, Reason], int] = field(default_factory=dict)
    row_errors: dict[Reason, int] = field(default_factory=dict)
    latency: Distribution = field(default_factory=Distribution)
    scores: Distribution = field(default_factory=Distribution)
    dropped: int = 0

    def count_answer(
        self, row_count: int, scores: Scores, score_output: int | None, latency_seconds: float
    ) -> None:
        """Count an answered call; `score_output` is the version's."""
        self.calls += 1
        self.rows += row_count
        for error in scores.errors:
            self.row_errors[error.reason] = self.row_errors.get(error.reason, 0) + 1
        self.latency.add(latency_seconds)
        if score_output is None:
            return
        values = scores.outputs[score_output][:, -1]
        if row_count < _FEW:
            for value in values.tolist():
                self.scores.add(value)
        else:
            self.scores.add_all(values)

    def add(self, other: RouteStatistics) -> None:
        """Add other counts."""
        self.calls += other.calls
        self.rows += other.rows
        self.dropped += other.dropped
        _add(self.failed, other.failed)
        _add(self.row_errors, other.row_errors)
        self.latency.add_counts(other.latency)
        self.scores.add_counts(other.scores)


class CallKey(NamedTuple):
    """What a call is counted by.

    Attributes:
        model: the model's name; "" if no version was found for the call.
        version: the version that answered or was to answer; "" if none was found.
        method: the name of the method.
    """

    model: str
    version: str
    method: str


@dataclass(slots=True)
class CallStatistics:
    """The counts of calls that have ended; each message of a stream counts as a call.

    Attributes:
        answered: answered calls.
        failed: failed calls, by code and reason.
        durations: the time from the arrival of each call, or from the time at which a message of a stream
            was taken up, until its answer or its failure was handed to the transport.
    """

    answered: int = 0
    failed: dict[tuple[Code, Reason], int] = field(default_factory=dict)
    durations: Histogram = field(default_factory=Histogram)

    def count(self, duration_ns: int, failure: tuple[Code, Reason] | None = None) -> None:
        """Count a call that has ended, well or with a failure."""
        if failure is None:
            self.answered += 1
        else:
            self.failed[failure] = self.failed.get(failure, 0) + 1
        self.durations.add(duration_ns)

    def add(self, other: CallStatistics) -> None:
        """Add other counts."""
        self.answered += other.answered
        _add(self.failed, other.failed)
        self.durations.add_all(other.durations)


@dataclass(slots=True)
class VersionStatistics:
    """The counts of one version.

    The histograms have one entry for each scored call, `explain` for each that is explained.
    """

    rows: int = 0
    explained_rows: int = 0
    row_errors: dict[Reason, int] = field(default_factory=dict)
    decode: Histogram = field(default_factory=Histogram)
    explain: Histogram = field(default_factory=Histogram)
    run: Histogram = field(default_factory=Histogram)
    encode: Histogram = field(default_factory=Histogram)

    def add(self, other: VersionStatistics) -> None:
        """Add other counts."""
        self.rows += other.rows
        self.explained_rows += other.explained_rows
        _add(self.row_errors, other.row_errors)
        self.explain.add_all(other.explain)
        self.decode.add_all(other.decode)
        self.run.add_all(other.run)
        self.encode.add_all(other.encode)


# Why calls of a principal are refused: a missing right, and the limits of `PrincipalLimits`.
PRINCIPAL_CAUSES = ("denied", "calls", "rows", "in_flight", "share")
# Why credentials are refused: there is none, the entry of the metadata cannot be read, the API key is
# unknown, the token or the certificate is not valid, it has expired, too many of its address have failed, or
# too many are being verified.
CREDENTIAL_CAUSES = (
    "missing", "malformed", "unknown", "token", "certificate", "expired", "address", "busy",
)  # fmt: skip


@dataclass(slots=True)
class PrincipalStatistics:
    """The counts of one principal; each message of a stream of predictions counts as a call.

    Attributes:
        calls: calls that the principal's limit let in; also those of the control plane.
        rows: rows of predictions that its limit let in.
        refused: calls that were refused, by each of `PRINCIPAL_CAUSES`.
    """

    calls: int = 0
    rows: int = 0
    refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PRINCIPAL_CAUSES, 0))

    def refuse(self, cause: str) -> None:
        """Count a call that was refused."""
        self.refused[cause] += 1


@dataclass(frozen=True, slots=True)
class Transport:
    """The state of an engine's connections, if the engine owns them.

    Attributes:
        buffered_bytes: bytes of messages and answers that calls hold.
        connections: open connections.
        limits: how many times each limit was met.
    """

    buffered_bytes: int
    connections: int
    limits: dict[str, int]


@dataclass(slots=True)
class Statistics:
    """The counts of an engine since it started; each message of a stream counts as a call.

    Only versions of the last snapshot are told of, so that neither callers nor time can
    make the tables grow.

    Attributes:
        in_flight: calls that are being answered.
        streams: open streams of predictions.
        calls: counts by version and method, without copies for shadows; each version that serves has
            those of Predict, be they 0.
        versions: counts by (model, version), without copies for shadows.
        routes: counts by route, with copies for shadows.
        transport: the connections, if the engine owns them.
        principals: counts by principal of the access file; none without one.
        credentials_refused: refused credentials, by `CREDENTIAL_CAUSES`; none without an access file.
    """

    in_flight: int = 0
    streams: int = 0
    calls: dict[CallKey, CallStatistics] = field(default_factory=dict)
    versions: dict[tuple[str, str], VersionStatistics] = field(default_factory=dict)
    routes: dict[RouteKey, RouteStatistics] = field(default_factory=dict)
    transport: Transport | None = None
    principals: dict[str, PrincipalStatistics] = field(default_factory=dict)
    credentials_refused: dict[str, int] = field(default_factory=dict)

    def add(self, other: Statistics) -> None:
        """Add other counts."""
        self.in_flight += other.in_flight
        self.streams += other.streams
        for call, ended in list(other.calls.items()):
            self.calls.setdefault(call, CallStatistics()).add(ended)
        for key, version in list(other.versions.items()):
            self.versions.setdefault(key, VersionStatistics()).add(version)
        for route, counted in list(other.routes.items()):
            self.routes.setdefault(route, RouteStatistics()).add(counted)


def _add(mine: dict[_Key, int], theirs: dict[_Key, int]) -> None:
    for key, count in list(theirs.items()):
        mine[key] = mine.get(key, 0) + count
