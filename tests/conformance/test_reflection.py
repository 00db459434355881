"""gRPC server reflection, called as its clients do."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2 as pb

from tests.conformance.typed import described, reflect, told_files
from tests.conformance.wire import Wire, failure_of

VERSIONS = ("grpc.reflection.v1", "grpc.reflection.v1alpha")
SERVICES = {
    "scorewire.v1.PredictionService",
    "scorewire.v1.ModelService",
    "inference.GRPCInferenceService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "scorewire.models.sum.v1.SumService",
    "scorewire.models.sum.v2.SumService",
}
# A symbol of each kind and the file that declares it, for the server's services and a typed service.
SYMBOLS = {
    "scorewire.v1.PredictionService": "scorewire/v1/prediction.proto",
    "scorewire.v1.PredictionService.Predict": "scorewire/v1/prediction.proto",
    "scorewire.v1.PredictRequest": "scorewire/v1/prediction.proto",
    "scorewire.v1.PredictRequest.model": "scorewire/v1/prediction.proto",
    "scorewire.v1.Routing.AliasesEntry": "scorewire/v1/models.proto",
    "scorewire.v1.VersionState": "scorewire/v1/models.proto",
    "scorewire.v1.VERSION_STATE_SERVING": "scorewire/v1/models.proto",
    "inference.GRPCInferenceService.ModelInfer": "inference/inference.proto",
    "inference.ModelInferRequest.InferInputTensor": "inference/inference.proto",
    "grpc.health.v1.Health.List": "grpc_health/v1/health.proto",
    "grpc.health.v1.HealthCheckResponse.SERVING": "grpc_health/v1/health.proto",
    "grpc.reflection.v1.ServerReflection.ServerReflectionInfo": "grpc/reflection/v1/reflection.proto",
    "grpc.reflection.v1.ServerReflectionRequest.message_request": "grpc/reflection/v1/reflection.proto",
    "google.rpc.ErrorInfo": "google/rpc/error_details.proto",
    "google.protobuf.Any": "google/protobuf/any.proto",
    "scorewire.models.sum.v1.SumService.Predict": "scorewire/models/sum/v1.proto",
    "scorewire.models.sum.v1.SumRow": "scorewire/models/sum/v1.proto",
    "scorewire.models.sum.v1.SumRow.country": "scorewire/models/sum/v1.proto",
}


def _asked(
    wire: Wire, package: str, *questions: pb.ServerReflectionRequest
) -> list[pb.ServerReflectionResponse]:
    path = f"/{package}.ServerReflection/ServerReflectionInfo"
    answers = wire.stream([question.SerializeToString() for question in questions], path)
    return [pb.ServerReflectionResponse.FromString(answer) for answer in answers]


@pytest.mark.parametrize("package", VERSIONS)
def test_both_versions_list_all_services_and_describe_each(wire: Wire, package: str) -> None:
    (listed,) = _asked(wire, package, pb.ServerReflectionRequest(list_services="*"))
    names = [service.name for service in listed.list_services_response.service]
    assert names == sorted(names)
    assert set(names) >= SERVICES
    questions = [pb.ServerReflectionRequest(file_containing_symbol=name) for name in names]
    for name, answer in zip(names, _asked(wire, package, *questions), strict=True):
        first = told_files(answer)[0]
        assert name in {f"{first.package}.{service.name}" for service in first.service}


@pytest.mark.parametrize(("symbol", "file"), SYMBOLS.items())
def test_a_symbol_of_any_kind_leads_to_its_file(wire: Wire, symbol: str, file: str) -> None:
    answer = reflect(wire, file_containing_symbol=symbol)
    assert told_files(answer)[0].name == file
    assert answer.original_request.file_containing_symbol == symbol
    assert told_files(reflect(wire, file_by_filename=file)) == told_files(answer)


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_what_a_file_imports_comes_with_it(wire: Wire, service: str) -> None:
    # The response is complete: a descriptor pool needs no other file.
    found = described(wire, service).FindServiceByName(service)
    assert all(method.input_type.full_name and method.output_type.full_name for method in found.methods)


@pytest.mark.parametrize("package", VERSIONS)
def test_what_is_not_there_is_told_and_the_stream_goes_on(wire: Wire, package: str) -> None:
    extension = pb.ExtensionRequest(containing_type="scorewire.v1.PredictRequest", extension_number=1000)
    unknown = [
        *(
            pb.ServerReflectionRequest(file_containing_symbol=name)
            for name in ("", ".", "nothing.Here", "scorewire.v1", "scorewire.v1.PredictionService.Nothing")
        ),
        pb.ServerReflectionRequest(file_by_filename="nothing.proto"),
        pb.ServerReflectionRequest(file_containing_extension=extension),
        pb.ServerReflectionRequest(all_extension_numbers_of_type="nothing.Here"),
        pb.ServerReflectionRequest(all_extension_numbers_of_type="scorewire.v1.PredictionService"),
    ]
    unasked = pb.ServerReflectionRequest(host="somewhere")
    long = pb.ServerReflectionRequest(file_containing_symbol="x" * 100_000)
    known = pb.ServerReflectionRequest(all_extension_numbers_of_type="scorewire.v1.PredictRequest")
    *missing, nothing, too_long, last = _asked(wire, package, *unknown, unasked, long, known)
    for question, answer in zip(unknown, missing, strict=True):
        assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
        assert answer.error_response.error_message
        assert answer.original_request == question
    for answer in (nothing, too_long):
        assert answer.error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert too_long.ByteSize() < 1000
    assert last.all_extension_numbers_response == pb.ExtensionNumberResponse(
        base_type_name="scorewire.v1.PredictRequest"
    )


def test_bytes_that_are_no_question_end_the_stream(wire: Wire) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(wire.stream([b"\xff"], "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"))
    assert failure_of(caught.value).reason == "MALFORMED_MESSAGE"


def test_a_typed_service_is_described_by_its_newest_version(wire: Wire) -> None:
    (file,) = told_files(
        reflect(wire, file_containing_symbol="scorewire.models.sum.v1.SumService.PredictBatch")
    )
    assert isinstance(file, descriptor_pb2.FileDescriptorProto)
    assert [method.name for method in file.service[0].method] == ["Predict", "PredictBatch", "PredictStream"]
