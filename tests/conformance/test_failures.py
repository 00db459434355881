"""The code, the reason and the fields of each failure of Predict."""

from __future__ import annotations

import grpc
import pytest

from scorewire_proto.v1 import models_pb2, prediction_pb2
from tests.conformance.wire import PREDICT, Wire, outcome, sum_request, values

GOOD = sum_request().SerializeToString()


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x0a\x05ab", b"\x2a\x03\x12\x01\x00", b"\x0a\x01\xff", GOOD[:-1]]
)
def test_bytes_that_are_no_request_are_malformed(wire: Wire, data: bytes) -> None:
    failure = wire.failure(PREDICT, data)
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.reason == "MALFORMED_MESSAGE"
    assert failure.info.domain == "scorewire"


def test_a_request_without_a_model_is_invalid(wire: Wire) -> None:
    for data in (b"", sum_request(model="").SerializeToString()):
        failure = wire.failure(PREDICT, data)
        assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
        assert failure.reason == "INVALID_REQUEST"
        assert failure.fields == ["model"]


def test_a_request_without_rows_is_invalid(wire: Wire) -> None:
    for request in (prediction_pb2.PredictRequest(model="sum"), sum_request([], [], row_count=0)):
        failure = wire.predict_failure(request)
        assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
        assert failure.reason == "INVALID_REQUEST"
        assert failure.fields == ["rows.row_count"]


@pytest.mark.parametrize(
    ("numbers", "texts", "fields"),
    [
        ([1.0], ["de"], ["rows.numbers"]),
        ([1.0, 2.0, 3.0], ["de"], ["rows.numbers"]),
        ([1.0, 2.0], [], ["rows.texts"]),
        ([1.0, 2.0], ["de", "pe"], ["rows.texts"]),
        ([], [], ["rows.numbers", "rows.texts"]),
    ],
)
def test_rows_that_do_not_fit_the_schema_name_the_field(
    wire: Wire, numbers: list[float], texts: list[str], fields: list[str]
) -> None:
    failure = wire.predict_failure(sum_request(numbers, texts))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.reason == "INVALID_REQUEST"
    assert failure.fields == fields
    assert dict(failure.info.metadata) == {"model": "sum", "version": "1.1.0"}


def test_texts_for_a_model_without_any_are_refused(wire: Wire) -> None:
    rows = prediction_pb2.Rows(row_count=1, numbers=[1.0], texts=["de"])
    failure = wire.predict_failure(prediction_pb2.PredictRequest(model="classes", rows=rows))
    assert failure.fields == ["rows.texts"]


@pytest.mark.parametrize("row_count", [1001, 2**32 - 1])
def test_more_rows_than_the_limit_are_refused_before_anything_is_made_of_them(
    wire: Wire, row_count: int
) -> None:
    failure = wire.predict_failure(sum_request([], [], row_count=row_count))
    assert failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure.reason == "TOO_MANY_ROWS"
    assert dict(failure.info.metadata) == {"rows": str(row_count), "limit": "1000"}


def test_an_unknown_model_is_not_found(wire: Wire) -> None:
    failure = wire.predict_failure(sum_request(model="nobody"))
    assert failure.code == grpc.StatusCode.NOT_FOUND
    assert failure.reason == "MODEL_NOT_FOUND"
    assert dict(failure.info.metadata) == {"model": "nobody"}


@pytest.mark.parametrize("version", ["9.9.9", "champion", "not a version", "1.1"])
def test_an_unknown_version_is_not_found(wire: Wire, version: str) -> None:
    failure = wire.predict_failure(sum_request(version=version))
    assert failure.code == grpc.StatusCode.NOT_FOUND
    assert failure.reason == "VERSION_NOT_FOUND"
    assert dict(failure.info.metadata) == {"model": "sum", "version": version}


def test_a_version_that_was_refused_is_unavailable(wire: Wire) -> None:
    failure = wire.predict_failure(sum_request(version="3.0.0"))
    assert failure.code == grpc.StatusCode.UNAVAILABLE
    assert failure.reason == "VERSION_UNAVAILABLE"
    assert dict(failure.info.metadata) == {"model": "sum", "version": "3.0.0"}


def test_a_model_without_a_version_that_serves_is_unavailable(wire: Wire) -> None:
    failure = wire.predict_failure(sum_request(model="broken"))
    assert failure.code == grpc.StatusCode.UNAVAILABLE
    assert failure.reason == "VERSION_UNAVAILABLE"


def test_names_of_any_length_and_script_fail_within_the_bounds_of_metadata(wire: Wire) -> None:
    for name in ("x" * 100_000, "日本\n\x00" * 1000, "../../etc/passwd"):
        for request in (
            sum_request(model=name),
            sum_request(version=name),
            sum_request(schema_fingerprint=name),
        ):
            failure = wire.predict_failure(request)
            assert failure.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)
            assert failure.info.domain == "scorewire"


def test_another_schemas_fingerprint_is_refused_and_its_own_taken(wire: Wire) -> None:
    answer = models_pb2.GetModelResponse.FromString(
        wire.call(
            "/scorewire.v1.ModelService/GetModel", models_pb2.GetModelRequest(model="sum").SerializeToString()
        )
    )
    own = answer.schema.fingerprint
    assert values(wire.predict(sum_request(schema_fingerprint=own)))
    failure = wire.predict_failure(sum_request(schema_fingerprint="0" * 16))
    assert failure.code == grpc.StatusCode.FAILED_PRECONDITION
    assert failure.reason == "SCHEMA_MISMATCH"
    assert failure.info.metadata["schema_fingerprint"] == own


def test_an_unknown_method_is_unimplemented(wire: Wire) -> None:
    for path in ("/scorewire.v1.PredictionService/Guess", "/scorewire.v2.PredictionService/Predict"):
        assert wire.failure(path, b"").code == grpc.StatusCode.UNIMPLEMENTED


def test_calls_with_hardly_any_time_are_answered_or_expire(wire: Wire) -> None:
    wire.predict(sum_request())
    codes = {outcome(wire, sum_request(), timeout=0.0005) for _ in range(50)}
    assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert values(wire.predict(sum_request()))


def test_a_message_over_the_limit_is_refused(wire: Wire) -> None:
    failure = wire.predict_failure(sum_request(texts=["x" * (2 << 20)]))
    assert failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert values(wire.predict(sum_request()))


def test_cancelled_calls_leave_the_server_well(wire: Wire) -> None:
    big = sum_request([1.0, 2.0] * 1000, ["de"] * 1000, row_count=1000).SerializeToString()
    calls = [wire.unary(PREDICT).future(big, timeout=60) for _ in range(50)]
    for call in calls:
        call.cancel()
    assert {call.code() for call in calls} <= {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED}
    assert values(wire.predict(sum_request()))


def test_a_good_call_after_each_bad_one_succeeds(wire: Wire) -> None:
    for data in (b"\xff", b"", sum_request(model="nobody").SerializeToString()):
        wire.failure(PREDICT, data)
        assert values(wire.predict(sum_request()))
