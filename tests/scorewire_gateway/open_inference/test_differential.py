"""Over HTTP, the protocol gives what the server gives over gRPC, to the bit."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import grpc
import httpx
import pytest
from scorewire_gateway.errors import HTTP_CODES, MAX_TEXT

from scorewire import Code
from scorewire_proto.inference import inference_pb2 as pb
from tests.conformance.engines import ENGINES, write_models
from tests.conformance.inference import DTYPES, INFER, raw
from tests.conformance.wire import Wire
from tests.differential.tensors import TensorRequests
from tests.processes import serving
from tests.scorewire_gateway.gateways import gateway_thread
from tests.scorewire_gateway.open_inference.rest import post, read

LIMITS = ("--max-rows", "1000", "--max-message-bytes", str(1 << 17))
TIMEOUT_SECONDS = 60


def with_raw_contents(message: pb.ModelInferRequest) -> pb.ModelInferRequest:
    """The request with each tensor in raw contents, and each output, too."""
    found = pb.ModelInferRequest()
    found.CopyFrom(message)
    found.parameters.pop("binary_data_output", None)
    del found.raw_input_contents[:]
    raws = iter(message.raw_input_contents)
    for tensor in found.inputs:
        if tensor.HasField("contents"):
            ((_, values),) = tensor.contents.ListFields() or ((None, []),)
            tensor.ClearField("contents")
            found.raw_input_contents.append(raw(tensor.datatype, list(values)))
        elif tensor.datatype in DTYPES or tensor.datatype in ("BYTES", "STRING"):
            content = next(raws, b"")
            found.raw_input_contents.append(content)
    return found


def over_grpc(wire: Wire, message: pb.ModelInferRequest) -> tuple[str, object]:
    try:
        answer = wire.unary(INFER)(message.SerializeToString(), timeout=TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        message_text = str(error.details())
        if len(message_text) > MAX_TEXT:
            message_text = message_text[: MAX_TEXT - 3] + "..."
        return error.code().name, (HTTP_CODES[Code[error.code().name]], message_text)
    return "OK", pb.ModelInferResponse.FromString(answer)


def compare(wire: Wire, http: httpx.Client, *, count: int, seed: int) -> Counter[str]:
    """Send generated requests both ways, half of their tensors as binary data; counts the outcomes."""
    requests, chance, outcomes = TensorRequests(seed), random.Random(seed), Counter[str]()
    for _ in range(count):
        message = with_raw_contents(requests.message())
        status, wanted = over_grpc(wire, message)
        answer = post(http, message, lambda: chance.random() < 0.5)
        if status == "OK":
            assert answer.status_code == 200, (message, answer.text)
            assert read(answer) == wanted, message
        else:
            assert (answer.status_code, answer.json()["error"]) == wanted, message
        outcomes[status] += 1
    return outcomes


@pytest.mark.parametrize("engine", ENGINES)
def test_tensors_are_answered_as_over_grpc(tmp_path: Path, engine: str) -> None:
    write_models(tmp_path / "models")
    with serving(tmp_path / "server", tmp_path / "models", "--engine", engine, *LIMITS) as server:
        wire = Wire(server.address)
        with wire.channel, gateway_thread(server.address) as http:
            outcomes = compare(wire, http, count=500, seed=7)
    assert outcomes["OK"] > 100
    assert {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"} <= set(outcomes)
