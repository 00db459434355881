"""What an engine is told about traces, and what it tells of them.

The engine decides when a call begins whether the call is traced. A traced call, or a
traced message of a stream, that has ended goes into a bounded queue. The control plane
takes the calls out of the queue, as spans, and sends them. A queue that is full loses
calls, and never holds up one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from scorewire_server.errors import Code, Reason

# What a message passes on its way to the answer; a stage of a `TracedCall` names one by its place here.
STAGES: Final = ("decode", "route", "explain", "run", "encode", "record")
# The longest tracestate that is kept; https://www.w3.org/TR/trace-context/#tracestate-limits asks for 512.
MAX_STATE_BYTES: Final = 512

# A unary call, a call with a stream of messages, or one message of such a stream.
SpanKind: TypeAlias = Literal["unary", "stream", "message"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions:
    """Which calls an engine traces.

    Attributes:
        share: the share of calls without a valid traceparent that are traced, from 0 to 1.
        per_second: the most calls and messages of streams that are traced in a second.
        waiting: the most ended calls that wait to be taken.
    """

    share: float
    per_second: int
    waiting: int = 4096


class TracedCall(NamedTuple):
    """A call, or a message of a stream, that was traced and has ended.

    Attributes:
        kind: what the span is of.
        method: package.Service/Method.
        trace_id: 16 bytes.
        span_id: 8 bytes, the id of the span of this call.
        parent_id: 8 bytes, the id of the span that caused this one; empty for the first of a trace.
        remote: whether the parent is a span of the caller.
        state: the tracestate of the caller, if it is valid, at most `MAX_STATE_BYTES`; else "".
        principal: the name of the principal that called; "" without --access, or if the call was refused.
        begin_ns: when the call arrived, in nanoseconds since 1970.
        end_ns: when the answer was written, or the call had failed.
        stages: the place in `STAGES`, the begin and the end of each stage that was passed, in order.
        code: the status code of gRPC.
        reason: the reason of a failure; 0 if there is none.
        model: the model that was found; "" if none was.
        version: its version that was picked; "" if none was.
        route: the name of the route to it: "" is the default route.
        rows: the rows; -1 if they were not scored.
        row_errors: the rows that have an error instead of a score; -1 if they were not scored.
        prediction_id: the id of the record; "" if there is none.
        shared: the calls whose rows were scored in one run; 1 for a run of its own, 0 without a run.
    """

    kind: SpanKind
    method: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    remote: bool
    state: str
    principal: str
    begin_ns: int
    end_ns: int
    stages: Sequence[tuple[int, int, int]]
    code: Code
    reason: Reason
    model: str
    version: str
    route: str
    rows: int
    row_errors: int
    prediction_id: str
    shared: int

    @property
    def spans(self) -> int:
        """The spans of this call: its own and one for each stage."""
        return 1 + len(self.stages)


class SpanBatch(NamedTuple):
    """The spans of some calls.

    Attributes:
        encoded: the spans as fields of OpenTelemetry's `ScopeSpans`, which can be put behind each other.
        calls: how many calls and messages they are of.
        spans: how many spans there are.
    """

    encoded: bytes = b""
    calls: int = 0
    spans: int = 0


class TraceCounts(NamedTuple):
    """What became of the spans so far.

    Once no call is being answered, sampled = dropped + waiting + those that were taken.

    Attributes:
        sampled: spans of traced calls that have ended.
        dropped: spans that found the queue full.
        waiting: spans in the queue.
        limited: calls and messages that were to be traced and were not, because of the limit by second.
    """

    sampled: int = 0
    dropped: int = 0
    waiting: int = 0
    limited: int = 0


class TraceQueue(Protocol):
    """The traced calls of an engine that have ended. One thread takes them; any thread may count."""

    @property
    def counts(self) -> TraceCounts:
        """What became of the spans so far."""
        ...

    def take(self, most: int) -> SpanBatch:
        """Take the oldest calls out of the queue; never waits."""
        ...
