"""Typed services of models."""

from __future__ import annotations

import math

import grpc
import pytest

from tests.bundles import expected_value
from tests.conformance.typed import TypedService, reflect
from tests.conformance.wire import Wire

SUM = "scorewire.models.sum.v1.SumService"


def test_every_major_that_serves_is_listed_and_described(wire: Wire) -> None:
    listed = {each.name for each in reflect(wire, list_services="").list_services_response.service}
    assert {name for name in listed if name.startswith("scorewire.models.")} == {
        "scorewire.models.classes.v1.ClassesService",
        "scorewire.models.greeting.v1.GreetingService",
        SUM,
        "scorewire.models.sum.v2.SumService",
        "scorewire.models.tensors.v1.TensorsService",
    }
    file = TypedService(wire, SUM).file
    (data,) = reflect(wire, file_by_filename=file.name).file_descriptor_response.file_descriptor_proto
    assert data == file.SerializeToString()


def test_a_row_of_named_fields_is_scored(wire: Wire) -> None:
    prediction = TypedService(wire, SUM).predict(x0=1, x1=2.5, country="de")
    assert prediction.value == expected_value([1, 2.5], "de", 100)
    assert prediction.version == "1.1.0"
    assert not prediction.HasField("error")


def test_a_field_that_is_not_set_is_missing(wire: Wire) -> None:
    service = TypedService(wire, SUM)
    assert service.predict(x0=1).value == expected_value([1], "", 100)
    assert service.predict(x0=1, x1=math.nan, country="").value == expected_value([1], "", 100)
    assert service.predict(x0=0, x1=0, country="?").value == expected_value([0], "?", 100)


def test_a_class_is_its_label_and_probabilities_are_in_order(wire: Wire) -> None:
    service = TypedService(wire, "scorewire.models.classes.v1.ClassesService")
    prediction = service.predict(x=3)
    assert prediction.label == "yes"
    assert list(prediction.probabilities) == pytest.approx([1 / (1 + math.exp(3)), 1 / (1 + math.exp(-3))])


def test_whole_numbers_and_texts_come_and_go(wire: Wire) -> None:
    service = TypedService(wire, "scorewire.models.tensors.v1.TensorsService")
    prediction = service.predict(pair_0=3, pair_1=-4, word="ß")
    assert (list(prediction.twice), prediction.echo) == ([6, -8], "ß")


def test_a_bad_row_fails_its_call_with_the_field(wire: Wire) -> None:
    service = TypedService(wire, SUM)
    failure = wire.failure(service.path("Predict"), service.row(x1=1).SerializeToString())
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert failure.fields == ["x0"]
    assert dict(failure.info.metadata) == {"row_reason": "MISSING_VALUE", "feature": "x0"}


@pytest.mark.parametrize("method", ["predict_batch", "predict_stream"])
def test_a_bad_row_among_others_costs_itself_alone(wire: Wire, method: str) -> None:
    service = TypedService(wire, SUM)
    good, bad, last = getattr(service, method)({"x0": 1}, {"x0": 1e31}, {"x0": 2, "country": "pe"})
    assert (good.value, last.value) == (expected_value([1], "", 100), expected_value([2], "pe", 100))
    assert not good.HasField("error")
    assert (bad.error.reason, bad.error.feature) == ("NUMBER_OUT_OF_RANGE", "x0")
    assert not bad.HasField("value")
    assert "out of range" in bad.error.message


def test_metadata_name_a_version(wire: Wire) -> None:
    service = TypedService(wire, SUM)
    prediction = service.predict((("scorewire-version", "1.0.0"), ("scorewire-routing-key", "k")), x0=1)
    assert (prediction.version, prediction.value) == ("1.0.0", expected_value([1], "", 0))
    for version in ("2.0.0-rc.1", "9.9.9"):
        failure = wire.failure(
            service.path("Predict"),
            service.row(x0=1).SerializeToString(),
            metadata=(("scorewire-version", version),),
        )
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND")


def test_another_major_has_a_service_of_its_own(wire: Wire) -> None:
    prediction = TypedService(wire, "scorewire.models.sum.v2.SumService").predict(x0=1)
    assert (prediction.version, prediction.value) == ("2.0.0-rc.1", expected_value([1], "", 1000))


@pytest.mark.parametrize(
    "path",
    ["/scorewire.models.sum.v3.SumService/Predict", f"/{SUM}/Nothing", "/scorewire.models.", f"/{SUM}"],
)
def test_what_no_model_has_is_unimplemented(wire: Wire, path: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        wire.call(path, b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_row_are_refused(wire: Wire) -> None:
    for method in ("Predict", "PredictBatch"):
        failure = wire.failure(f"/{SUM}/{method}", b"\xff\xff\xff")
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")


def test_limits_of_rows_hold(wire: Wire) -> None:
    service = TypedService(wire, SUM)
    # 1,001 rows without any field.
    failure = wire.failure(service.path("PredictBatch"), b"\x0a\x00" * 1001)
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_ROWS")
    failure = wire.failure(service.path("PredictBatch"), b"")
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


def test_an_unknown_field_is_passed_over(wire: Wire) -> None:
    service = TypedService(wire, SUM)
    later = service.row(x0=1).SerializeToString() + b"\xf8\x3e\x01"
    assert wire.call(service.path("Predict"), later) == service.predict(x0=1).SerializeToString()
