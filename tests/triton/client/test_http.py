"""Does over HTTP what the public examples of triton-inference-server/client do, with unmodified tritonclient.

After simple_http_infer_client.py, simple_http_string_infer_client.py,
simple_http_async_infer_client.py, simple_http_aio_infer_client.py and
simple_http_health_metadata.py. The server is behind a gateway.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
import tritonclient.http as httpclient
import tritonclient.http.aio as aioclient
from tritonclient import utils
from tritonclient.utils import InferenceServerException

FIRST = np.arange(16, dtype=np.int32).reshape(1, 16)
SECOND = np.ones((1, 16), dtype=np.int32)


@pytest.fixture
def client(http_address: str) -> Any:
    with httpclient.InferenceServerClient(url=http_address, concurrency=4) as made:
        yield made


def tensors(*arrays: np.ndarray, datatype: str = "INT32", binary: bool = True) -> list[Any]:
    """INPUT0, INPUT1, ..."""
    inputs = []
    for i, array in enumerate(arrays):
        inputs.append(httpclient.InferInput(f"INPUT{i}", list(array.shape), datatype))
        inputs[-1].set_data_from_numpy(array, binary_data=binary)
    return inputs


def wanted(*binary: bool) -> list[Any]:
    """OUTPUT0, OUTPUT1, ..."""
    return [httpclient.InferRequestedOutput(f"OUTPUT{i}", binary_data=flag) for i, flag in enumerate(binary)]


def check(result: Any, first: np.ndarray = FIRST, second: np.ndarray = SECOND) -> None:
    assert result.as_numpy("OUTPUT0").dtype == first.dtype
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), first + second)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), first - second)


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [(True, True), (False, False), (True, False)])
def test_infer_with_and_without_binary_data(
    client: Any, binary_in: bool, binary_out: tuple[bool, bool]
) -> None:
    inputs = tensors(FIRST, SECOND, binary=binary_in)
    check(client.infer("simple", inputs, outputs=wanted(*binary_out)))
    check(client.infer("simple", inputs))


def test_a_mix_of_inputs(client: Any) -> None:
    inputs = tensors(FIRST, SECOND)
    inputs[0].set_data_from_numpy(FIRST, binary_data=False)
    result = client.infer("simple", inputs, model_version="1.0.0", request_id="7", headers={"test": "1"})
    check(result)
    assert result.get_response()["id"] == "7"
    assert result.get_response()["model_version"] == "1.0.0"
    only = client.infer("simple", inputs, outputs=wanted(True))
    assert only.as_numpy("OUTPUT1") is None


def test_a_batch_of_rows(client: Any) -> None:
    first = np.arange(64, dtype=np.int32).reshape(4, 16)
    check(client.infer("simple", tensors(first, first)), first, first)


@pytest.mark.parametrize(
    ("model", "datatype", "dtype"), [("simple_int8", "INT8", "i1"), ("simple_fp32", "FP32", "f4")]
)
@pytest.mark.parametrize("binary", [True, False])
def test_other_datatypes(client: Any, model: str, datatype: str, dtype: str, binary: bool) -> None:
    first, second = FIRST.astype(dtype), SECOND.astype(dtype)
    inputs = tensors(first, second, datatype=datatype, binary=binary)
    check(client.infer(model, inputs, outputs=wanted(binary, not binary)), first, second)


@pytest.mark.parametrize("model", ["mixed", "mixed_row_by_row"])
def test_a_model_with_a_tensor_of_every_kind(client: Any, model: str) -> None:
    inputs = []
    for tensor in client.get_model_metadata(model)["inputs"]:
        inputs.append(httpclient.InferInput(tensor["name"], [3, 1], tensor["datatype"]))
        array = np.array([[0], [1], [1]], dtype=utils.triton_to_np_dtype(tensor["datatype"]))
        inputs[-1].set_data_from_numpy(array, binary_data=True)
    total = client.infer(model, inputs).as_numpy("total")
    np.testing.assert_array_equal(total, np.array([[[0, 0]], [[7, 14]], [[7, 14]]]))


@pytest.mark.parametrize("binary", [True, False])
def test_texts(client: Any, binary: bool) -> None:
    spelled = [
        np.array([[str(x).encode() for x in row] for row in array], dtype=np.object_)
        for array in (FIRST, SECOND)
    ]
    inputs = tensors(*spelled, datatype="BYTES", binary=binary)
    result = client.infer("simple_string", inputs, outputs=wanted(binary, not binary))
    assert [int(x) for x in result.as_numpy("OUTPUT0")[0]] == (FIRST + SECOND)[0].tolist()
    assert [int(x) for x in result.as_numpy("OUTPUT1")[0]] == (FIRST - SECOND)[0].tolist()


def test_a_text_with_a_null_character_comes_back(client: Any) -> None:
    null = np.array([[b"he\x00llo"] * 16], dtype=np.object_)
    for binary in (True, False):
        result = client.infer("simple_identity", tensors(null, datatype="BYTES"), outputs=wanted(binary))
        assert [str(x).encode() if isinstance(x, str) else x for x in result.as_numpy("OUTPUT0")[0]] == [
            b"he\x00llo"
        ] * 16


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests_and_answers(client: Any, algorithm: str) -> None:
    first = np.arange(16_000, dtype=np.int32).reshape(1000, 16)
    check(
        client.infer(
            "simple",
            tensors(first, first),
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        ),
        first,
        first,
    )


def test_requests_at_one_time(client: Any) -> None:
    waiting = [client.async_infer("simple", tensors(FIRST, SECOND)) for _ in range(8)]
    for each in waiting:
        check(each.get_result())


def test_aio_infers(http_address: str) -> None:
    async def talk() -> None:
        async with aioclient.InferenceServerClient(url=http_address) as client:
            inputs = tensors(FIRST, SECOND)
            for result in await asyncio.gather(*(client.infer("simple", inputs) for _ in range(8))):
                check(result)
            assert await client.is_server_ready()

    asyncio.run(talk())


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live(headers={"test": "1"})
    assert client.is_server_ready()
    assert client.is_model_ready("simple")
    assert not client.is_model_ready("wrong_model_name")
    assert client.get_server_metadata()["name"] == "triton"
    metadata = client.get_model_metadata("simple")
    assert [tensor["shape"] for tensor in metadata["inputs"]] == [[-1, 16], [-1, 16]]
    with pytest.raises(InferenceServerException, match="Request for unknown model"):
        client.get_model_metadata("wrong_model_name")
    config = client.get_model_config("simple")
    assert config["input"][0]["data_type"] == "TYPE_INT32"
    assert config["max_batch_size"] > 0
    assert client.get_inference_statistics("simple")["model_stats"][0]["name"] == "simple"
    assert len(client.get_model_repository_index()) == 8


def test_what_the_gateway_does_not_do_is_told(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="changes none"):
        client.load_model("simple")
    with pytest.raises(InferenceServerException, match="there is no model .wrong_model_name."):
        client.infer("wrong_model_name", tensors(FIRST, SECOND))
    with pytest.raises(InferenceServerException, match="INPUT1"):
        client.infer("simple", tensors(FIRST))
