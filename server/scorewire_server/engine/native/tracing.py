"""The traced calls of the extension, in the form that the control plane takes."""

from __future__ import annotations

from google.rpc import code_pb2

import scorewire_native
from scorewire_proto.v1 import errors_pb2
from scorewire_server.engine.native.statistics import CODES
from scorewire_server.engine.tracer import CallTrace, Tracer
from scorewire_server.engine.tracing import SpanBatch, TraceCounts, TraceOptions
from scorewire_server.errors import reason_name


def trace_parts(options: TraceOptions) -> scorewire_native.TraceParts:
    """Which calls the extension traces."""
    return {
        "share": options.share,
        "per_second": options.per_second,
        "waiting": options.waiting,
        "reasons": [_reason(number) for number in range(max(CODES) + 1)],
    }


def _reason(number: int) -> tuple[int, str]:
    """The code and the name of a reason; UNKNOWN if no failure has this number."""
    reason = errors_pb2.ErrorReason.ValueType(number)
    return (CODES[reason], reason_name(reason)) if reason in CODES else (code_pb2.UNKNOWN, "")


class NativeTraces:
    """The traced calls of an extension, and those that are answered in Python: a `TraceQueue`.

    Args:
        native: the extension's engine.
        options: those that the extension has.
    """

    def __init__(self, native: scorewire_native.Engine, options: TraceOptions) -> None:
        self._native = native
        # Only queues: the extension has decided which calls are traced.
        self._interpreted = Tracer(options)

    @property
    def counts(self) -> TraceCounts:
        """What became of the spans so far."""
        counts = self._native.trace_counts() or (0, 0, 0, 0)
        return TraceCounts(*(a + b for a, b in zip(counts, self._interpreted.counts, strict=True)))

    def take(self, most: int) -> SpanBatch:
        """Take the oldest calls out of the queue."""
        encoded, calls, spans = self._native.take_traces(most)
        others = self._interpreted.take(most - calls)
        return SpanBatch(encoded + others.encoded, calls + others.calls, spans + others.spans)

    def resume(
        self, path: str, span: scorewire_native.SpanContext, received_ns: int, *, stream: bool
    ) -> CallTrace:
        """The trace of a message that the extension forwards, with the span that the extension gave it."""
        trace_id, span_id, parent_id, remote, state = span
        return CallTrace(
            self._interpreted,
            "message" if stream else "unary",
            path[1:],
            trace_id=trace_id,
            parent_id=parent_id,
            begin_ns=received_ns,
            state=state,
            remote=remote,
            span_id=span_id,
        )
