"""The prediction path: decode, route, validate, score, encode, observe. All methods share it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from time import monotonic, perf_counter_ns
from typing import TypeAlias

from google.rpc import code_pb2

from scorewire_contract.scoring import Scores
from scorewire_contract.service.logs import log_fault
from scorewire_server.engine.access import Principal, Right
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.encodings.encoding import Answer, DecodedCall, Request
from scorewire_server.engine.encodings.methods import PredictionMethod
from scorewire_server.engine.explaining import Explained, Explainer
from scorewire_server.engine.interpreted.counting import PredictionCounter
from scorewire_server.engine.interpreted.failures import (
    expired,
    permission_denied,
    run_failed,
    run_stopped,
    too_many_in_flight,
)
from scorewire_server.engine.interpreted.first_load import FirstLoad
from scorewire_server.engine.interpreted.limits import PredictionLimits
from scorewire_server.engine.interpreted.observer import Observer, Prediction
from scorewire_server.engine.interpreted.recording import PredictionRecorder, RecordLanes
from scorewire_server.engine.interpreted.run_limit import run_until
from scorewire_server.engine.interpreted.shadow import ShadowLane
from scorewire_server.engine.interpreted.trace_observer import TraceObserver
from scorewire_server.engine.interpreted.version_uses import VersionUses
from scorewire_server.engine.recording import NO_SOURCES, Sources
from scorewire_server.engine.snapshot import LoadedVersion, Snapshot
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.engine.statistics import Statistics
from scorewire_server.engine.validation import check_answer, check_request, find_explainer, find_route
from scorewire_server.errors import CallError, code_and_reason, is_fault
from scorewire_server.settings import Settings

# Rows that together cost more than this are scored in a thread, so that the event loop goes on. Cheaper
# ones are scored on the loop, since the way to a thread and back costs about 100 us.
_INLINE_NS = 500_000
_Scored: TypeAlias = tuple[Scores, Explained | None]
# For more rows than this, the bytes of the answer are held before the rows are scored.
_FEW_ROWS = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of predictions; the settings with the same names."""

    max_rows: int
    max_in_flight: int
    max_message_bytes: int
    max_run_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits in the settings."""
        return cls(
            settings.max_rows,
            settings.max_in_flight,
            settings.max_message_bytes,
            settings.max_run_seconds,
        )


class Predictor:
    """Answers prediction messages, as bytes, from the last snapshot; to be used from one event loop.

    Args:
        limits: the limits of predictions.
        pool: the threads that score large batches; `close` shuts it down.
        lanes: where records go; None if nothing is recorded.
        tracing: whether calls may be traced.
        callers: the limits of principals; None if calls have no principals.
    """

    def __init__(
        self,
        limits: Limits,
        pool: Executor,
        lanes: RecordLanes | None = None,
        *,
        tracing: bool = False,
        callers: PredictionLimits | None = None,
    ) -> None:
        self.snapshot = build_snapshot(())
        self.first_load = FirstLoad()
        self._limits = limits
        self._pool = pool
        self._callers = callers
        self._uses = VersionUses()
        self._counter = PredictionCounter()
        self._recorder = None if lanes is None else PredictionRecorder(lanes)
        self._shadow_lane = ShadowLane(self._counter.counts, limits.max_run_seconds, self._recorder)
        # These learn of every prediction, in this order. A new sink is one more entry.
        self._observers: tuple[Observer, ...] = (self._counter, self._shadow_lane)
        if self._recorder is not None:
            self._observers += (self._recorder,)
        if tracing:
            self._observers += (TraceObserver(),)

    @property
    def counts(self) -> Statistics:
        """The counts, which the event loop changes."""
        return self._counter.counts

    @property
    def statistics(self) -> Statistics:
        """The statistics so far, for any thread."""
        return self._counter.statistics

    def publish(self, snapshot: Snapshot, *, loading: bool = False, sources: Sources = NO_SOURCES) -> None:
        """Answer from a new snapshot, record what `sources` say, and tell no more of other versions."""
        self.snapshot = snapshot
        if self._recorder is not None:
            self._recorder.publish(sources)
        self.first_load.update(loading=loading)
        self._shadow_lane.keep(route.shadow[0] for route in snapshot.routes() if route.shadow is not None)
        self._counter.publish(snapshot)

    def in_use(self, version: LoadedVersion) -> bool:
        """Whether a thread scores rows or copies with a version."""
        return version in self._uses or self._shadow_lane.in_use(version)

    async def answer(
        self,
        method: PredictionMethod,
        context: CallContext,
        data: bytes,
        hold: Callable[[int], None] | None = None,
    ) -> bytes:
        """Answer a message.

        Args:
            method: the method that was called.
            context: the call, which was admitted.
            data: the message.
            hold: takes the estimated bytes of a long answer before its rows are scored, and raises a
                CallError if those are too many.

        Returns:
            The answer, which may tell of a failure.

        Raises:
            Exception: the message cannot be answered, and its encoding has no answer for failures.
        """
        prediction = Prediction(method, context, len(data))
        if context.trace is not None:
            prediction.trace = context.trace.of_message(prediction.began_ns)
        encoding = method.encoding
        call = None
        try:
            # A message of a stream is answered by the id in it, so it is read first.
            if not method.stream:
                if context.expired:
                    raise expired()
                self._take_call(context)
            try:
                call = encoding.decode(data)
            finally:
                if method.stream:
                    self._take_call(context)
            answer = encoding.encode(call, await self._score(call, prediction, hold))
            check_answer(len(answer), self._limits.max_message_bytes)
        except Exception as error:
            self._end(prediction, error)
            error_answer = encoding.encode_error(call, error)
            if error_answer is None:
                raise
            if is_fault(error):
                log_fault(method.counted_as, error)
            return error_answer
        except asyncio.CancelledError:
            # gRPC cancels the handler of a call whose deadline passes, and of one whose caller goes away.
            if context.expired:
                self._end(prediction, expired())
            elif prediction.trace is not None:
                prediction.trace.end(code_pb2.CANCELLED)
            raise
        self._end(prediction)
        return answer

    def refuse(self, method: PredictionMethod, context: CallContext, error: Exception) -> None:
        """Tell the observers that a call was not admitted."""
        prediction = Prediction(method, context, 0)
        prediction.trace = context.trace
        self._end(prediction, error)

    def close(self) -> None:
        """Cancel what waits for a thread, and let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._shadow_lane.close()

    def submit(self, work: Callable[[], bytes]) -> Future[bytes]:
        """Run a function in one of the threads for large batches."""
        return self._pool.submit(work)

    def _end(self, prediction: Prediction, error: Exception | None = None) -> None:
        """Tell the observers of a prediction that was answered or has failed."""
        # Not the exception, whose traceback refers to this prediction: the circle would keep the message.
        prediction.failure = None if error is None else code_and_reason(error)
        prediction.ended_ns = perf_counter_ns()
        for observer in self._observers:
            observer.observe(prediction)

    async def _score(
        self, call: DecodedCall, prediction: Prediction, hold: Callable[[int], None] | None
    ) -> Answer:
        prediction.decoded_ns = perf_counter_ns()
        principal = prediction.context.principal
        if principal is not None and not principal.may(Right.PREDICT, call.target.model):
            if self._callers is not None:
                self._callers.deny(principal)
            raise permission_denied()
        if not self.first_load.settled:
            await self.first_load.wait_for(lambda: self._has_route(call))
        limits, context, counts = self._limits, prediction.context, self.counts
        if counts.in_flight >= limits.max_in_flight:
            raise too_many_in_flight(limits.max_in_flight)
        with self._place(principal):
            if prediction.trace is not None:
                prediction.route_began_ns = perf_counter_ns()
            route = prediction.route = find_route(self.snapshot, call.target)
            routing_key = prediction.routing_key = call.routing_key
            version = prediction.version = route.pick(routing_key)
            if prediction.trace is not None:
                prediction.routed_ns = perf_counter_ns()
            if self._recorder is not None:
                self._recorder.begin(prediction, route, version)
            request = prediction.request = call.request(version, limits.max_rows)
            if request is not call:
                prediction.decoded_ns = perf_counter_ns()
            check_request(
                version,
                schema_fingerprint=request.schema_fingerprint,
                row_count=request.row_count,
                number_count=len(request.numbers),
                text_count=len(request.texts),
                max_rows=limits.max_rows,
            )
            explain = request.explain
            explainer = None if explain is None else find_explainer(version, explain.output)
            contribution_bytes = 0
            if explainer is not None and explain is not None:
                # Before anything is allocated for the contributions.
                contribution_bytes = explainer.expected_bytes(request.row_count, explain.top_k)
                check_answer(contribution_bytes, self._limits.max_message_bytes)
            if principal is not None and self._callers is not None:
                self._callers.take_rows(principal, request.row_count)
            if context.expired:
                raise expired()
            if hold is not None and request.row_count > _FEW_ROWS:
                widths = (output.width for output in version.manifest.schema.outputs)
                hold(8 * request.row_count * sum(widths) + contribution_bytes)
            scores, explained = await self._run(version, request, explainer, context.deadline)
        prediction.scores, prediction.explained = scores, explained
        prediction.scored_ns = perf_counter_ns()
        prediction.shadowed = self._shadow_lane.draws(route)
        # From here on nothing is awaited until the observers are told, so that the record gets the id that
        # the answer has.
        prediction_id = "" if self._recorder is None else self._recorder.ticket(prediction, scores)
        server_ns = prediction.scored_ns - prediction.decoded_ns
        return Answer(version, request.row_count, scores, server_ns, prediction_id, explained)

    def _take_call(self, context: CallContext) -> None:
        if context.principal is not None and self._callers is not None:
            self._callers.take_call(context.principal)

    @contextmanager
    def _place(self, principal: Principal | None) -> Iterator[None]:
        """Count a message as in flight for the time of a block."""
        counts = self.counts
        held: AbstractContextManager[None] = nullcontext()
        if principal is not None and self._callers is not None:
            held = self._callers.place(principal, counts.in_flight)
        with held:
            counts.in_flight += 1
            try:
                yield
            finally:
                counts.in_flight -= 1

    def _has_route(self, call: DecodedCall) -> bool:
        try:
            find_route(self.snapshot, call.target)
        except CallError:
            return False
        return True

    async def _run(
        self, version: LoadedVersion, request: Request, explainer: Explainer | None, deadline: float | None
    ) -> _Scored:
        """Score rows and explain them, here or in a thread.

        Raises:
            CallError: the run was stopped.
            RuntimeError: a graph failed.
        """
        row_ns = version.row_ns + (0 if explainer is None else explainer.row_ns)
        work = partial(_score_rows, version, request, explainer)
        try:
            if request.row_count * row_ns <= _INLINE_NS:
                return work()
            return await self._run_in_thread(version, work, deadline)
        except CallError:
            raise
        except Exception as error:
            text = f"model {version.model} {version.version} failed on {request.row_count} rows"
            raise run_failed(f"{text}: {type(error).__name__}: {error}") from error

    async def _run_in_thread(
        self, version: LoadedVersion, work: Callable[[], _Scored], deadline: float | None
    ) -> _Scored:
        self._uses.enter(version)
        scoring = self._pool.submit(self._run_before, deadline, work)
        # The version is in use until the thread is done, even if the caller goes away before.
        scoring.add_done_callback(lambda _: self._uses.leave(version))
        return await asyncio.wrap_future(scoring)

    def _run_before(self, deadline: float | None, work: Callable[[], _Scored]) -> _Scored:
        """Score rows, in a thread.

        Raises:
            DeadlineExceededError: the deadline passed before or during the run.
            RunStoppedError: the run took longer than it may.
        """
        now = monotonic()
        if deadline is not None and now >= deadline:
            raise expired()
        longest = now + self._limits.max_run_seconds
        try:
            with run_until(longest if deadline is None else min(deadline, longest)):
                return work()
        except TimeoutError:
            if deadline is not None and deadline <= longest:
                raise expired() from None
            raise run_stopped(self._limits.max_run_seconds) from None


def _score_rows(version: LoadedVersion, request: Request, explainer: Explainer | None) -> _Scored:
    rows = (request.row_count, request.numbers, request.texts)
    explained = None
    if explainer is not None and request.explain is not None:
        explained = explainer.explain(*rows, request.explain.top_k)
    return version.scorer.score(*rows), explained
