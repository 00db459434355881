"""Traced calls become spans with the names of OpenTelemetry's conventions."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from scorewire_proto.v1 import errors_pb2
from scorewire_server.engine.spans import encode_spans
from scorewire_server.engine.tracing import TracedCall
from tests.otlp import attributes

CALL = TracedCall(
    kind="unary",
    method="scorewire.v1.PredictionService/Predict",
    trace_id=bytes(range(1, 17)),
    span_id=bytes(range(1, 9)),
    parent_id=bytes(range(11, 19)),
    remote=True,
    state="a=1",
    principal="shop",
    begin_ns=1000,
    end_ns=2000,
    stages=[(0, 1100, 1200), (2, 1300, 1400), (3, 1400, 1500)],
    code=code_pb2.OK,
    reason=errors_pb2.ERROR_REASON_UNSPECIFIED,
    model="churn",
    version="1.0.0",
    route="best",
    rows=3,
    row_errors=1,
    prediction_id="id-7",
    shared=4,
)


def spans(*calls: TracedCall) -> list[Span]:
    batch = encode_spans(calls)
    found = list(ScopeSpans.FromString(batch.encoded).spans)
    assert (batch.calls, batch.spans) == (len(calls), len(found))
    return found


def test_a_call_is_a_server_span_with_its_stages_below() -> None:
    call, *stages = spans(CALL)
    assert (call.name, call.kind) == (CALL.method, Span.SPAN_KIND_SERVER)
    assert (call.trace_id, call.span_id, call.parent_span_id) == CALL[2:5]
    assert (call.start_time_unix_nano, call.end_time_unix_nano) == (1000, 2000)
    assert (call.flags, call.trace_state) == (0x301, "a=1")
    assert attributes(call) == {
        "rpc.system": "grpc",
        "rpc.service": "scorewire.v1.PredictionService",
        "rpc.method": "Predict",
        "rpc.grpc.status_code": 0,
        "scorewire.principal": "shop",
        "scorewire.model": "churn",
        "scorewire.version": "1.0.0",
        "scorewire.route": "best",
        "scorewire.rows": 3,
        "scorewire.row_errors": 1,
        "scorewire.prediction_id": "id-7",
        "scorewire.run.calls": 4,
    }
    assert [(each.name, each.start_time_unix_nano, each.end_time_unix_nano) for each in stages] == [
        ("decode", 1100, 1200),
        ("explain", 1300, 1400),
        ("run", 1400, 1500),
    ]
    for each in stages:
        assert (each.trace_id, each.parent_span_id, each.trace_state) == (CALL.trace_id, CALL.span_id, "a=1")
        assert (each.kind, each.flags, len(each.span_id)) == (Span.SPAN_KIND_INTERNAL, 0x101, 8)
    assert len({each.span_id for each in stages}) == len(stages)


def test_a_message_of_a_stream_is_no_server_span() -> None:
    (message,) = spans(CALL._replace(kind="message", remote=False, stages=[]))
    assert (message.name, message.kind, message.flags) == ("message", Span.SPAN_KIND_INTERNAL, 0x101)


def test_what_is_not_known_has_no_attribute() -> None:
    (failed,) = spans(
        CALL._replace(
            stages=[],
            code=code_pb2.NOT_FOUND,
            reason=errors_pb2.ERROR_REASON_MODEL_NOT_FOUND,
            principal="",
            version="",
            rows=-1,
            prediction_id="",
            shared=0,
        )
    )
    found = attributes(failed)
    assert {name for name in found if name.startswith("scorewire.")} == {"scorewire.reason"}
    assert found["scorewire.reason"] == "MODEL_NOT_FOUND"


@pytest.mark.parametrize("name", code_pb2.Code.keys())
def test_only_a_fault_of_the_server_is_an_error(name: str) -> None:
    (call,) = spans(CALL._replace(stages=[], code=code_pb2.Code.Value(name)))
    faults = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
    wanted = Status.STATUS_CODE_ERROR if name in faults else Status.STATUS_CODE_UNSET
    assert call.status.code == wanted
