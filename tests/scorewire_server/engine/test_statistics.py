from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from scorewire_contract.bundle import Bundle
from scorewire_proto.v1 import models_pb2
from scorewire_server.control.route_statistics import route_statistics
from scorewire_server.engine.snapshot import VersionRecord
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.engine.statistics import Distribution, RouteKey, RouteStatistics, Statistics
from tests.scorewire_server.models import loaded_version, zeros


def _of(*values: float) -> Distribution:
    distribution = Distribution()
    for value in values:
        distribution.add(value)
    return distribution


@pytest.mark.parametrize("value", [1.0, 0.3, 1e-9, 123456.789, -2.5, -1e-7, 2.0**-40])
def test_a_number_lies_in_its_bucket_which_is_narrow(value: float) -> None:
    (bucket,) = _of(value).buckets()
    assert abs(bucket.inner) <= abs(value) < abs(bucket.outer)
    assert bucket.outer / bucket.inner <= 1 + 1 / 16
    assert bucket.count == 1


def test_numbers_beyond_the_range_count_at_its_ends_and_nan_does_not_count() -> None:
    found = _of(0.0, -0.0, 1e-300, 1e300, -math.inf, math.inf, math.nan)
    assert found.count == 6
    assert [bucket.count for bucket in found.buckets()] == [1, 3, 2]
    assert [bucket.inner for bucket in found.buckets()][1] == 0
    assert all(math.isfinite(bucket.outer) for bucket in found.buckets())


def test_quantiles_are_near_the_true_ones() -> None:
    found = _of(*(i / 1000 for i in range(1, 1001)))
    wanted = (0.0, 0.5, 0.9, 0.99, 1.0)
    for quantile, value in zip(wanted, found.quantiles(wanted), strict=True):
        assert value == pytest.approx(max(quantile, 0.001), rel=0.05)


def test_buckets_of_both_signs_ascend() -> None:
    middles = [bucket.inner for bucket in _of(-4.0, 3.0, -1.0, 0.0, 0.5).buckets()]
    assert middles == [-4.0, -1.0, 0.0, 0.5, 3.0]


def test_many_at_once_count_as_one_by_one() -> None:
    draw = np.random.default_rng(0)
    values = np.concatenate(
        [
            draw.normal(size=2000) * 10.0 ** draw.integers(-20, 20, size=2000),
            [0.0, -0.0, np.nan, np.inf, -np.inf],
        ]
    )
    many = Distribution()
    many.add_all(values)
    assert many.counts == _of(*values.tolist()).counts


def test_nothing_has_no_quantiles() -> None:
    assert list(Distribution().quantiles((0.5,))) == []


def test_routes_are_told_once_something_is_counted_and_while_their_version_serves(
    sum_bundle: Bundle,
) -> None:
    record = VersionRecord(
        "sum",
        "1.0.0",
        models_pb2.VERSION_STATE_SERVING,
        serving_since=datetime(2026, 1, 2, tzinfo=UTC),
        loaded=loaded_version(sum_bundle, zeros),
    )
    counted = RouteStatistics(calls=2, rows=2, latency=_of(0.5, 0.5), scores=_of(1.0, 3.0))
    routes = {
        RouteKey("sum", "1.0.0", ""): counted,
        RouteKey("sum", "1.0.0", "", True): RouteStatistics(),
        RouteKey("sum", "1.0.0", "stable"): RouteStatistics(dropped=1),
        RouteKey("sum", "0.9.0", ""): counted,
    }
    told = route_statistics(Statistics(routes=routes), build_snapshot([record]), "").routes
    assert [(each.version, each.route, each.shadow) for each in told] == [
        ("1.0.0", "", False),
        ("1.0.0", "stable", False),
    ]
    first = told[0]
    assert (first.calls, first.rows, first.scores.count, first.latency_seconds.count) == (2, 2, 2, 2)
    assert [each.quantile for each in first.latency_seconds.quantiles] == [0.5, 0.9, 0.95, 0.99, 0.999]
    assert first.latency_seconds.quantiles[0].value == pytest.approx(0.5, rel=1 / 16)
    assert route_statistics(Statistics(routes=routes), build_snapshot([record]), "other").routes == []
