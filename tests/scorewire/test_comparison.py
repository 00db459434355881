"""Two versions are compared, after a test of how calls were split between them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from scorewire import Bucket, Distribution, ModelStatus, RouteStatistics, Routing, Shadow
from scorewire.comparison import ComparisonError, Role, compare_versions, counted_since, sides

LOADED = datetime(2026, 1, 2, tzinfo=UTC)
HALVES = Routing(split={"1.0.0": 50, "1.1.0": 50})


def distribution(*counts: int) -> Distribution:
    """Counts in consecutive buckets from 1 up."""
    return Distribution(
        buckets=tuple(
            Bucket(inner=1.0 + number, outer=2.0 + number, count=count)
            for number, count in enumerate(counts)
            if count
        )
    )


def counted(version: str, calls: int, **others: Any) -> RouteStatistics:
    fields: dict[str, Any] = {
        "model": "churn",
        "version": version,
        "route": "",
        "shadow": False,
        "calls": calls,
        "rows": calls,
        "errors": {},
        "row_errors": {},
        "latency_seconds": distribution(calls),
        "scores": distribution(calls),
        "dropped": 0,
        "loaded_at": LOADED,
    }
    return RouteStatistics(**(fields | others))


def test_a_distribution_tells_its_quantiles() -> None:
    told = distribution(50, 40, 10)
    assert told.count == 100
    assert [told.quantile(q) for q in (0.0, 0.5, 0.51, 0.9, 0.91, 1.0)] == [1.5, 1.5, 2.5, 2.5, 3.5, 3.5]
    assert math.isnan(Distribution().quantile(0.5))
    assert Distribution(buckets=(Bucket(inner=0.0, outer=1e-12, count=1),)).quantile(0.5) == 0.0


def test_what_came_since_a_reading_is_the_difference() -> None:
    before = counted("1.0.0", 10, errors={"INTERNAL": 1}, scores=distribution(10, 5))
    now = counted("1.0.0", 25, errors={"INTERNAL": 1, "DRAINING": 2}, scores=distribution(10, 8, 7))
    since = now.since(before)
    assert (since.calls, since.errors, since.failed) == (15, {"DRAINING": 2}, 2)
    assert [bucket.count for bucket in since.scores.buckets] == [3, 7]


def test_a_version_that_was_loaded_anew_is_counted_from_its_load() -> None:
    before = counted("1.0.0", 10)
    now = counted("1.0.0", 3, loaded_at=datetime(2026, 1, 3, tzinfo=UTC))
    assert now.since(before) == now


def test_readings_are_subtracted_route_by_route() -> None:
    before = [counted("1.0.0", 10), counted("1.0.0", 4, shadow=True)]
    now = [counted("1.0.0", 12), counted("1.0.0", 9, shadow=True), counted("1.0.0", 3, route="prod")]
    assert [(each.route, each.shadow, each.calls) for each in counted_since(before, now)] == [
        ("", False, 2),
        ("", True, 5),
        ("prod", False, 3),
    ]


def test_calls_as_the_split_says_are_in_no_doubt() -> None:
    routes = [counted("1.0.0", 9_020), counted("1.1.0", 980)]
    found = compare_versions(Routing(split={"1.0.0": 90, "1.1.0": 10}), routes, "1.0.0", "1.1.0")
    assert found.sample_ratio == pytest.approx(0.5157, abs=1e-4)
    assert not found.in_doubt
    assert (found.a.role, found.a.weight, found.b.weight) == (Role.ANSWERS, 90, 10)


def test_calls_other_than_the_split_says_are_in_doubt() -> None:
    found = compare_versions(HALVES, [counted("1.0.0", 5_300), counted("1.1.0", 4_700)], "1.0.0", "1.1.0")
    assert found.in_doubt


def test_few_calls_are_in_doubt_only_where_their_shares_are_unlikely() -> None:
    split = Routing(split={"1.0.0": 99, "1.1.0": 1})
    # With so few calls, a chi-square test gives p = 0.004 for a failure in ten; the exact value is 0.1.
    found = compare_versions(split, [counted("1.0.0", 9), counted("1.1.0", 1)], "1.0.0", "1.1.0")
    assert found.sample_ratio == pytest.approx(1 - 0.99**10)
    found = compare_versions(split, [counted("1.0.0", 6), counted("1.1.0", 4)], "1.0.0", "1.1.0")
    assert found.in_doubt


def test_few_errors_are_tested_exactly() -> None:
    a, b = counted("1.0.0", 1000), counted("1.1.0", 97, errors={"INTERNAL": 3})
    found = compare_versions(Routing(), [a, b], "1.0.0", "1.1.0").errors
    assert found is not None
    # All three failures are in the smaller of 1,000 and 100 calls.
    assert found.p_value == pytest.approx(100 * 99 * 98 / (1100 * 1099 * 1098))


def test_a_shadow_that_once_answered_is_compared_by_its_copies() -> None:
    routes = [counted("1.0.0", 100), counted("1.1.0", 7), counted("1.1.0", 90, shadow=True)]
    shadow = Shadow(version="1.1.0", share=1.0)
    found = compare_versions(Routing(shadow=shadow), routes, "1.0.0", "1.1.0")
    assert (found.b.role, found.b.attempts, found.sample_ratio) == (Role.SHADOW, 90, None)
    both = Routing(split={"1.0.0": 9, "1.1.0": 1}, shadow=shadow)
    assert compare_versions(both, routes, "1.0.0", "1.1.0").b.attempts == 7


def test_a_higher_error_rate_differs_and_an_equal_one_does_not() -> None:
    a = counted("1.0.0", 990, errors={"INTERNAL": 10}, row_errors={"MISSING_VALUE": 50})
    b = counted("1.1.0", 950, errors={"INTERNAL": 50}, row_errors={"MISSING_VALUE": 50})
    found = compare_versions(HALVES, [a, b], "1.0.0", "1.1.0")
    assert found.errors is not None
    assert found.errors.differs
    assert found.errors.size == pytest.approx(0.04)
    assert found.row_errors is not None
    assert not found.row_errors.differs


def test_shifted_scores_differ_and_equal_ones_do_not() -> None:
    a = counted("1.0.0", 1000, scores=distribution(500, 500), latency_seconds=distribution(1, 999))
    b = counted("1.1.0", 1000, scores=distribution(400, 600), latency_seconds=distribution(0, 1000))
    found = compare_versions(HALVES, [a, b], "1.0.0", "1.1.0")
    assert found.scores is not None
    assert found.scores.differs
    assert found.scores.size == pytest.approx(0.1)
    assert found.latency is not None
    assert not found.latency.differs


def test_distributions_that_are_alike_seldom_differ() -> None:
    draw = np.random.default_rng(7)
    differ = 0
    for _ in range(200):
        a, b = (np.bincount(draw.geometric(0.2, size=500), minlength=60) for _ in range(2))
        routes = [
            counted("1.0.0", 500, scores=distribution(*a.tolist())),
            counted("1.1.0", 500, scores=distribution(*b.tolist())),
        ]
        found = compare_versions(HALVES, routes, "1.0.0", "1.1.0").scores
        assert found is not None
        differ += found.differs
    # The level allows one in a hundred; eight or more of 200 have a probability of 1 in 900.
    assert differ < 8


def test_a_shadow_is_compared_without_its_latency_and_without_a_ratio() -> None:
    routes = [counted("1.0.0", 100), counted("2.0.0", 50, shadow=True)]
    found = compare_versions(Routing(shadow=Shadow(version="2.0.0", share=0.5)), routes, "1.0.0", "2.0.0")
    assert (found.b.role, found.latency, found.sample_ratio) == (Role.SHADOW, None, None)
    assert found.scores is not None


def test_named_calls_are_not_compared() -> None:
    routes = [counted("1.0.0", 100), counted("1.1.0", 100, route="1.1.0")]
    with pytest.raises(ComparisonError, match="'1.1.0' answered no call that named no version"):
        compare_versions(HALVES, routes, "1.0.0", "1.1.0")


@pytest.mark.parametrize(
    ("routing", "expected"),
    [
        (Routing(split={"1.0.0": 10, "1.1.0": 90}), ("1.1.0", "1.0.0")),
        (Routing(split={"1.0.0": 1, "1.1.0": 0, "1.2.0": 1}), ("1.0.0", "1.2.0")),
        (Routing(shadow=Shadow(version="2.0.0", share=1.0)), ("1.0.0", "2.0.0")),
    ],
)
def test_the_two_are_those_of_the_split_or_the_default_and_its_shadow(
    routing: Routing, expected: tuple[str, str]
) -> None:
    status = ModelStatus(name="churn", default_version="1.0.0", versions=(), routing=routing)
    assert sides(status, ()) == expected
    assert sides(status, ("3.0.0", "4.0.0")) == ("3.0.0", "4.0.0")


@pytest.mark.parametrize("versions", [(), ("1.0.0",), ("1.0.0", "1.0.0"), ("1.0.0", "1.1.0", "1.2.0")])
def test_one_version_alone_is_not_compared(versions: tuple[str, ...]) -> None:
    status = ModelStatus(name="churn", default_version="1.0.0", versions=())
    with pytest.raises(ComparisonError):
        sides(status, versions)
