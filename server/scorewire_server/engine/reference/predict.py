"""The hot path: decode, route, validate, score, encode. Unary calls and streams share it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, perf_counter_ns
from typing import TypeAlias

from scorewire_contract.scoring import Scores
from scorewire_server.engine.reference import codec
from scorewire_server.engine.snapshot import LoadedVersion, Snapshot
from scorewire_server.engine.statistics import PREDICT, PREDICT_STREAM, Statistics, VersionStatistics
from scorewire_server.engine.validation import (
    check_answer,
    check_request,
    expired,
    find_version,
    too_many_in_flight,
)
from scorewire_server.errors import CallError, code_and_reason, to_status
from scorewire_server.logs import log_fault

# Rows that cost more than this together are scored in a thread, so that the
# loop goes on. Fewer are scored at once: the way to a thread and back costs
# about 100 us, and this bounds how long the other calls wait.
_INLINE_NS = 500_000

_Scored: TypeAlias = "tuple[LoadedVersion, int, Scores, VersionStatistics, int]"


class Predictor:
    """Answers prediction requests, as bytes, from the snapshot that it was last given."""

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        max_rows: int,
        max_in_flight: int,
        max_message_bytes: int,
        batch_threads: int,
    ) -> None:
        self.snapshot = snapshot
        self.statistics = Statistics(answered={PREDICT: 0, PREDICT_STREAM: 0})
        self._max_rows = max_rows
        self._max_in_flight = max_in_flight
        self._max_message_bytes = max_message_bytes
        self._pool = ThreadPoolExecutor(batch_threads, thread_name_prefix="score")

    async def predict(self, data: bytes, seconds_left: float | None) -> bytes:
        """Answer a PredictRequest with a PredictResponse.

        Args:
            data: the request.
            seconds_left: until the caller's deadline; None where it set none.

        Raises:
            CallError: the call cannot be answered.
        """
        try:
            begin = perf_counter_ns()
            request = codec.decode(data)
            version, count, scores, statistics, decoded = await self._score(request, begin, seconds_left)
            scored = perf_counter_ns()
            answer = codec.encode(version, count, scores, scored - decoded)
            check_answer(len(answer), self._max_message_bytes)
            statistics.encode.add(perf_counter_ns() - scored)
        except Exception as error:
            self.statistics.count_failure(PREDICT, *code_and_reason(error))
            raise
        self.statistics.answered[PREDICT] += 1
        return answer

    async def predict_message(self, data: bytes, seconds_left: float | None) -> bytes:
        """Answer a PredictStreamRequest with a PredictStreamResponse, which may carry an error."""
        correlation_id = 0
        try:
            begin = perf_counter_ns()
            correlation_id, request = codec.decode_stream(data)
            version, count, scores, statistics, decoded = await self._score(request, begin, seconds_left)
            scored = perf_counter_ns()
            answer = codec.encode_stream(correlation_id, version, count, scores, scored - decoded)
            check_answer(len(answer), self._max_message_bytes)
            statistics.encode.add(perf_counter_ns() - scored)
        except Exception as error:
            if not isinstance(error, CallError):
                log_fault(PREDICT_STREAM, error)
            self.statistics.count_failure(PREDICT_STREAM, *code_and_reason(error))
            return codec.encode_stream_error(correlation_id, to_status(error))
        self.statistics.answered[PREDICT_STREAM] += 1
        return answer

    def close(self) -> None:
        """Let the threads end, once they have nothing left to do."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _score(self, request: codec.Request, begin: int, seconds_left: float | None) -> _Scored:
        decoded = perf_counter_ns()
        statistics = self.statistics
        if statistics.in_flight >= self._max_in_flight:
            raise too_many_in_flight(self._max_in_flight)
        statistics.in_flight += 1
        try:
            version = find_version(self.snapshot, request.model, request.version)
            check_request(
                version,
                schema_fingerprint=request.schema_fingerprint,
                row_count=request.row_count,
                number_count=len(request.numbers),
                text_count=len(request.texts),
                max_rows=self._max_rows,
            )
            if seconds_left is not None and seconds_left <= 0:
                raise expired()
            if request.row_count * version.row_ns <= _INLINE_NS:
                scores = version.scorer.score(request.row_count, request.numbers, request.texts)
            else:
                deadline = None if seconds_left is None else monotonic() + seconds_left
                scores = await asyncio.get_running_loop().run_in_executor(
                    self._pool, _score_before, deadline, version, request
                )
        finally:
            statistics.in_flight -= 1
        count = statistics.versions.get((version.model, version.version))
        if count is None:
            count = statistics.versions[version.model, version.version] = VersionStatistics()
        count.rows += request.row_count
        for error in scores.errors:
            count.row_errors[error.reason] = count.row_errors.get(error.reason, 0) + 1
        count.decode.add(decoded - begin)
        count.run.add(scores.model_ns)
        return version, request.row_count, scores, count, decoded


def _score_before(deadline: float | None, version: LoadedVersion, request: codec.Request) -> Scores:
    """Score in a thread, unless the deadline has passed while the call was waiting for one."""
    if deadline is not None and monotonic() >= deadline:
        raise expired()
    return version.scorer.score(request.row_count, request.numbers, request.texts)
