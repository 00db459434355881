"""grpc.health.v1 and reflection."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tests.conformance.wire import Wire

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
STATES = {
    "": SERVING,
    "scorewire.v1.PredictionService": SERVING,
    "inference.GRPCInferenceService": SERVING,
    "scorewire.v1.ModelService": SERVING,
    "sum": SERVING,
    "classes": SERVING,
    "broken": NOT_SERVING,
}
SERVICES = {"scorewire.v1.PredictionService", "scorewire.v1.ModelService", "grpc.health.v1.Health"}


def _request(service: str) -> bytes:
    return bytes(health_pb2.HealthCheckRequest(service=service).SerializeToString())


def _state(data: bytes) -> int:
    return int(health_pb2.HealthCheckResponse.FromString(data).status)


@pytest.mark.parametrize(("service", "state"), STATES.items())
def test_check_tells_the_state_of_services_and_models(wire: Wire, service: str, state: int) -> None:
    assert _state(wire.call(CHECK, _request(service))) == state


@pytest.mark.parametrize(("service", "state"), STATES.items())
def test_watch_begins_with_the_state(wire: Wire, service: str, state: int) -> None:
    call = wire.server_stream(WATCH)(_request(service), timeout=20)
    assert _state(next(call)) == state
    call.cancel()


def test_an_unknown_service_is_not_found_by_check_and_unknown_to_watch(wire: Wire) -> None:
    assert wire.failure(CHECK, _request("nobody")).code == grpc.StatusCode.NOT_FOUND
    call = wire.server_stream(WATCH)(_request("nobody"), timeout=20)
    assert _state(next(call)) == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    call.cancel()


def test_bytes_that_are_no_request_are_malformed(wire: Wire) -> None:
    assert wire.failure(CHECK, b"\xff").reason == "MALFORMED_MESSAGE"
    with pytest.raises(grpc.RpcError) as caught:
        next(wire.server_stream(WATCH)(b"\xff", timeout=20))
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
def test_reflection_lists_the_services_and_describes_them(wire: Wire, package: str) -> None:
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        *(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in sorted(SERVICES)),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="nothing.Here"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="scorewire/v1/prediction.proto"),
    ]
    path = f"/{package}.ServerReflection/ServerReflectionInfo"
    answers = [
        reflection_pb2.ServerReflectionResponse.FromString(answer)
        for answer in wire.stream([request.SerializeToString() for request in requests], path)
    ]
    listed, *described, missing, by_name = answers
    assert {service.name for service in listed.list_services_response.service} > SERVICES
    for name, answer in zip(sorted(SERVICES), described, strict=True):
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(data)
            for data in answer.file_descriptor_response.file_descriptor_proto
        ]
        assert name in {f"{file.package}.{service.name}" for file in files for service in file.service}
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert by_name.file_descriptor_response.file_descriptor_proto
