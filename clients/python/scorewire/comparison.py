"""Compares two versions of a model by statistical tests on the calls that they answered.

The first test is for a sample ratio mismatch: were the calls split between the
two versions by the weights? If not, the versions got different kinds of calls,
and no other difference can be trusted.

The tests are those of scipy: the exact binomial test for the sample ratio,
Fisher's exact test for error rates with small counts, and the chi-square test
for all else.

The module needs scipy: `pip install 'scorewire[models]'`.

    status = client.model("churn").status
    a, b = sides(status, [])
    comparison = compare_versions(status.routing, client.statistics("churn"), a, b)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, chi2_contingency, fisher_exact
from scipy.stats.contingency import expected_freq

from scorewire._models import ModelStatus, Routing
from scorewire._statistics import Distribution, RouteStatistics

__all__ = [
    "DIFFERENCE_LEVEL",
    "SAMPLE_RATIO_LEVEL",
    "Comparison",
    "ComparisonError",
    "Difference",
    "Role",
    "Side",
    "compare_versions",
    "counted_since",
    "sides",
]

# Significance levels: of the sample ratio test, and of the tests for differences.
SAMPLE_RATIO_LEVEL = 0.001
DIFFERENCE_LEVEL = 0.01
# The smallest expected count in a cell at which the chi-square test is used.
_LEAST_EXPECTED = 5.0


class ComparisonError(Exception):
    """Two versions cannot be compared; the message tells why and what to do."""


class Role(StrEnum):
    """Whether a version answered calls itself, or got copies of calls as the shadow."""

    ANSWERS = "answers"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The result of a test: its p-value, and the size of the difference, 0 for none.

    For error rates, the size is the rate of b minus the rate of a. For a
    distribution, it is the Kolmogorov-Smirnov distance: the largest difference
    between the two cumulative distributions. At least that share of the values
    lies elsewhere in the other distribution.
    """

    p_value: float
    size: float

    @property
    def differs(self) -> bool:
        """Whether the difference is significant."""
        return self.p_value < DIFFERENCE_LEVEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two versions, with its statistics on the default route."""

    version: str
    role: Role
    weight: int | None
    counted: RouteStatistics

    @property
    def attempts(self) -> int:
        """How many calls the version got: answered and failed ones."""
        return self.counted.calls + self.counted.failed

    @property
    def error_rate(self) -> float:
        """The share of the calls that failed; NaN without calls."""
        return self.counted.failed / self.attempts if self.attempts else np.nan

    @property
    def row_error_rate(self) -> float:
        """The share of the rows that got an error; NaN without rows."""
        return self.counted.failed_rows / self.counted.rows if self.counted.rows else np.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Both sides, and the test results; a result is None where a side has no data.

    `sample_ratio` is the p-value of the numbers of calls under the split's weights;
    None unless both versions are in the split. `latency` is also None between a
    version that answers and a shadow: copies for a shadow run only when the server
    has time left, so their latency is not comparable.
    """

    model: str
    a: Side
    b: Side
    sample_ratio: float | None
    errors: Difference | None
    row_errors: Difference | None
    latency: Difference | None
    scores: Difference | None

    @property
    def in_doubt(self) -> bool:
        """Whether the calls were not split by the weights (a sample ratio mismatch)."""
        return self.sample_ratio is not None and self.sample_ratio < SAMPLE_RATIO_LEVEL


def sides(status: ModelStatus, versions: Sequence[str]) -> tuple[str, str]:
    """Choose the two versions to compare.

    These are the versions given; else the two of the split; else the default
    version and its shadow.

    Raises:
        ComparisonError: there are not exactly two such versions.
    """
    routing = status.routing
    if versions:
        if len(set(versions)) != 2:
            raise ComparisonError("give two different versions, or none")
        return versions[0], versions[1]
    split = [version for version, weight in routing.split.items() if weight]
    if len(split) == 2:
        # The version with the larger weight is the baseline.
        a, b = sorted(split, key=lambda version: -routing.split[version])
        return a, b
    if routing.shadow is not None and status.default_version:
        return status.default_version, routing.shadow.version
    raise ComparisonError(
        f"name two versions: model {status.name!r} has neither a split over two nor a shadow"
    )


def compare_versions(routing: Routing, counted: Sequence[RouteStatistics], a: str, b: str) -> Comparison:
    """Compare two versions on the calls that named no version, and on copies of such calls.

    Raises:
        ComparisonError: a version got no such call.
    """
    first, second = (_side(routing, counted, version) for version in (a, b))
    return Comparison(
        model=first.counted.model,
        a=first,
        b=second,
        sample_ratio=_sample_ratio(first, second),
        errors=_rates((first.counted.failed, first.attempts), (second.counted.failed, second.attempts)),
        row_errors=_rates(
            (first.counted.failed_rows, first.counted.rows), (second.counted.failed_rows, second.counted.rows)
        ),
        latency=_distributions(first.counted.latency_seconds, second.counted.latency_seconds)
        if first.role is second.role
        else None,
        scores=_distributions(first.counted.scores, second.counted.scores),
    )


def counted_since(before: Sequence[RouteStatistics], now: Sequence[RouteStatistics]) -> list[RouteStatistics]:
    """What was counted between two readings, by route."""
    earlier = {_route(each): each for each in before}
    return [each.since(earlier[_route(each)]) if _route(each) in earlier else each for each in now]


def _route(counted: RouteStatistics) -> tuple[str, str, str, bool]:
    return counted.model, counted.version, counted.route, counted.shadow


def _side(routing: Routing, counted: Sequence[RouteStatistics], version: str) -> Side:
    """The statistics of one version: of copies if it is only the shadow, else of its own calls.

    Falls back to the other of the two if there are no such calls.
    """
    own = [each for each in counted if each.version == version and not each.route]
    is_shadow = routing.shadow is not None and routing.shadow.version == version
    wanted = is_shadow and not routing.split.get(version)
    for each in sorted(own, key=lambda each: each.shadow is not wanted):
        if each.calls or each.failed:
            return Side(
                version=version,
                role=Role.SHADOW if each.shadow else Role.ANSWERS,
                weight=routing.split.get(version),
                counted=each,
            )
    raise ComparisonError(
        f"version {version!r} answered no call that named no version while calls were counted; share calls"
        " out to it by a split, or send it copies by a shadow"
    )


def _sample_ratio(a: Side, b: Side) -> float | None:
    if not (a.weight and b.weight and a.role is b.role is Role.ANSWERS):
        return None
    share = a.weight / (a.weight + b.weight)
    return float(binomtest(a.attempts, a.attempts + b.attempts, share).pvalue)


def _rates(a: tuple[int, int], b: tuple[int, int]) -> Difference | None:
    """Test whether two rates differ; each is a pair of counts: events, and trials."""
    table = np.array([[a[0], a[1] - a[0]], [b[0], b[1] - b[0]]], dtype=np.float64)
    if not (a[1] and b[1]):
        return None
    size = b[0] / b[1] - a[0] / a[1]
    if not table.any(axis=0).all():
        return Difference(p_value=1.0, size=size)
    few = expected_freq(table).min() < _LEAST_EXPECTED
    found = fisher_exact(table) if few else chi2_contingency(table)
    return Difference(p_value=float(found.pvalue), size=size)


def _distributions(a: Distribution, b: Distribution) -> Difference | None:
    """Test whether two histograms differ."""
    bounds = {(bucket.inner, bucket.outer): bucket.middle for each in (a, b) for bucket in each.buckets}
    place = {key: column for column, key in enumerate(sorted(bounds, key=lambda key: bounds[key]))}
    table = np.zeros((2, len(place)))
    for row, each in enumerate((a, b)):
        for bucket in each.buckets:
            table[row, place[bucket.inner, bucket.outer]] += bucket.count
    if not table.any(axis=1).all():
        return None
    shares = table / table.sum(axis=1, keepdims=True)
    size = float(np.abs(np.cumsum(shares[0] - shares[1])).max())
    merged = _merge(table)
    if merged.shape[1] < 2:
        return Difference(p_value=1.0, size=size)
    return Difference(p_value=float(chi2_contingency(merged).pvalue), size=size)


def _merge(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Merge neighbouring columns until each has a large enough expected count in both rows."""
    share = table.sum(axis=1).min() / table.sum()
    columns: list[NDArray[np.float64]] = []
    rest = np.zeros(2)
    for column in table.T:
        rest = rest + column
        if rest.sum() * share >= _LEAST_EXPECTED:
            columns.append(rest)
            rest = np.zeros(2)
    if rest.any() and columns:
        columns[-1] = columns[-1] + rest
    elif rest.any():
        columns.append(rest)
    return np.stack(columns, axis=1)
