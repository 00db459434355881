"""Does what the public examples of triton-inference-server/client do, with unmodified tritonclient.

After simple_grpc_infer_client.py, simple_grpc_string_infer_client.py,
simple_grpc_async_infer_client.py, simple_grpc_aio_infer_client.py,
simple_grpc_health_metadata.py, simple_grpc_model_control.py,
grpc_explicit_int_content_client.py, grpc_explicit_int8_content_client.py,
grpc_explicit_byte_content_client.py and, for streams,
simple_grpc_sequence_stream_infer_client.py.
"""

from __future__ import annotations

import asyncio
import os
import queue
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aioclient
from tritonclient import utils
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

FIRST = np.arange(16, dtype=np.int32).reshape(1, 16)
SECOND = np.ones((1, 16), dtype=np.int32)
SECONDS = 60


@pytest.fixture
def client(address: str) -> Any:
    with grpcclient.InferenceServerClient(url=address) as made:
        yield made


def tensors(module: Any, *arrays: np.ndarray, datatype: str = "INT32") -> list[Any]:
    """INPUT0, INPUT1, ..."""
    inputs = []
    for i, array in enumerate(arrays):
        inputs.append(module.InferInput(f"INPUT{i}", list(array.shape), datatype))
        inputs[-1].set_data_from_numpy(array)
    return inputs


def check(result: Any, first: np.ndarray = FIRST, second: np.ndarray = SECOND) -> None:
    assert result.as_numpy("OUTPUT0").dtype == first.dtype
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), first + second)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), first - second)


@pytest.mark.parametrize("model", ["simple", "simple_one_row"])
def test_infer_with_and_without_requested_outputs(client: Any, model: str) -> None:
    outputs = [grpcclient.InferRequestedOutput(name) for name in ("OUTPUT0", "OUTPUT1")]
    inputs = tensors(grpcclient, FIRST, SECOND)
    check(client.infer(model, inputs, outputs=outputs, headers={"test": "1"}))
    check(client.infer(model, inputs))
    only = client.infer(model, inputs, outputs=outputs[1:], request_id="7")
    assert only.as_numpy("OUTPUT0") is None
    assert only.get_response().id == "7"
    assert len(client.get_inference_statistics(model).model_stats) == 1


def test_a_batch_of_rows(client: Any) -> None:
    first = np.arange(64, dtype=np.int32).reshape(4, 16)
    check(client.infer("simple", tensors(grpcclient, first, first)), first, first)


@pytest.mark.parametrize(
    ("model", "datatype", "dtype"), [("simple_int8", "INT8", "i1"), ("simple_fp32", "FP32", "f4")]
)
def test_other_datatypes(client: Any, model: str, datatype: str, dtype: str) -> None:
    first, second = FIRST.astype(dtype), SECOND.astype(dtype)
    check(client.infer(model, tensors(grpcclient, first, second, datatype=datatype)), first, second)


@pytest.mark.parametrize("datatype", ["FP64", "FP32", "INT32"])
def test_all_features_in_one_tensor(client: Any, datatype: str) -> None:
    rows = np.arange(64).reshape(2, 32).astype(utils.triton_to_np_dtype(datatype))
    tensor = grpcclient.InferInput("rows", list(rows.shape), datatype)
    tensor.set_data_from_numpy(rows)
    result = client.infer("simple_fp32", [tensor])
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), rows[:, :16] + rows[:, 16:])


@pytest.mark.parametrize("model", ["mixed", "mixed_row_by_row"])
def test_a_model_with_a_tensor_of_every_kind(client: Any, model: str) -> None:
    config = client.get_model_config(model).config
    inputs = []
    for tensor in client.get_model_metadata(model).inputs:
        inputs.append(grpcclient.InferInput(tensor.name, [3, 1], tensor.datatype))
        inputs[-1].set_data_from_numpy(
            np.array([[0], [1], [1]], dtype=utils.triton_to_np_dtype(tensor.datatype))
        )
    total = client.infer(model, inputs).as_numpy("total")
    np.testing.assert_array_equal(total, np.array([[[0, 0]], [[7, 14]], [[7, 14]]]))
    assert list(config.output[0].dims) == [1, 2]


def test_texts(client: Any) -> None:
    spelled = [
        np.array([[str(x).encode() for x in row] for row in array], dtype=np.object_)
        for array in (FIRST, SECOND)
    ]
    result = client.infer("simple_string", tensors(grpcclient, *spelled, datatype="BYTES"))
    assert [int(x) for x in result.as_numpy("OUTPUT0")[0]] == (FIRST + SECOND)[0].tolist()
    assert [int(x) for x in result.as_numpy("OUTPUT1")[0]] == (FIRST - SECOND)[0].tolist()


def test_texts_with_a_null_character_and_of_fixed_size_come_back(client: Any) -> None:
    null = np.array([[b"he\x00llo"] * 16], dtype=np.object_)
    result = client.infer("simple_identity", tensors(grpcclient, null, datatype="BYTES"))
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), null)
    blobs = np.array([[b"\x00\x01\x02\x03"] * 16], dtype=np.bytes_)
    result = client.infer("simple_identity", tensors(grpcclient, blobs, datatype="BYTES"))
    np.testing.assert_array_equal(np.char.encode(result.as_numpy("OUTPUT0").astype(str)), blobs)


def test_async_infer_calls_back(client: Any) -> None:
    done: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.async_infer(
        "simple", tensors(grpcclient, FIRST, SECOND), lambda result, error: done.put((result, error))
    )
    result, error = done.get(timeout=SECONDS)
    assert error is None
    check(result)


def test_a_stream_goes_on_after_a_failure(client: Any) -> None:
    done: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(callback=lambda result, error: done.put((result, error)))
    inputs = tensors(grpcclient, FIRST, SECOND)
    for i in range(20):
        client.async_stream_infer("simple" if i != 7 else "wrong_model_name", inputs, request_id=str(i))
    for i in range(20):
        result, error = done.get(timeout=SECONDS)
        if i == 7:
            assert "wrong_model_name" in error.message()
        else:
            assert error is None
            assert result.get_response().id == str(i)
            check(result)
    client.stop_stream()


def test_aio_infers_and_streams(address: str) -> None:
    async def talk() -> None:
        async with aioclient.InferenceServerClient(url=address) as client:
            inputs = tensors(aioclient, FIRST, SECOND)
            for result in await asyncio.gather(*(client.infer("simple", inputs) for _ in range(8))):
                check(result)
            assert len((await client.get_inference_statistics("simple")).model_stats) == 1

            async def requests() -> Any:
                for i in range(5):
                    yield {"model_name": "simple", "inputs": inputs, "request_id": str(i)}

            ids = []
            async for result, error in client.stream_infer(requests()):
                assert error is None
                check(result)
                ids.append(result.get_response().id)
            assert ids == list("01234")

    asyncio.run(talk())


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live(headers={"test": "1", "dummy": "2"})
    assert client.is_server_ready()
    assert client.is_model_ready("simple")
    assert client.get_server_metadata().name == "triton"
    metadata = client.get_model_metadata("simple")
    assert metadata.name == "simple"
    assert [list(tensor.shape) for tensor in metadata.inputs] == [[-1, 16], [-1, 16]]
    with pytest.raises(InferenceServerException, match="Request for unknown model"):
        client.get_model_metadata("wrong_model_name")
    config = client.get_model_config("simple", as_json=True)["config"]
    assert config["name"] == "simple"
    assert config["input"][0]["data_type"] == "TYPE_INT32"


def test_control(client: Any) -> None:
    assert len(client.get_model_repository_index().models) == 8
    client.load_model("simple_int8")
    assert client.is_model_ready("simple_int8")
    client.unload_model("simple_int8")
    assert not client.is_model_ready("simple_int8")
    with pytest.raises(InferenceServerException, match="simple_int8"):
        client.infer(
            "simple_int8", tensors(grpcclient, FIRST.astype("i1"), SECOND.astype("i1"), datatype="INT8")
        )
    client.load_model("simple_int8")
    assert client.is_model_ready("simple_int8")
    for config in ("max_batch_size", '{"backend": "python"}'):
        with pytest.raises(InferenceServerException, match="failed to load"):
            client.load_model("simple_int8", config=config)
    client.load_model("simple_int8", config='{"max_batch_size": "16"}')
    assert client.get_model_config("simple_int8").config.max_batch_size == 16
    with pytest.raises(InferenceServerException, match="failed to load.*Invalid file path"):
        client.load_model("simple_int8", config="{}", files={"file:1/model.onnx": b"x"})
    client.load_model("simple_int8")
    assert client.get_model_config("simple_int8").config.max_batch_size > 16
    with pytest.raises(InferenceServerException, match="failed to load"):
        client.load_model("wrong_model_name")


def explicit_request(model: str, datatype: str, field: str, *columns: list[Any]) -> Any:
    request = service_pb2.ModelInferRequest(model_name=model)
    for i, column in enumerate(columns):
        tensor = request.inputs.add(name=f"INPUT{i}", datatype=datatype, shape=[1, 16])
        getattr(tensor.contents, field).extend(column)
    return request


@pytest.mark.parametrize(
    ("model", "datatype", "dtype"), [("simple", "INT32", "<i4"), ("simple_int8", "INT8", "i1")]
)
def test_explicit_int_contents(address: str, model: str, datatype: str, dtype: str) -> None:
    request = explicit_request(model, datatype, "int_contents", list(range(16)), [1] * 16)
    with grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        response = stub.ModelInfer(request, timeout=SECONDS)
        found = [np.frombuffer(content, dtype=dtype).tolist() for content in response.raw_output_contents]
        assert found == [list(range(1, 17)), list(range(-1, 15))]
        request.raw_input_contents.append(b"\0" * 64)
        with pytest.raises(
            grpc.RpcError, match="contents field must not be specified when using raw_input_contents"
        ):
            stub.ModelInfer(request, timeout=SECONDS)


def test_explicit_byte_contents(address: str) -> None:
    columns = [str(i).encode() for i in range(16)], [b"1"] * 16
    request = explicit_request("simple_string", "BYTES", "bytes_contents", *columns)
    with grpc.insecure_channel(address) as channel:
        response = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=SECONDS)
    first, second = (utils.deserialize_bytes_tensor(content) for content in response.raw_output_contents)
    assert [int(x) for x in first] == list(range(1, 17))
    assert [int(x) for x in second] == list(range(-1, 15))


def test_requests_and_answers_in_gzip(client: Any) -> None:
    first = np.arange(16_000, dtype=np.int32).reshape(1000, 16)
    inputs = tensors(grpcclient, first, first)
    check(client.infer("simple", inputs, compression_algorithm="gzip"), first, first)
    with pytest.raises(InferenceServerException, match="UNIMPLEMENTED"):
        client.infer("simple", inputs, compression_algorithm="deflate")


def test_a_stream_in_gzip(client: Any) -> None:
    done: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(
        callback=lambda result, error: done.put((result, error)), compression_algorithm="gzip"
    )
    first = np.arange(16_000, dtype=np.int32).reshape(1000, 16)
    for _ in range(3):
        client.async_stream_infer("simple", tensors(grpcclient, first, first))
    for _ in range(3):
        result, error = done.get(timeout=SECONDS)
        assert error is None
        check(result, first, first)
    client.stop_stream()


def test_a_server_with_an_access_file_takes_a_key_in_the_headers(guarded_address: str) -> None:
    headers = {"authorization": f"Bearer {os.environ['SCOREWIRE_API_KEY']}"}
    inputs = tensors(grpcclient, FIRST, SECOND)
    with grpcclient.InferenceServerClient(url=guarded_address) as client:
        assert client.is_server_live()
        check(client.infer("simple", inputs, headers=headers))
        for model, shown, code in [
            ("simple", None, "UNAUTHENTICATED"),
            ("simple", {"authorization": "Bearer wrong"}, "UNAUTHENTICATED"),
            ("simple_one_row", headers, "PERMISSION_DENIED"),
        ]:
            with pytest.raises(InferenceServerException) as caught:
                client.infer(model, inputs, headers=shown)
            assert caught.value.status() == f"StatusCode.{code}"
