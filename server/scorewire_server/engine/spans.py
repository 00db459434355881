"""Traced calls as OTLP spans.

The attributes are those of OpenTelemetry's semantic conventions for RPC and gRPC,
https://opentelemetry.io/docs/specs/semconv/rpc/grpc/, and `scorewire.*` for what the
conventions have no name for. The native engine writes the same: predict/tracing.rs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from os import urandom

from google.rpc import code_pb2
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, SpanFlags, Status

from scorewire_server.engine.tracing import STAGES, SpanBatch, TracedCall
from scorewire_server.errors import reason_name

# The codes that are the server's fault, by the semantic conventions; the others are the caller's.
_FAULTS = {
    code_pb2.UNKNOWN,
    code_pb2.DEADLINE_EXCEEDED,
    code_pb2.UNIMPLEMENTED,
    code_pb2.INTERNAL,
    code_pb2.UNAVAILABLE,
    code_pb2.DATA_LOSS,
}
_SAMPLED = 1
_LOCAL = _SAMPLED | SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE = _LOCAL | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_SPAN_ID_BYTES = 8
_ERROR = Status(code=Status.STATUS_CODE_ERROR)
_KINDS = {
    "unary": Span.SPAN_KIND_SERVER,
    "stream": Span.SPAN_KIND_SERVER,
    "message": Span.SPAN_KIND_INTERNAL,
}


def encode_spans(calls: Iterable[TracedCall]) -> SpanBatch:
    """Encode the spans of calls."""
    group, count = ScopeSpans(), 0
    for call in calls:
        _add_spans(group, call)
        count += 1
    return SpanBatch(group.SerializeToString(), count, len(group.spans))


def _add_spans(group: ScopeSpans, call: TracedCall) -> None:
    """Add the span of a call, and one for each of its stages."""
    spans, trace_id, span_id = group.spans, call.trace_id, call.span_id
    span = spans.add(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=call.parent_id,
        name=call.method if call.kind != "message" else "message",
        kind=_KINDS[call.kind],
        start_time_unix_nano=call.begin_ns,
        end_time_unix_nano=call.end_ns,
        flags=_REMOTE if call.remote else _LOCAL,
        trace_state=call.state,
    )
    span.attributes.extend(_attributes(call))
    if call.code in _FAULTS:
        span.status.CopyFrom(_ERROR)
    ids = urandom(_SPAN_ID_BYTES * len(call.stages))
    for place, (stage, begin_ns, end_ns) in enumerate(call.stages):
        spans.add(
            trace_id=trace_id,
            span_id=ids[place * _SPAN_ID_BYTES : (place + 1) * _SPAN_ID_BYTES],
            parent_span_id=span_id,
            name=STAGES[stage],
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=begin_ns,
            end_time_unix_nano=end_ns,
            flags=_LOCAL,
            trace_state=call.state,
        )


def _attributes(call: TracedCall) -> Iterator[KeyValue]:
    service, _, method = call.method.rpartition("/")
    yield _text("rpc.system", "grpc")
    yield _text("rpc.service", service)
    yield _text("rpc.method", method)
    yield _number("rpc.grpc.status_code", call.code)
    if call.reason:
        yield _text("scorewire.reason", reason_name(call.reason))
    if call.principal:
        yield _text("scorewire.principal", call.principal)
    if call.version:
        yield _text("scorewire.model", call.model)
        yield _text("scorewire.version", call.version)
        yield _text("scorewire.route", call.route)
    if call.rows >= 0:
        yield _number("scorewire.rows", call.rows)
        yield _number("scorewire.row_errors", call.row_errors)
    if call.prediction_id:
        # Every id is another one: it would only fill the cache.
        yield KeyValue(key="scorewire.prediction_id", value=AnyValue(string_value=call.prediction_id))
    if call.shared > 1:
        yield _number("scorewire.run.calls", call.shared)


# Both are for few different values, and a message that exists is copied in a tenth of the time.
@lru_cache(maxsize=1024)
def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


@lru_cache(maxsize=1024)
def _number(key: str, value: int) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(int_value=value))
