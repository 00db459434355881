"""The observer that counts predictions for an engine's statistics."""

from __future__ import annotations

from dataclasses import replace

from scorewire_server.engine.encodings.methods import PREDICT
from scorewire_server.engine.interpreted.observer import Prediction
from scorewire_server.engine.snapshot import LoadedVersion, Route, Snapshot
from scorewire_server.engine.statistics import (
    CallKey,
    CallStatistics,
    RouteKey,
    RouteStatistics,
    Statistics,
    VersionStatistics,
)

# The versions that do not serve and whose counts are kept: those that ceased to serve last.
MAX_KEPT = 64


class PredictionCounter:
    """An `Observer` that counts by method, by version and by route; to be used from one event loop.

    Attributes:
        counts: all counts, also those of versions that no longer serve.
    """

    def __init__(self) -> None:
        self.counts = Statistics()
        self._served: frozenset[tuple[str, str]] = frozenset()
        # The versions that have left, the first one first.
        self._left: dict[tuple[str, str], None] = {}

    def publish(self, snapshot: Snapshot) -> None:
        """Tell from now on of the versions that a snapshot has.

        What the others counted goes on where it ended if they serve again, since counters of
        metrics must not go backwards. Their counts by route are forgotten.
        """
        served = frozenset((one.model, one.version) for each in snapshot.routes() for one in each.versions())
        counts, left = self.counts, self._left
        counts.routes = {key: each for key, each in counts.routes.items() if key[:2] in served}
        for key in served & left.keys():
            del left[key]
        left |= dict.fromkeys(self._served - served)
        self._served = served
        for key in [*left][: max(0, len(left) - MAX_KEPT)]:
            del left[key]
        # A call may end long after its version was forgotten, and count it anew.
        kept = {*served, *left, ("", "")}
        counts.calls = {key: each for key, each in counts.calls.items() if key[:2] in kept}
        counts.versions = {key: each for key, each in counts.versions.items() if key in kept}

    @property
    def statistics(self) -> Statistics:
        """The counts of the versions that serve, and of the calls for which no version was found."""
        counts, told = self.counts, self._served | {("", "")}
        calls = {CallKey(*version, PREDICT): CallStatistics() for version in self._served}
        calls |= {key: each for key, each in list(counts.calls.items()) if key[:2] in told}
        versions = {key: each for key, each in list(counts.versions.items()) if key in told}
        return replace(counts, calls=calls, versions=versions)

    def observe(self, prediction: Prediction) -> None:
        """Count a prediction."""
        route, version = prediction.route, prediction.version
        model, name = ("", "") if version is None else (version.model, version.version)
        key = CallKey(model, name, prediction.method.counted_as)
        call = self.counts.calls.get(key)
        if call is None:
            call = self.counts.calls[key] = CallStatistics()
        # The messages of a stream arrive long after the call.
        began_ns = prediction.began_ns if prediction.method.stream else prediction.context.received_ns
        call.count(prediction.ended_ns - began_ns, prediction.failure)
        if prediction.failure is None:
            self._count_answer(prediction)
        elif route is not None and version is not None:
            failed = self._route_statistics(route, version).failed
            failed[prediction.failure] = failed.get(prediction.failure, 0) + 1

    def _count_answer(self, prediction: Prediction) -> None:
        route, version = prediction.route, prediction.version
        request, scores = prediction.request, prediction.scores
        assert route is not None  # noqa: S101 - an answered message has them all
        assert version is not None  # noqa: S101
        assert request is not None  # noqa: S101
        assert scores is not None  # noqa: S101
        key = (version.model, version.version)
        count = self.counts.versions.get(key)
        if count is None:
            count = self.counts.versions[key] = VersionStatistics()
        count.rows += request.row_count
        for error in scores.errors:
            count.row_errors[error.reason] = count.row_errors.get(error.reason, 0) + 1
        count.decode.add(prediction.decoded_ns - prediction.began_ns)
        count.run.add(scores.model_ns)
        if prediction.explained is not None:
            count.explained_rows += request.row_count
            count.explain.add(prediction.explained.ns)
        count.encode.add(prediction.ended_ns - prediction.scored_ns)
        seconds = (prediction.ended_ns - prediction.began_ns) / 1e9
        counted = self._route_statistics(route, version)
        counted.count_answer(request.row_count, scores, version.score_output, seconds)

    def _route_statistics(self, route: Route, version: LoadedVersion) -> RouteStatistics:
        key = RouteKey(route.model, version.version, route.name)
        count = self.counts.routes.get(key)
        if count is None:
            count = self.counts.routes[key] = RouteStatistics()
        return count
