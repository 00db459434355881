"""Traces of calls: which are traced, and what is noted of each while it is answered.

The rules are those of predict/tracing.rs, so that both engines trace the same calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import getrandbits, random
from time import perf_counter_ns, time_ns

from google.rpc import code_pb2

from scorewire_proto.v1 import errors_pb2
from scorewire_server.engine.spans import encode_spans
from scorewire_server.engine.trace_context import find_parent, find_state
from scorewire_server.engine.tracing import SpanBatch, SpanKind, TraceCounts, TracedCall, TraceOptions
from scorewire_server.errors import Code, Reason, code_and_reason

_SECOND_NS = 1_000_000_000
_NO_REASON = errors_pb2.ERROR_REASON_UNSPECIFIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What a traced call has passed: fields of `TracedCall`, with times of `perf_counter_ns`."""

    stages: Sequence[tuple[int, int, int]] = ()
    model: str = ""
    version: str = ""
    route: str = ""
    rows: int = -1
    row_errors: int = -1
    prediction_id: str = ""
    shared: int = 0


NOTHING_PASSED = Passed()


class Tracer:
    """Decides which calls are traced, and queues those that have ended.

    All of it is for one event loop, except `counts` and `take`: those are for one other thread.
    """

    def __init__(self, options: TraceOptions) -> None:
        self._share = options.share
        self._limit = _RateLimit(options.per_second)
        self._most = options.waiting
        self._ended: deque[TracedCall] = deque()
        # Only the loop changes these, and only the thread that takes changes `_taken`.
        self._sampled = self._dropped = self._queued = 0
        self._taken = 0

    @property
    def counts(self) -> TraceCounts:
        """What became of the spans so far."""
        # In this order, since a call is queued before it is taken.
        taken, queued = self._taken, self._queued
        return TraceCounts(self._sampled, self._dropped, queued - taken, self._limit.refused)

    def take(self, most: int) -> SpanBatch:
        """Take the oldest calls out of the queue."""
        count = min(most, len(self._ended))
        batch = encode_spans(self._ended.popleft() for _ in range(count))
        self._taken += batch.spans
        return batch

    def begin(
        self, path: str, metadata: Sequence[tuple[str, str | bytes]], received_ns: int, *, stream: bool
    ) -> CallTrace | None:
        """The trace of a call that begins; None if the call is not traced.

        Args:
            path: /package.Service/Method.
            metadata: the call's; the traceparent is in it.
            received_ns: when the call arrived, a time of `perf_counter_ns`.
            stream: whether the call has a stream of messages.
        """
        parent = find_parent(metadata)
        sampled = random() < self._share if parent is None else parent.sampled  # noqa: S311 - no secret
        if not sampled or not self._limit.allows(received_ns):
            return None
        kind: SpanKind = "stream" if stream else "unary"
        if parent is None:
            return CallTrace(
                self, kind, path[1:], trace_id=_random_id(16), parent_id=b"", begin_ns=received_ns
            )
        return CallTrace(
            self,
            kind,
            path[1:],
            trace_id=parent.trace_id,
            parent_id=parent.span_id,
            begin_ns=received_ns,
            state=find_state(metadata),
            remote=True,
        )

    def allows(self, now_ns: int) -> bool:
        """Whether the limit by second allows one more message of a traced stream."""
        return self._limit.allows(now_ns)

    def end(self, call: TracedCall) -> None:
        """Queue a call that has ended, or drop it if the queue is full."""
        self._sampled += call.spans
        if len(self._ended) >= self._most:
            self._dropped += call.spans
            return
        self._queued += call.spans
        self._ended.append(call)


class CallTrace:
    """The trace of one call, or of one message of a stream, while it is answered.

    Args:
        tracer: where the call is queued when it has ended.
        kind: what is traced.
        method: package.Service/Method.
        trace_id: the trace that the call belongs to.
        parent_id: the span that caused the call; empty if there is none.
        begin_ns: when the call arrived. All times are of `perf_counter_ns`.
        state: the tracestate.
        remote: whether the parent is a span of the caller.
        span_id: the id of the call's span; a new one unless given.

    Attributes:
        principal: the name of the principal that calls; "" until it is known, and without --access.
    """

    __slots__ = (
        "_begin_ns",
        "_ended",
        "_kind",
        "_method",
        "_parent_id",
        "_remote",
        "_span_id",
        "_state",
        "_trace_id",
        "_tracer",
        "principal",
    )

    def __init__(
        self,
        tracer: Tracer,
        kind: SpanKind,
        method: str,
        *,
        trace_id: bytes,
        parent_id: bytes,
        begin_ns: int,
        state: str = "",
        remote: bool = False,
        span_id: bytes = b"",
    ) -> None:
        self._tracer = tracer
        self._kind = kind
        self._method = method
        self._trace_id = trace_id
        self._parent_id = parent_id
        self._begin_ns = begin_ns
        self._state = state
        self._remote = remote
        self._span_id = span_id or _random_id(8)
        self._ended = False
        self.principal = ""

    def of_message(self, began_ns: int) -> CallTrace | None:
        """The trace of a message of this call, itself if it has one message.

        None if the limit by second does not allow one more.
        """
        if self._kind != "stream":
            return self
        if not self._tracer.allows(began_ns):
            return None
        trace = CallTrace(
            self._tracer,
            "message",
            self._method,
            trace_id=self._trace_id,
            parent_id=self._span_id,
            begin_ns=began_ns,
            state=self._state,
        )
        trace.principal = self.principal
        return trace

    def end(
        self,
        code: Code = code_pb2.OK,
        reason: Reason = _NO_REASON,
        end_ns: int | None = None,
        passed: Passed = NOTHING_PASSED,
    ) -> None:
        """End the trace, unless it has ended.

        Args:
            code: the status code of the call.
            reason: the reason of a failure.
            end_ns: when the call ended; now unless given.
            passed: what the call has passed.
        """
        if self._ended:
            return
        self._ended = True
        now_ns = perf_counter_ns()
        since_1970_ns = time_ns() - now_ns
        self._tracer.end(
            TracedCall(
                self._kind,
                self._method,
                self._trace_id,
                self._span_id,
                self._parent_id,
                self._remote,
                self._state,
                self.principal,
                since_1970_ns + self._begin_ns,
                since_1970_ns + (now_ns if end_ns is None else end_ns),
                [(stage, since_1970_ns + begin, since_1970_ns + end) for stage, begin, end in passed.stages],
                code,
                reason,
                passed.model,
                passed.version,
                passed.route,
                passed.rows,
                passed.row_errors,
                passed.prediction_id,
                passed.shared,
            )
        )

    def end_with(self, error: BaseException) -> None:
        """End the trace with what ends the call; a caller who cancels is no `Exception`."""
        failed = isinstance(error, Exception)
        self.end(*(code_and_reason(error) if failed else (code_pb2.CANCELLED, _NO_REASON)))


class _RateLimit:
    """Allows a number of events in a second, and as many at once: the generic cell rate algorithm.

    Attributes:
        refused: the events that were not allowed.
    """

    def __init__(self, per_second: int) -> None:
        self._interval_ns = _SECOND_NS // per_second
        # When the bucket is empty again.
        self._empty_ns = 0
        self.refused = 0

    def allows(self, now_ns: int) -> bool:
        """Whether an event at this time is allowed."""
        empty_ns = max(self._empty_ns, now_ns) + self._interval_ns
        if empty_ns > now_ns + _SECOND_NS:
            self.refused += 1
            return False
        self._empty_ns = empty_ns
        return True


def _random_id(length: int) -> bytes:
    """Random bytes, not all zero."""
    return (getrandbits(8 * length) or 1).to_bytes(length)
