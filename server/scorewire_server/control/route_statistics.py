"""The answer to GetStatistics: an engine's statistics by route."""

from __future__ import annotations

from scorewire_proto.v1 import models_pb2
from scorewire_server.engine.snapshot import Snapshot
from scorewire_server.engine.statistics import Distribution, RouteKey, RouteStatistics, Statistics

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)


def route_statistics(
    statistics: Statistics, snapshot: Snapshot, model: str
) -> models_pb2.GetStatisticsResponse:
    """The statistics of a snapshot's versions, for one model or, with "", for all models."""
    since = {
        (record.model, record.version): record.serving_since
        for each in snapshot.models.values()
        for record in each.versions
        if record.loaded is not None
    }
    answer = models_pb2.GetStatisticsResponse()
    for key, counted in sorted(statistics.routes.items()):
        begin = since.get((key.model, key.version))
        counted_any = counted.calls or counted.failed or counted.dropped
        if begin is None or model not in ("", key.model) or not counted_any:
            continue
        route = answer.routes.add()
        _fill(route, key, counted)
        route.since.FromDatetime(begin)
    return answer


def _fill(route: models_pb2.RouteStatistics, key: RouteKey, counted: RouteStatistics) -> None:
    route.model, route.version, route.route, route.shadow = key
    route.calls, route.rows, route.dropped = counted.calls, counted.rows, counted.dropped
    for (code, reason), count in sorted(counted.failed.items()):
        route.errors.add(code=code, reason=reason, count=count)
    for row_reason, count in sorted(counted.row_errors.items()):
        route.row_errors.add(reason=row_reason, count=count)
    _fill_distribution(route.latency_seconds, counted.latency)
    _fill_distribution(route.scores, counted.scores)


def _fill_distribution(message: models_pb2.Distribution, distribution: Distribution) -> None:
    for bucket in distribution.buckets():
        message.buckets.add(inner=bucket.inner, outer=bucket.outer, count=bucket.count)
        message.count += bucket.count
    for quantile, value in zip(QUANTILES, distribution.quantiles(QUANTILES), strict=False):
        message.quantiles.add(quantile=quantile, value=value)
