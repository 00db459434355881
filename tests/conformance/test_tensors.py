"""The Open Inference Protocol."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from scorewire_proto.inference import inference_pb2 as pb
from scorewire_proto.v1 import models_pb2
from tests.bundles import expected_value
from tests.conformance.inference import (
    INFER,
    SERVICE,
    STREAM,
    infer,
    infer_request,
    raw,
    sum_tensors,
    told,
)
from tests.conformance.wire import PREDICT, TIMEOUT_SECONDS, Failure, Wire, sum_request


def ask(wire: Wire, name: str, request: Any, kind: Any) -> Any:
    """The response of another method of the service."""
    return kind.FromString(wire.call(f"{SERVICE}/{name}", request.SerializeToString()))


def refused(wire: Wire, request: pb.ModelInferRequest) -> Failure:
    """The failure of a request that must be refused as invalid."""
    failure = wire.failure(INFER, request.SerializeToString())
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    return failure


def test_a_tensor_for_each_feature_is_scored(wire: Wire) -> None:
    response = infer(wire, infer_request("sum", sum_tensors([1, 5], [2, 6], ["de", "pe"]), id="seven"))
    assert (response.model_name, response.model_version, response.id) == ("sum", "1.1.0", "seven")
    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("value", "FP64", [2, 1])
    assert told(response)["value"] == [
        expected_value([1, 2], "de", 100),
        expected_value([5, 6], "pe", 100),
    ]


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_a_version_is_named_and_a_shape_of_one_dimension_will_do(wire: Wire, shape: list[int]) -> None:
    tensors = {
        name: (kind, shape, values)
        for name, (kind, _, values) in sum_tensors([1, 5], [2, 6], ["de", "pe"]).items()
    }
    response = infer(wire, infer_request("sum", tensors, model_version="1.0.0"))
    assert response.model_version == "1.0.0"
    assert told(response)["value"][0] == expected_value([1, 2], "de")


@pytest.mark.parametrize(
    "datatype", ["FP64", "FP32", "FP16", "INT64", "INT32", "INT8", "UINT8", "UINT64", "BOOL"]
)
def test_numbers_of_every_datatype_are_taken(wire: Wire, datatype: str) -> None:
    tensors = sum_tensors() | {"x0": (datatype, [1, 1], [1])}
    assert told(infer(wire, infer_request("sum", tensors)))["value"] == [expected_value([1, 2], "de", 100)]


def test_a_feature_that_may_be_missing_may_be_left_out(wire: Wire) -> None:
    tensors = {"x0": ("FP64", [1, 1], [3.5])}
    assert told(infer(wire, infer_request("sum", tensors)))["value"] == [expected_value([3.5], "", 100)]


def test_typed_contents_are_taken_and_answered_raw_unless_asked_otherwise(wire: Wire) -> None:
    request = pb.ModelInferRequest(model_name="tensors")
    pair = request.inputs.add(name="pair", datatype="INT32", shape=[1, 2])
    pair.contents.int_contents.extend([3, -4])
    word = request.inputs.add(name="word", datatype="BYTES", shape=[1])
    word.contents.bytes_contents.append("ß\0".encode())
    response = infer(wire, request)
    assert told(response) == {"twice": [6, -8], "echo": ["ß\0"]}
    assert [(each.datatype, list(each.shape)) for each in response.outputs] == [
        ("INT32", [1, 2]),
        ("BYTES", [1]),
    ]
    request.parameters["binary_data_output"].bool_param = False
    response = infer(wire, request)
    assert not response.raw_output_contents
    assert list(response.outputs[0].contents.int_contents) == [6, -8]
    assert list(response.outputs[1].contents.bytes_contents) == ["ß\0".encode()]


def test_requested_outputs_are_honoured(wire: Wire) -> None:
    tensors = {"pair": ("INT32", [2, 2], [1, 2, 3, 4]), "word": ("BYTES", [2], ["a", "b"])}
    request = infer_request("tensors", tensors)
    request.outputs.add(name="echo")
    assert told(infer(wire, request)) == {"echo": ["a", "b"]}
    request.outputs.add(name="nothing")
    assert refused(wire, request).fields == ["outputs[nothing]"]


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT32"])
def test_a_model_of_numbers_takes_all_features_in_one_tensor(wire: Wire, datatype: str) -> None:
    response = infer(wire, infer_request("classes", {"input__0": (datatype, [3, 1], [-2, 0, 2])}))
    by_name = {each.name: each for each in response.outputs}
    assert (by_name["label"].datatype, list(by_name["label"].shape)) == ("INT64", [3, 1])
    assert told(response)["label"] == [0, 0, 1]
    assert list(by_name["probabilities"].shape) == [3, 2]
    failure = refused(wire, infer_request("classes", {"input__0": (datatype, [1, 2], [1, 2])}))
    assert "[-1, 1]" in failure.message


def bad(**changed: Any) -> dict[str, Any]:
    return sum_tensors() | changed


@pytest.mark.parametrize(
    ("tensors", "field"),
    [
        (bad(x0=("INT64", [1, 1], [2**53 + 1])), "inputs[x0]"),
        (bad(x1=("UINT64", [1, 1], [2**63])), "inputs[x1]"),
        (bad(x0=("BYTES", [1, 1], ["1"])), "inputs[x0]"),
        (bad(country=("FP64", [1, 1], [1.0])), "inputs[country]"),
        (bad(country=("BYTES", [1, 1], [b"\xff"])), "inputs[country]"),
        (bad(x0=("FP64", [1, 2], [1.0, 2.0])), "inputs[x0]"),
        (bad(x0=("FP64", [2, 1], [1.0])), "inputs[x0]"),
        (bad(x0=("FP64", [-1, 1], [1.0])), "inputs[x0]"),
        (bad(x0=("FP64", [], [1.0])), "inputs[x0]"),
        (bad(x0=("FP64", [2, 1], [1.0, 2.0])), "inputs"),
        (bad(x9=("FP64", [1, 1], [1.0])), "inputs[x9]"),
        ({"x1": ("FP64", [1, 1], [1.0])}, "inputs[x0]"),
        ({}, "inputs"),
        (bad(x0=("FP64", [1, 1], [float("nan")])), "inputs[x0]"),
        (bad(x1=("FP64", [1, 1], [1e31])), "inputs[x1]"),
    ],
)
def test_a_bad_tensor_fails_the_call_and_is_named(wire: Wire, tensors: dict[str, Any], field: str) -> None:
    failure = refused(wire, infer_request("sum", tensors))
    assert failure.reason == "INVALID_REQUEST"
    assert failure.fields == [field]


def test_raw_bytes_that_end_early_are_refused(wire: Wire) -> None:
    request = infer_request("sum", sum_tensors())
    for content in (b"\x05\0\0\0ab", b"\x05\0", raw("BYTES", ["a"]) + b"\0"):
        request.raw_input_contents[2] = content
        assert refused(wire, request).fields == ["inputs[country]"]
    request.raw_input_contents[2] = raw("BYTES", ["a"])
    request.raw_input_contents[0] = b"\0" * 7
    assert refused(wire, request).fields == ["inputs[x0]"]
    del request.raw_input_contents[0]
    assert refused(wire, request).fields == ["raw_input_contents"]


def test_raw_and_typed_contents_in_one_request_are_refused(wire: Wire) -> None:
    request = infer_request("sum", sum_tensors())
    request.inputs[0].contents.fp64_contents.append(1)
    assert (
        "contents field must not be specified when using raw_input_contents for 'x0' for model 'sum'"
        in refused(wire, request).message
    )


def test_contents_in_a_field_of_another_datatype_are_refused(wire: Wire) -> None:
    for datatype, field in (("FP64", "fp32_contents"), ("FP16", "fp32_contents"), ("INT8", "int_contents")):
        request = pb.ModelInferRequest(model_name="sum")
        x0 = request.inputs.add(name="x0", datatype=datatype, shape=[1, 1])
        getattr(x0.contents, field).append(300)
        assert refused(wire, request).fields == ["inputs[x0]"]


def test_shared_memory_is_refused(wire: Wire) -> None:
    request = infer_request("sum", sum_tensors())
    request.inputs[0].parameters["shared_memory_region"].string_param = "x"
    assert refused(wire, request).fields == ["parameters[shared_memory_region]"]


def test_who_asks_for_what_is_not_there_is_told(wire: Wire) -> None:
    failure = wire.failure(INFER, infer_request("nothing", sum_tensors()).SerializeToString())
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    failure = wire.failure(INFER, b"\xff\xff")
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")
    failure = wire.failure(
        f"{SERVICE}/ModelMetadata", pb.ModelMetadataRequest(name="nothing").SerializeToString()
    )
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    assert "Request for unknown model" in failure.message


def test_the_limits_of_rows_hold(wire: Wire) -> None:
    count = 1001
    failure = wire.failure(
        INFER, infer_request("sum", {"x0": ("FP64", [count, 1], [1.0] * count)}).SerializeToString()
    )
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_ROWS")
    none = infer_request("sum", {"x0": ("FP64", [0, 1], [])})
    assert refused(wire, none).fields == ["rows.row_count"]


def test_a_bad_message_of_a_stream_costs_itself_alone(wire: Wire) -> None:
    requests = [
        infer_request("sum", sum_tensors([1], [2]), id="a"),
        infer_request("nothing", sum_tensors(), id="b"),
        infer_request("sum", sum_tensors([3], [4]), id="c"),
    ]
    messages = (each.SerializeToString() for each in requests)
    answers = [
        pb.ModelStreamInferResponse.FromString(data)
        for data in wire.both_stream(STREAM)(messages, timeout=TIMEOUT_SECONDS)
    ]
    assert [each.infer_response.id for each in answers] == ["a", "b", "c"]
    assert [bool(each.error_message) for each in answers] == [False, True, False]
    assert told(answers[2].infer_response)["value"] == [expected_value([3, 4], "de", 100)]


def test_the_server_and_its_models_are_described(wire: Wire) -> None:
    assert ask(wire, "ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse).live
    assert ask(wire, "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse).ready
    for name, version, ready in (
        ("sum", "", True),
        ("sum", "1.0.0", True),
        ("sum", "9.0.0", False),
        ("broken", "", False),
        ("nothing", "", False),
    ):
        request = pb.ModelReadyRequest(name=name, version=version)
        assert ask(wire, "ModelReady", request, pb.ModelReadyResponse).ready == ready
    server = ask(wire, "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
    assert server.version.startswith("scorewire-")
    assert "binary_tensor_data" in server.extensions


def test_tensors_are_described_in_the_protocol_s_and_in_triton_s_words(wire: Wire) -> None:
    metadata = ask(wire, "ModelMetadata", pb.ModelMetadataRequest(name="sum"), pb.ModelMetadataResponse)
    assert list(metadata.versions) == ["2.0.0-rc.1", "1.1.0", "1.0.0"]
    assert metadata.platform == "onnx_onnxv1"
    assert [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs] == [
        ("x0", "FP64", [-1, 1]),
        ("x1", "FP64", [-1, 1]),
        ("country", "BYTES", [-1, 1]),
    ]
    config = ask(wire, "ModelConfig", pb.ModelConfigRequest(name="tensors"), pb.ModelConfigResponse).config
    assert config.max_batch_size == 1000
    assert [(each.name, each.data_type, list(each.dims)) for each in (*config.input, *config.output)] == [
        ("pair", pb.TYPE_INT32, [2]),
        ("word", pb.TYPE_STRING, []),
        ("twice", pb.TYPE_INT32, [2]),
        ("echo", pb.TYPE_STRING, []),
    ]
    optional = ask(wire, "ModelConfig", pb.ModelConfigRequest(name="sum"), pb.ModelConfigResponse).config
    assert [each.optional for each in optional.input] == [False, True, True]


def test_what_was_answered_is_counted(wire: Wire) -> None:
    def counted() -> pb.ModelStatistics:
        request = pb.ModelStatisticsRequest(name="greeting")
        (found,) = ask(wire, "ModelStatistics", request, pb.ModelStatisticsResponse).model_stats
        assert isinstance(found, pb.ModelStatistics)
        return found

    before = counted()
    infer(wire, infer_request("greeting", {"word": ("BYTES", [2, 1], ["hello", "bye"])}))
    refused(wire, infer_request("greeting", {"word": ("BYTES", [1, 1], ["?"])}))
    after = counted()
    assert after.inference_count - before.inference_count == 2
    assert after.inference_stats.success.count - before.inference_stats.success.count == 1
    assert after.inference_stats.fail.count - before.inference_stats.fail.count == 1
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns


def test_the_repository_is_listed(wire: Wire) -> None:
    listed = ask(wire, "RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse).models
    states = {(each.name, each.version): (each.state, bool(each.reason)) for each in listed}
    assert states["sum", "1.1.0"] == ("READY", False)
    assert states["sum", "3.0.0"] == ("UNAVAILABLE", True)
    ready = ask(wire, "RepositoryIndex", pb.RepositoryIndexRequest(ready=True), pb.RepositoryIndexResponse)
    assert {each.state for each in ready.models} == {"READY"}


def test_models_are_unloaded_and_loaded(wire: Wire) -> None:
    name = "tensors"

    def ready() -> bool:
        return bool(ask(wire, "ModelReady", pb.ModelReadyRequest(name=name), pb.ModelReadyResponse).ready)

    unload = pb.RepositoryModelUnloadRequest(model_name=name)
    ask(wire, "RepositoryModelUnload", unload, pb.RepositoryModelUnloadResponse)
    assert not ready()
    # As KServe's client does.
    load = pb.RepositoryModelLoadRequest(repository_name=name)
    ask(wire, "RepositoryModelLoad", load, pb.RepositoryModelLoadResponse)
    assert ready()
    for request, code in (
        (pb.RepositoryModelLoadRequest(model_name="wrong"), grpc.StatusCode.NOT_FOUND),
        (pb.RepositoryModelLoadRequest(model_name="broken"), grpc.StatusCode.FAILED_PRECONDITION),
    ):
        failure = wire.failure(f"{SERVICE}/RepositoryModelLoad", request.SerializeToString())
        assert failure.code == code
        assert "failed to load" in failure.message
    assert ready()


def test_a_model_that_is_named_by_its_routing_is_not_unloaded_in_part(wire: Wire) -> None:
    alias = models_pb2.SetAliasRequest(model="sum", alias="held", version="1.0.0")
    wire.call("/scorewire.v1.ModelService/SetAlias", alias.SerializeToString())
    unload = pb.RepositoryModelUnloadRequest(model_name="sum")
    failure = wire.failure(f"{SERVICE}/RepositoryModelUnload", unload.SerializeToString())
    assert failure.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "names 1.0.0" in failure.message
    ready = pb.ModelReadyRequest(name="sum", version="1.1.0")
    assert ask(wire, "ModelReady", ready, pb.ModelReadyResponse).ready
    delete = models_pb2.DeleteAliasRequest(model="sum", alias="held")
    wire.call("/scorewire.v1.ModelService/DeleteAlias", delete.SerializeToString())


def test_a_config_bounds_the_rows_of_a_call_until_the_model_is_loaded_again(wire: Wire) -> None:
    def load(config: str = "", **parameters: bytes) -> bytes:
        request = pb.RepositoryModelLoadRequest(model_name="greeting")
        if config:
            request.parameters["config"].string_param = config
        for name, content in parameters.items():
            request.parameters[name].bytes_param = content
        return request.SerializeToString()

    def most_rows() -> int:
        request = pb.ModelConfigRequest(name="greeting")
        return int(ask(wire, "ModelConfig", request, pb.ModelConfigResponse).config.max_batch_size)

    path = f"{SERVICE}/RepositoryModelLoad"
    two = {"word": ("BYTES", [2, 1], ["hello", "bye"])}
    three = {"word": ("BYTES", [3, 1], ["hello", "bye", "hello"])}
    typed = "/scorewire.models.greeting.v1.GreetingService/PredictBatch"
    wire.call(path, load('{"max_batch_size":"2"}'))
    assert most_rows() == 2
    told = wire.call(
        "/scorewire.v1.ModelService/GetModel",
        models_pb2.GetModelRequest(model="greeting").SerializeToString(),
    )
    assert models_pb2.GetModelResponse.FromString(told).max_rows == 2
    infer(wire, infer_request("greeting", two))
    positional = sum_request([], ["hello"] * 3, 3, model="greeting")
    for call, data in (
        (INFER, infer_request("greeting", three).SerializeToString()),
        (typed, b"\x0a\x00" * 3),
        (PREDICT, positional.SerializeToString()),
    ):
        failure = wire.failure(call, data)
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_ROWS")
        assert "3 rows are more than the 2 of one call" in failure.message
    for bad in (
        load("max_batch_size: 2"),
        load('{"max_batch_size":1001}'),
        load('{"max_batch_size":-1}'),
        load('{"max_batch_size":4,"backend":"python"}'),
        load('{"nothing":1}'),
        load("[" * 100_000),
        load("{}", **{"file:1/model.onnx": b"x"}),
    ):
        failure = wire.failure(path, bad)
        assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
        assert failure.message.startswith("failed to load 'greeting'")
    assert most_rows() == 2
    wire.call(path, load())
    assert most_rows() == 1000
    infer(wire, infer_request("greeting", three))
