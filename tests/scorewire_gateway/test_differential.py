"""What the gateway answers in JSON is what the server answers in protobuf, to the last bit.

10,000 requests of rows with notable values go both ways, half of them to each engine.
"""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from scorewire_proto.v1 import errors_pb2, prediction_pb2
from tests.bundles import (
    write_classifier_bundle,
    write_echo_bundle,
    write_greeting_bundle,
    write_sum_bundle,
    write_tensor_bundle,
)
from tests.conformance.engines import ENGINES
from tests.processes import TIMEOUT_SECONDS, serving
from tests.scorewire_gateway.drawing import SHAPES, Draw, bits
from tests.scorewire_gateway.gateways import gateway_process

# To each of the two engines.
REQUESTS = 5000
_PREDICT = "/scorewire.v1.PredictionService/Predict"
_WRITERS = (
    write_echo_bundle, write_sum_bundle, write_classifier_bundle, write_greeting_bundle, write_tensor_bundle,
)  # fmt: skip


class Ways:
    """The two ways to one server: by gRPC, and through a gateway."""

    def __init__(self, channel: grpc.Channel, connection: http.client.HTTPConnection) -> None:
        self._call = channel.unary_unary(
            _PREDICT,
            request_serializer=prediction_pb2.PredictRequest.SerializeToString,
            response_deserializer=prediction_pb2.PredictResponse.FromString,
        )
        self._connection = connection

    def by_grpc(self, request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        return self._call(request, timeout=TIMEOUT_SECONDS)  # type: ignore[no-any-return]

    def by_http(self, model: str, body: str) -> tuple[int, Any]:
        self._connection.request(
            "POST", f"/models/{model}:predict", body.encode(), {"Content-Type": "application/json"}
        )
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read(), parse_constant=pytest.fail)


@contextmanager
def both_ways(folder: Path, engine: str) -> Iterator[Ways]:
    """Run a server with an engine, and a gateway in front of it."""
    for write in _WRITERS:
        write(folder / "models")
    with (
        serving(folder / "server", folder / "models", "--engine", engine) as server,
        gateway_process(folder / "gateway", server.address) as gateway,
        grpc.insecure_channel(server.address) as channel,
    ):
        host, _, port = gateway.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_SECONDS)
        yield Ways(channel, connection)
        connection.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_json_answers_equal_protobuf_answers(tmp_path: Path, engine: str) -> None:
    # Each engine gets other requests.
    draw, seen = Draw(17 + len(engine)), Counter[str]()
    with both_ways(tmp_path, engine) as ways:
        for _ in range(REQUESTS):
            _compare(ways, draw, seen)
    assert seen["requests"] == REQUESTS
    # The draw covers all models, and rows with and without errors.
    for model in SHAPES:
        assert seen[f"model {model}"] > REQUESTS / 20
    for reason in ("MISSING_VALUE", "NUMBER_OUT_OF_RANGE", "UNKNOWN_TEXT", "NUMBER_NOT_WHOLE"):
        assert seen[reason] > 10, seen
    assert seen["scored rows"] > REQUESTS


def _compare(ways: Ways, draw: Draw, seen: Counter[str]) -> None:
    """Send one drawn request both ways, and compare the answers."""
    model, count = draw.model(), draw.count()
    shape = SHAPES[model]
    numbers = [[draw.number() for _ in shape.numbers] for _ in range(count)]
    texts = [[draw.text() for _ in shape.texts] for _ in range(count)]
    request = prediction_pb2.PredictRequest(model=model)
    request.rows.row_count = count
    for row in range(count):
        request.rows.numbers.extend(numbers[row])
        request.rows.texts.extend(texts[row])
    alone = count == 1
    rows = [draw.json_row(shape, numbers[row], texts[row], alone=alone) for row in range(count)]
    body = f'{{"row": {rows[0]}}}' if alone else f'{{"rows": [{", ".join(rows)}]}}'
    status, told = ways.by_http(model, body)
    wanted = ways.by_grpc(request)
    assert status == 200, (body, told)
    assert (told["model"], told["version"]) == (wanted.model, wanted.version)
    predictions = [told["prediction"]] if alone else told["predictions"]
    errors = {error.row: error for error in wanted.errors}
    for row, prediction in enumerate(predictions):
        if row in errors:
            error = errors[row]
            reason = errors_pb2.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_")
            expected = {"reason": reason, "feature": error.feature, "message": error.message}
            assert prediction == {"error": expected}, body
            seen[reason] += 1
        else:
            assert _told(prediction) == _wanted(wanted, row), body
            seen["scored rows"] += 1
    assert len(predictions) == count
    seen["requests"] += 1
    seen[f"model {model}"] += 1


def _wanted(response: prediction_pb2.PredictResponse, row: int) -> dict[str, list[Any]]:
    """The outputs of one row, as bits."""
    found = {}
    for output in response.outputs:
        values = list(output.texts or output.numbers)
        width = len(values) // response.row_count
        found[output.name] = [bits(value) for value in values[row * width : (row + 1) * width]]
    return found


def _told(prediction: dict[str, Any]) -> dict[str, list[Any]]:
    """The outputs in an answer of the gateway, as bits; a text output has the name `text` or `echo`."""
    found = {}
    for name, value in prediction.items():
        values = value if isinstance(value, list) else [value]
        is_text = name in ("text", "echo")
        found[name] = [value if is_text else bits(float(value)) for value in values]
    return found
