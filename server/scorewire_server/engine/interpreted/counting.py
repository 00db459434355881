"""The observer that counts predictions for an engine's statistics."""

from __future__ import annotations

from scorewire_server.engine.encodings.methods import PREDICT, PREDICT_STREAM
from scorewire_server.engine.interpreted.observer import Prediction
from scorewire_server.engine.snapshot import LoadedVersion, Route, Snapshot
from scorewire_server.engine.statistics import RouteKey, RouteStatistics, Statistics, VersionStatistics
from scorewire_server.errors import Code, Reason


class PredictionCounter:
    """An `Observer` that counts by method, by version and by route; to be used from one event loop."""

    def __init__(self) -> None:
        self.statistics = Statistics(answered={PREDICT: 0, PREDICT_STREAM: 0})

    def keep_only(self, snapshot: Snapshot) -> None:
        """Forget the counts of versions that a snapshot does not have."""
        versions = {(each.model, each.version) for route in snapshot.routes() for each in route.versions()}
        statistics = self.statistics
        statistics.versions = {key: each for key, each in statistics.versions.items() if key in versions}
        statistics.routes = {key: each for key, each in statistics.routes.items() if key[:2] in versions}

    def observe(self, prediction: Prediction) -> None:
        """Count a prediction."""
        if prediction.failure is None:
            self._count_answer(prediction)
        else:
            self._count_failure(prediction, *prediction.failure)

    def _count_answer(self, prediction: Prediction) -> None:
        route, version = prediction.route, prediction.version
        request, scores = prediction.request, prediction.scores
        assert route is not None  # noqa: S101 - an answered message has them all
        assert version is not None  # noqa: S101
        assert request is not None  # noqa: S101
        assert scores is not None  # noqa: S101
        answered, method = self.statistics.answered, prediction.method.counted_as
        answered[method] = answered.get(method, 0) + 1
        key = (version.model, version.version)
        count = self.statistics.versions.get(key)
        if count is None:
            count = self.statistics.versions[key] = VersionStatistics()
        count.rows += request.row_count
        for error in scores.errors:
            count.row_errors[error.reason] = count.row_errors.get(error.reason, 0) + 1
        count.decode.add(prediction.decoded_ns - prediction.began_ns)
        count.run.add(scores.model_ns)
        count.encode.add(prediction.ended_ns - prediction.scored_ns)
        seconds = (prediction.ended_ns - prediction.began_ns) / 1e9
        counted = self._route_statistics(route, version)
        counted.count_answer(request.row_count, scores, version.score_output, seconds)

    def _count_failure(self, prediction: Prediction, code: Code, reason: Reason) -> None:
        self.statistics.count_failure(prediction.method.counted_as, code, reason)
        if prediction.route is not None and prediction.version is not None:
            failed = self._route_statistics(prediction.route, prediction.version).failed
            failed[code, reason] = failed.get((code, reason), 0) + 1

    def _route_statistics(self, route: Route, version: LoadedVersion) -> RouteStatistics:
        key = RouteKey(route.model, version.version, route.name)
        count = self.statistics.routes.get(key)
        if count is None:
            count = self.statistics.routes[key] = RouteStatistics()
        return count
