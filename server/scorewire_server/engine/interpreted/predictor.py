"""The hot path: decode, route, validate, score, encode. All encodings share it, unary calls and streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from time import monotonic, perf_counter_ns
from typing import NamedTuple

from scorewire_contract.scoring import Scores
from scorewire_server.engine.encodings.encoding import Asked, Encoding, Request
from scorewire_server.engine.interpreted.first_load import FirstLoad
from scorewire_server.engine.interpreted.run_limit import run_until
from scorewire_server.engine.interpreted.shadow import ShadowLane
from scorewire_server.engine.interpreted.version_uses import VersionUses
from scorewire_server.engine.snapshot import LoadedVersion, Route, Snapshot
from scorewire_server.engine.statistics import (
    PREDICT,
    PREDICT_STREAM,
    RouteKey,
    RouteStatistics,
    Statistics,
    VersionStatistics,
)
from scorewire_server.engine.validation import (
    check_answer,
    check_request,
    expired,
    run_stopped,
    too_many_in_flight,
)
from scorewire_server.errors import CallError, code_and_reason, is_fault
from scorewire_server.logs import log_fault

# Rows that cost more than this together are scored in a thread, so that the
# loop goes on. Fewer are scored at once: the way to a thread and back costs
# about 100 us, and this bounds how long the other calls wait.
_INLINE_NS = 500_000
# The answers of more are counted before they are made.
_FEW_ROWS = 256


class _Call:
    """What is known of a message while it is answered; its size in bytes, times in nanoseconds."""

    __slots__ = ("begin", "decoded", "route", "size", "version")

    def __init__(self, size: int) -> None:
        self.size = size
        self.begin = perf_counter_ns()
        self.decoded = 0
        self.route: Route | None = None
        self.version: LoadedVersion | None = None


class _Scored(NamedTuple):
    version: LoadedVersion
    row_count: int
    scores: Scores


class Predictor:
    """Answers prediction requests, as bytes, from the snapshot that it was last given.

    `pool` has the threads that score large batches; `close` shuts it down.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        max_rows: int,
        max_in_flight: int,
        max_message_bytes: int,
        max_run_seconds: float,
        pool: Executor,
    ) -> None:
        self.statistics = Statistics(answered={PREDICT: 0, PREDICT_STREAM: 0})
        self.snapshot = snapshot
        self._max_rows = max_rows
        self._max_in_flight = max_in_flight
        self._max_message_bytes = max_message_bytes
        self._max_run_seconds = max_run_seconds
        self._pool = pool
        self._uses = VersionUses()
        self._shadow_lane = ShadowLane(max_run_seconds)
        self.first_load = FirstLoad()

    def publish(self, snapshot: Snapshot, *, loading: bool = False) -> None:
        """Answer from another snapshot, and forget what was counted of versions that it does not have."""
        self.snapshot = snapshot
        self.first_load.tell(on=loading)
        self._shadow_lane.keep(route.shadow[0] for route in snapshot.routes() if route.shadow is not None)
        versions = {(each.model, each.version) for route in snapshot.routes() for each in route.versions()}
        statistics = self.statistics
        statistics.versions = {key: each for key, each in statistics.versions.items() if key in versions}
        statistics.routes = {key: each for key, each in statistics.routes.items() if key[:2] in versions}

    def in_use(self, version: LoadedVersion) -> bool:
        """Whether a thread scores rows with a version."""
        return version in self._uses or self._shadow_lane.in_use(version)

    async def answer(
        self,
        encoding: Encoding,
        data: bytes,
        seconds_left: float | None,
        hold: Callable[[int], None] | None = None,
    ) -> bytes:
        """Answer a message.

        Args:
            encoding: how it is written.
            data: the message.
            seconds_left: until the caller's deadline; None where it set none.
            hold: told how many bytes a long answer will have about, before it is scored; it raises a
                CallError where that is too many.

        Raises:
            CallError: the call cannot be answered, and its encoding has no words for that.
        """
        call = _Call(len(data))
        asked = None
        try:
            # A message of a stream is answered by the id in it.
            if not encoding.streams:
                _check_deadline(seconds_left)
            asked = encoding.decode(data)
            scored = await self._score(asked, call, seconds_left, hold)
            begin = perf_counter_ns()
            answer = encoding.encode(asked, *scored, begin - call.decoded)
            check_answer(len(answer), self._max_message_bytes)
        except Exception as error:
            self._count_failure(encoding.method, call, error)
            told = encoding.encode_error(asked, error)
            if told is None:
                raise
            if is_fault(error):
                log_fault(encoding.method, error)
            return told
        self._count_answer(encoding.method, call, scored, begin)
        return answer

    def close(self) -> None:
        """Let the threads end, once they have nothing left to do."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._shadow_lane.close()

    def submit(self, work: Callable[[], bytes]) -> Future[bytes]:
        """Do something in one of the threads for large batches."""
        return self._pool.submit(work)

    async def _score(
        self, asked: Asked, call: _Call, seconds_left: float | None, hold: Callable[[int], None] | None
    ) -> _Scored:
        call.decoded = perf_counter_ns()
        if not self.first_load.settled:
            await self.first_load.wait_for(lambda: self._has_route(asked))
        statistics = self.statistics
        if statistics.in_flight >= self._max_in_flight:
            raise too_many_in_flight(self._max_in_flight)
        statistics.in_flight += 1
        try:
            route = call.route = asked.route(self.snapshot)
            version = call.version = route.pick(asked.routing_key)
            request = asked.request(version, self._max_rows)
            if request is not asked:
                call.decoded = perf_counter_ns()
            check_request(
                version,
                schema_fingerprint=request.schema_fingerprint,
                row_count=request.row_count,
                number_count=len(request.numbers),
                text_count=len(request.texts),
                max_rows=self._max_rows,
            )
            _check_deadline(seconds_left)
            if hold is not None and request.row_count > _FEW_ROWS:
                widths = (output.width for output in version.manifest.schema.outputs)
                hold(8 * request.row_count * sum(widths))
            if request.row_count * version.row_ns <= _INLINE_NS:
                scores = version.scorer.score(request.row_count, request.numbers, request.texts)
            else:
                scores = await self._score_in_thread(version, request, seconds_left)
        finally:
            statistics.in_flight -= 1
        if route.shadow is not None:
            copy_to, share = route.shadow
            key = _key(route, copy_to)._replace(shadow=True)
            counted = statistics.routes.setdefault(key, RouteStatistics())
            self._shadow_lane.offer(copy_to, share, request, call.size, counted)
        return _Scored(version, request.row_count, scores)

    def _has_route(self, asked: Asked) -> bool:
        try:
            asked.route(self.snapshot)
        except CallError:
            return False
        return True

    async def _score_in_thread(
        self, version: LoadedVersion, request: Request, seconds_left: float | None
    ) -> Scores:
        deadline = None if seconds_left is None else monotonic() + seconds_left
        self._uses.enter(version)
        scoring = self._pool.submit(self._score_before, deadline, version, request)
        # Not when the caller goes, but when the thread is done with the version.
        scoring.add_done_callback(lambda _: self._uses.leave(version))
        return await asyncio.wrap_future(scoring)

    def _count_answer(self, method: str, call: _Call, scored: _Scored, scored_at: int) -> None:
        version, row_count, scores = scored
        end = perf_counter_ns()
        statistics = self.statistics
        statistics.answered[method] = statistics.answered.get(method, 0) + 1
        key = (version.model, version.version)
        count = statistics.versions.get(key)
        if count is None:
            count = statistics.versions[key] = VersionStatistics()
        count.rows += row_count
        for error in scores.errors:
            count.row_errors[error.reason] = count.row_errors.get(error.reason, 0) + 1
        count.decode.add(call.decoded - call.begin)
        count.run.add(scores.model_ns)
        count.encode.add(end - scored_at)
        assert call.route is not None  # noqa: S101 - it was scored
        self._route_statistics(call.route, version).count_answer(
            row_count, scores, version.score_output, (end - call.begin) / 1e9
        )

    def _count_failure(self, method: str, call: _Call, error: Exception) -> None:
        code, reason = code_and_reason(error)
        self.statistics.count_failure(method, code, reason)
        if call.route is not None and call.version is not None:
            failed = self._route_statistics(call.route, call.version).failed
            failed[code, reason] = failed.get((code, reason), 0) + 1

    def _route_statistics(self, route: Route, version: LoadedVersion) -> RouteStatistics:
        key = _key(route, version)
        count = self.statistics.routes.get(key)
        if count is None:
            count = self.statistics.routes[key] = RouteStatistics()
        return count

    def _score_before(self, deadline: float | None, version: LoadedVersion, request: Request) -> Scores:
        """Score in a thread, unless the deadline has passed while the call was waiting for one."""
        now = monotonic()
        if deadline is not None and now >= deadline:
            raise expired()
        longest = now + self._max_run_seconds
        try:
            with run_until(longest if deadline is None else min(deadline, longest)):
                return version.scorer.score(request.row_count, request.numbers, request.texts)
        except TimeoutError:
            if deadline is not None and deadline <= longest:
                raise expired() from None
            raise run_stopped(self._max_run_seconds) from None


def _key(route: Route, version: LoadedVersion) -> RouteKey:
    return RouteKey(route.model, version.version, route.name)


def _check_deadline(seconds_left: float | None) -> None:
    if seconds_left is not None and seconds_left <= 0:
        raise expired()
