"""Scores copies of predictions with a shadow, in a thread of its own; their answers are only counted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from random import random
from threading import Lock
from time import monotonic, perf_counter_ns

from scorewire_contract.service.logs import log_fault
from scorewire_server.engine.encodings.encoding import Request
from scorewire_server.engine.interpreted.observer import Prediction
from scorewire_server.engine.interpreted.recording import PredictionRecorder, ShadowRecord
from scorewire_server.engine.interpreted.run_limit import run_until
from scorewire_server.engine.interpreted.version_uses import VersionUses
from scorewire_server.engine.snapshot import LoadedVersion, Route
from scorewire_server.engine.statistics import RouteKey, RouteStatistics, Statistics
from scorewire_server.errors import code_and_reason

# The most copies that wait. Further copies are dropped, so that a slow shadow costs callers neither time
# nor memory.
_MAX_WAITING = 64
# The most bytes in the messages of copies that wait; a single copy may have more.
_MAX_WAITING_BYTES = 64 << 20
# A copy starts after this time, so that gRPC's thread gets the processor to send the answer first.
_PAUSE_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class _Copy:
    """A request that is to be scored again, the counts that it belongs to, and what its record will have."""

    version: LoadedVersion
    request: Request
    message_bytes: int
    statistics: RouteStatistics
    record: ShadowRecord | None


class ShadowLane:
    """An `Observer` that scores copies of predictions in one thread; to be used from one event loop.

    Args:
        statistics: where copies are counted, under routes that are shadows.
        max_run_seconds: the longest run of a copy.
        recorder: records what copies are scored; None if nothing is recorded.
    """

    def __init__(
        self, statistics: Statistics, max_run_seconds: float, recorder: PredictionRecorder | None = None
    ) -> None:
        self._recorder = recorder
        self._statistics = statistics
        self._max_run_seconds = max_run_seconds
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        self._uses = VersionUses()
        self._waiting_bytes = 0
        self._lock = Lock()
        # The shadows of the last snapshot.
        self._kept: frozenset[LoadedVersion] = frozenset()

    def draws(self, route: Route) -> bool:
        """Whether a message is copied to the route's shadow, with the probability of its share."""
        if route.shadow is None:
            return False
        _, share = route.shadow
        return share >= 1 or random() < share  # noqa: S311 - a sample, no secret

    def observe(self, prediction: Prediction) -> None:
        """Copy a scored prediction, if it is to be copied and there is room."""
        route, request = prediction.route, prediction.request
        if route is None or route.shadow is None or request is None or prediction.scores is None:
            return
        version, _ = route.shadow
        key = RouteKey(route.model, version.version, route.name, shadow=True)
        statistics = self._statistics.routes.setdefault(key, RouteStatistics())
        if not prediction.shadowed:
            return
        record = None if self._recorder is None else self._recorder.shadow_record(prediction)
        copy = _Copy(version, request, prediction.message_bytes, statistics, record)
        if self._enter(copy):
            asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self._submit, copy)
        else:
            statistics.dropped += 1

    def keep(self, versions: Iterable[LoadedVersion]) -> None:
        """Drop the waiting copies of all versions except these, once it is their turn."""
        self._kept = frozenset(versions)

    def in_use(self, version: LoadedVersion) -> bool:
        """Whether copies of a version wait or are being scored."""
        return version in self._uses

    def close(self) -> None:
        """Drop the waiting copies, and let the thread end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _enter(self, copy: _Copy) -> bool:
        """Count a copy as waiting; False if there is no room for it."""
        with self._lock:
            size = copy.message_bytes
            fits = not self._waiting_bytes or self._waiting_bytes + size <= _MAX_WAITING_BYTES
            entered = fits and self._uses.enter(copy.version, limit=_MAX_WAITING)
            if entered:
                self._waiting_bytes += size
            return entered

    def _submit(self, copy: _Copy) -> None:
        # If the lane was closed meanwhile, the copy is dropped like all that wait.
        with suppress(RuntimeError):
            self._pool.submit(self._score, copy)

    def _score(self, copy: _Copy) -> None:
        version, request, statistics = copy.version, copy.request, copy.statistics
        with self._lock:
            self._waiting_bytes -= copy.message_bytes
        if version not in self._kept:
            statistics.dropped += 1
            self._uses.leave(version)
            return
        begin = perf_counter_ns()
        try:
            with run_until(monotonic() + self._max_run_seconds):
                scores = version.scorer.score(request.row_count, request.numbers, request.texts)
        except Exception as error:
            log_fault("shadow", error)
            key = code_and_reason(error)
            statistics.failed[key] = statistics.failed.get(key, 0) + 1
        else:
            scored_ns = perf_counter_ns()
            seconds = (scored_ns - begin) / 1e9
            statistics.count_answer(request.row_count, scores, version.score_output, seconds)
            if self._recorder is not None and copy.record is not None:
                self._recorder.record_shadow(copy.record, scores, begin, scored_ns)
        finally:
            self._uses.leave(version)
