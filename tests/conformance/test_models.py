"""The responses of ModelService."""

from __future__ import annotations

import grpc
import pytest

from scorewire_proto.v1 import models_pb2, schema_pb2
from tests.bundles import COUNTRIES
from tests.conformance.wire import Wire

LIST = "/scorewire.v1.ModelService/ListModels"
GET = "/scorewire.v1.ModelService/GetModel"


def _get(wire: Wire, model: str, version: str = "") -> models_pb2.GetModelResponse:
    request = models_pb2.GetModelRequest(model=model, version=version)
    return models_pb2.GetModelResponse.FromString(wire.call(GET, request.SerializeToString()))


def test_all_models_are_listed_with_their_versions_and_states(wire: Wire) -> None:
    answer = models_pb2.ListModelsResponse.FromString(wire.call(LIST, b""))
    assert [model.name for model in answer.models] == ["broken", "classes", "greeting", "sum", "tensors"]
    broken, _, _, summed, _ = answer.models
    assert summed.default_version == "1.1.0"
    assert [version.version for version in summed.versions] == ["3.0.0", "2.0.0-rc.1", "1.1.0", "1.0.0"]
    refused, *serving = summed.versions
    assert refused.state == models_pb2.VERSION_STATE_REFUSED
    assert "model.onnx" in refused.reason
    assert not refused.HasField("serving_since")
    for version in serving:
        assert version.state == models_pb2.VERSION_STATE_SERVING
        assert not version.reason
        assert version.serving_since.seconds > 1_700_000_000
        assert version.runs_on in {"kernel", "onnxruntime"}
        assert version.runs_on_details
    assert (refused.runs_on, refused.runs_on_details) == ("", "")
    assert not broken.default_version


def test_a_model_says_what_it_takes_and_answers(wire: Wire) -> None:
    answer = _get(wire, "sum")
    assert answer.version == "1.1.0"
    assert answer.status.name == "sum"
    assert len(answer.status.versions) == 4
    assert [feature.name for feature in answer.schema.features] == ["x0", "x1", "country"]
    x0, x1, country = answer.schema.features
    assert (x0.kind, x0.missing_allowed, x1.missing_share) == (schema_pb2.FEATURE_KIND_NUMBER, False, 0.25)
    assert (x1.minimum, x1.maximum, x1.magnitude_limit) == (-10, 10, 1e30)
    assert (country.kind, country.vocabulary_size) == (schema_pb2.FEATURE_KIND_TEXT, len(COUNTRIES))
    assert [(output.name, output.width) for output in answer.schema.outputs] == [("value", 1)]
    assert answer.metrics == {"mae": 0.25}
    assert answer.description == "Adds its features."
    assert answer.created_at.seconds > 1_700_000_000
    assert len(answer.schema.fingerprint) == 16
    assert (answer.max_rows, answer.max_message_bytes) == (1000, 1024 * 1024)
    (known,) = answer.known_texts
    assert (known.feature, list(known.texts)) == ("country", [text for text in COUNTRIES if text])


def test_class_labels_come_in_the_order_of_the_columns(wire: Wire) -> None:
    probabilities, label = _get(wire, "classes").schema.outputs
    assert probabilities.kind == schema_pb2.OUTPUT_KIND_PROBABILITY
    assert list(probabilities.class_labels) == ["no", "yes"]
    assert label.kind == schema_pb2.OUTPUT_KIND_CLASS


def test_a_version_may_be_asked_for(wire: Wire) -> None:
    assert _get(wire, "sum", "1.0.0").version == "1.0.0"


@pytest.mark.parametrize(
    ("model", "version", "code", "reason"),
    [
        ("", "", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        ("nobody", "", grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
        ("sum", "7.0.0", grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND"),
        ("sum", "3.0.0", grpc.StatusCode.UNAVAILABLE, "VERSION_UNAVAILABLE"),
        ("broken", "", grpc.StatusCode.UNAVAILABLE, "VERSION_UNAVAILABLE"),
    ],
)
def test_what_cannot_be_shown_fails_with_its_reason(
    wire: Wire, model: str, version: str, code: grpc.StatusCode, reason: str
) -> None:
    request = models_pb2.GetModelRequest(model=model, version=version)
    failure = wire.failure(GET, request.SerializeToString())
    assert (failure.code, failure.reason) == (code, reason)


@pytest.mark.parametrize("path", [LIST, GET])
def test_bytes_that_are_no_request_are_malformed(wire: Wire, path: str) -> None:
    failure = wire.failure(path, b"\xff")
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")
