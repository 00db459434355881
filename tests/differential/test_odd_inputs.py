"""Both engines give the same responses to input that no client should send, on every method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.conformance.engines import NATIVE_MISSING
from tests.conformance.wire import PREDICT, PREDICT_STREAM, Wire, failure_of, sum_request
from tests.differential.comparison import both_engines
from tests.differential.odd import messages, metadata

pytestmark = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)

UNARY = (
    PREDICT,
    "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/ModelMetadata",
    "/scorewire.models.sum.v1.SumService/Predict",
    "/scorewire.models.sum.v1.SumService/PredictBatch",
    "/scorewire.v1.ModelService/GetModel",
    "/scorewire.v1.ModelService/SetAlias",
    "/scorewire.v1.ModelService/UnloadVersion",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
)
STREAMS = (
    PREDICT_STREAM,
    "/inference.GRPCInferenceService/ModelStreamInfer",
    "/scorewire.models.sum.v1.SumService/PredictStream",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wire, Wire]]:
    with both_engines(tmp_path_factory.mktemp("odd")) as wires:
        yield wires


def _ended(answers: Iterator[bytes]) -> tuple[object, ...]:
    """The outcome of a call, as its caller sees it."""
    try:
        return "OK", len(list(answers))
    except grpc.RpcError as error:
        failure = failure_of(error)
        # The message of grpc-core tells which side refused a message that is too large.
        message = failure.message.removeprefix("SERVER: ")
        return failure.code.name, message, failure.reason if failure.status else ""


def _unary(wire: Wire, path: str, data: bytes, **options: Any) -> tuple[object, ...]:
    return _ended(wire.call(path, data, **options) for _ in range(1))


def _stream(wire: Wire, path: str, data: bytes) -> tuple[object, ...]:
    return _ended(wire.stream([data], path))


@pytest.mark.parametrize("path", [*UNARY, *STREAMS])
def test_odd_messages_are_answered_alike(engines: tuple[Wire, Wire], path: str) -> None:
    ask = _stream if path in STREAMS else _unary
    answers = {name: [ask(wire, path, data) for wire in engines] for name, data in messages()}
    assert {name: told for name, told in answers.items() if told[0] != told[1]} == {}
    # Both engines could fail alike with INTERNAL, which would be wrong.
    assert not [
        name for name, told in answers.items() if told[0][0] in ("INTERNAL", "UNKNOWN", "UNAVAILABLE")
    ]


@pytest.mark.parametrize(
    "path", [PREDICT, "/scorewire.models.sum.v1.SumService/Predict", "/grpc.health.v1.Health/Check"]
)
def test_odd_metadata_is_answered_alike(engines: tuple[Wire, Wire], path: str) -> None:
    data = sum_request().SerializeToString() if path == PREDICT else b""
    answers = {
        name: [_unary(wire, path, data, metadata=fields) for wire in engines] for name, fields in metadata()
    }
    assert {name: told for name, told in answers.items() if told[0] != told[1]} == {}
