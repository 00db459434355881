"""Small messages that claim many rows are refused before memory for the rows is allocated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from scorewire_proto.inference import inference_pb2 as pb
from scorewire_proto.v1 import prediction_pb2
from tests import bundles
from tests.conformance.engines import ENGINES
from tests.conformance.inference import INFER, STREAM, infer_request, sum_tensors
from tests.conformance.typed import TypedService
from tests.conformance.wire import PREDICT, PREDICT_STREAM, Wire
from tests.processes import ServerProcess, serving

FEATURES = 1000
MAX_ROWS = 20_000
# The rows of one claim would take 160 MB.
MARGIN_BYTES = 48 << 20
REFUSED = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
HUGE = (1 << 31) - 1


@pytest.fixture(scope="module", params=ENGINES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server with a model of many features, and a high limit of rows."""
    folder = tmp_path_factory.mktemp("claims")
    bundles.write_sum_bundle(folder / "models", number_count=FEATURES)
    with serving(
        folder, folder / "models", "--engine", request.param, "--max-rows", str(MAX_ROWS)
    ) as running:
        yield running


def peak_bytes(server: ServerProcess) -> int:
    """The peak memory of the server since the last call of this function."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")
    return int(found[1]) << 10


def tensor(name: str, datatype: str, *shape: int) -> pb.ModelInferRequest.InferInputTensor:
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)


def tensor_claims() -> dict[str, pb.ModelInferRequest]:
    """Tensor requests whose shapes, lengths or lists claim more values than they have."""

    def request(*inputs: pb.ModelInferRequest.InferInputTensor, **fields: object) -> pb.ModelInferRequest:
        return pb.ModelInferRequest(model_name="sum", inputs=inputs, **fields)  # type: ignore[arg-type]

    typed = tensor("x0", "FP64", MAX_ROWS, 1)
    typed.contents.fp64_contents.append(1)
    whole = tensor("x0", "INT32", MAX_ROWS, 1)
    whole.contents.int_contents.append(1)
    texts = tensor("country", "BYTES", MAX_ROWS, 1)
    texts.contents.bytes_contents.append(b"")
    outputs = infer_request("sum", sum_tensors())
    for _ in range(1000):
        outputs.outputs.add(name="value")
    claims = {
        "no inputs": request(),
        "rows without elements": request(tensor("x0", "FP64", MAX_ROWS, 1)),
        "rows of no width": request(tensor("x0", "FP64", MAX_ROWS, 0), raw_input_contents=[b""]),
        "rows of no width by another name": request(tensor("all", "FP64", MAX_ROWS, 0)),
        "empty raw elements": request(tensor("x0", "FP64", MAX_ROWS, 1), raw_input_contents=[b""]),
        "one raw element": request(tensor("x0", "FP64", MAX_ROWS, 1), raw_input_contents=[bytes(8)]),
        "one raw truth": request(tensor("x0", "BOOL", MAX_ROWS, 1), raw_input_contents=[b"\1"]),
        "all features": request(tensor("all", "FP64", MAX_ROWS, FEATURES), raw_input_contents=[bytes(8)]),
        "one typed element": request(typed),
        "one typed whole number": request(whole),
        "one typed text": request(texts),
        "a long text": request(
            tensor("country", "BYTES", 1, 1), raw_input_contents=[HUGE.to_bytes(4, "little") + b"de"]
        ),
        "huge sizes": request(tensor("x0", "FP64", HUGE, HUGE, HUGE), raw_input_contents=[bytes(8)]),
        "huge sizes and none": request(tensor("x0", "FP64", HUGE, HUGE, 0), raw_input_contents=[b""]),
        "a negative size": request(tensor("x0", "FP64", -MAX_ROWS, -1), raw_input_contents=[bytes(8)]),
        "a shape of many sizes": request(tensor("x0", "FP64", *[HUGE] * 20_000)),
        "a shape of many ones": request(
            tensor("x0", "FP64", *[1] * 33),
            tensor("country", "BYTES", 1),
            raw_input_contents=[bytes(8), bytes(4)],
        ),
        "more raw contents than inputs": request(
            tensor("x0", "FP64", MAX_ROWS, 1), raw_input_contents=[b""] * 1000
        ),
        "inputs that differ": request(
            tensor("x0", "FP64", MAX_ROWS, 1), tensor("x1", "FP64", 1, 1), raw_input_contents=[b"", bytes(8)]
        ),
        "an output a thousand times": outputs,
        "many inputs": request(*[tensor("x0", "FP64", MAX_ROWS, 1)] * 5000),
    }
    others = {
        "a shape of many sizes",
        "more raw contents than inputs",
        "many inputs",
        "an output a thousand times",
    }
    assert all(each.ByteSize() < 200 for name, each in claims.items() if name not in others)
    return claims


def rows_claims() -> dict[str, prediction_pb2.PredictRequest]:
    """Positional requests whose row count claims more values than they have."""
    rows = {
        "no values": prediction_pb2.Rows(row_count=MAX_ROWS),
        "one number": prediction_pb2.Rows(row_count=MAX_ROWS, numbers=[1.0]),
        "one text": prediction_pb2.Rows(row_count=MAX_ROWS, texts=["de"]),
        "more rows than are taken": prediction_pb2.Rows(row_count=(1 << 32) - 1, numbers=[1.0]),
    }
    return {name: prediction_pb2.PredictRequest(model="sum", rows=each) for name, each in rows.items()}


@pytest.mark.parametrize("name", tensor_claims())
def test_tensors_that_claim_more_than_they_hold_are_refused(
    server: ServerProcess, wire: Wire, name: str
) -> None:
    request = tensor_claims()[name]
    peak_bytes(server)
    before = peak_bytes(server)
    for _ in range(3):
        assert wire.failure(INFER, request.SerializeToString()).code in REFUSED
    (answer,) = wire.stream([request.SerializeToString()], STREAM)
    assert pb.ModelStreamInferResponse.FromString(answer).error_message
    assert peak_bytes(server) < before + MARGIN_BYTES


@pytest.mark.parametrize("name", rows_claims())
def test_rows_that_claim_more_than_they_hold_are_refused(
    server: ServerProcess, wire: Wire, name: str
) -> None:
    request = rows_claims()[name]
    peak_bytes(server)
    before = peak_bytes(server)
    for _ in range(3):
        assert wire.failure(PREDICT, request.SerializeToString()).code in REFUSED
    message = prediction_pb2.PredictStreamRequest(correlation_id=1, request=request)
    (answer,) = wire.stream([message.SerializeToString()], PREDICT_STREAM)
    assert prediction_pb2.PredictStreamResponse.FromString(answer).HasField("error")
    assert peak_bytes(server) < before + MARGIN_BYTES


def test_more_typed_rows_than_are_taken_are_counted_and_not_kept(server: ServerProcess, wire: Wire) -> None:
    service = TypedService(wire, "scorewire.models.sum.v1.SumService")
    empty_rows = b"\x0a\x00" * (MAX_ROWS + 1)
    peak_bytes(server)
    before = peak_bytes(server)
    for _ in range(3):
        failure = wire.failure(service.path("PredictBatch"), empty_rows)
        assert failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert failure.reason == "TOO_MANY_ROWS"
    assert peak_bytes(server) < before + MARGIN_BYTES


@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_lengths_beyond_the_message_are_malformed(wire: Wire, path: str) -> None:
    for field in range(1, 8):
        length = b"\xff\xff\xff\xff\x07"
        failure = wire.failure(path, bytes([field << 3 | 2]) + length + b"sum")
        assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
