"""Calls a server with bytes or messages, without the SDK."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from scorewire_proto.v1 import prediction_pb2

PREDICT = "/scorewire.v1.PredictionService/Predict"
PREDICT_STREAM = "/scorewire.v1.PredictionService/PredictStream"
# Long, because a machine may be busy.
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Failure:
    """A failed call, as its caller sees it."""

    code: grpc.StatusCode
    message: str
    status: status_pb2.Status | None

    @property
    def info(self) -> error_details_pb2.ErrorInfo:
        return info_of(self.status)

    @property
    def reason(self) -> str:
        return str(self.info.reason)

    @property
    def fields(self) -> list[str]:
        return fields_of(self.status)


def info_of(status: status_pb2.Status | None) -> error_details_pb2.ErrorInfo:
    """The one ErrorInfo of a status."""
    assert status is not None, "the failure carries no google.rpc.Status"
    info = error_details_pb2.ErrorInfo()
    found = [detail for detail in status.details if detail.Is(info.DESCRIPTOR)]
    assert len(found) == 1
    assert found[0].Unpack(info)
    return info


def fields_of(status: status_pb2.Status | None) -> list[str]:
    """The field paths of a status's BadRequest, each with a description."""
    assert status is not None
    bad = error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Is(bad.DESCRIPTOR):
            detail.Unpack(bad)
    assert all(violation.description for violation in bad.field_violations)
    return [violation.field for violation in bad.field_violations]


class Wire:
    """A channel to a server."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.channel = grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)])

    # Untyped: grpc's types require serializers, and bytes need none.
    def unary(self, path: str) -> Any:
        return self.channel.unary_unary(path)

    def server_stream(self, path: str) -> Any:
        return self.channel.unary_stream(path)

    def both_stream(self, path: str) -> Any:
        return self.channel.stream_stream(path)

    def call(self, path: str, data: bytes, **options: Any) -> bytes:
        """Make a unary call with bytes."""
        options.setdefault("timeout", TIMEOUT_SECONDS)
        answer: bytes = self.unary(path)(data, **options)
        return answer

    def predict(
        self, request: prediction_pb2.PredictRequest, **options: Any
    ) -> prediction_pb2.PredictResponse:
        data = self.call(PREDICT, request.SerializeToString(), **options)
        return prediction_pb2.PredictResponse.FromString(data)

    def failure(self, path: str, data: bytes, **options: Any) -> Failure:
        """The failure of a call that must fail."""
        try:
            self.call(path, data, **options)
        except grpc.RpcError as error:
            return failure_of(error)
        raise AssertionError("the call should have failed")

    def predict_failure(self, request: prediction_pb2.PredictRequest, **options: Any) -> Failure:
        return self.failure(PREDICT, request.SerializeToString(), **options)

    def stream(
        self, messages: Iterable[bytes], path: str = PREDICT_STREAM, **options: Any
    ) -> Iterator[bytes]:
        """Make a call with a stream of bytes; the returned iterator can be cancelled."""
        options.setdefault("timeout", TIMEOUT_SECONDS)
        answers: Iterator[bytes] = self.both_stream(path)(iter(messages), **options)
        return answers

    def predict_stream(
        self, requests: Iterable[prediction_pb2.PredictStreamRequest], **options: Any
    ) -> list[prediction_pb2.PredictStreamResponse]:
        answers = self.stream((request.SerializeToString() for request in requests), **options)
        return [prediction_pb2.PredictStreamResponse.FromString(answer) for answer in answers]


def failure_of(error: grpc.RpcError) -> Failure:
    """Convert an error of grpc."""
    assert isinstance(error, grpc.Call)
    return failure_from(error.code(), error.details(), error.trailing_metadata() or ())


def failure_from(code: grpc.StatusCode, message: str | None, metadata: Iterable[tuple[str, Any]]) -> Failure:
    """Make a failure; its details, if any, must agree with its code and message."""
    status = None
    for key, value in metadata:
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            assert status.code == code.value[0]
            assert status.message == message
    return Failure(code, message or "", status)


def outcome(wire: Wire, request: prediction_pb2.PredictRequest, **options: Any) -> grpc.StatusCode:
    """The status code of a call, OK or not."""
    try:
        wire.predict(request, **options)
    except grpc.RpcError as error:
        return failure_of(error).code
    return grpc.StatusCode.OK


def sum_request(
    numbers: Iterable[float] = (1.0, 2.0), texts: Iterable[str] = ("de",), row_count: int = 1, **fields: Any
) -> prediction_pb2.PredictRequest:
    """A request for the model `sum` of tests.bundles, with two numbers and one text per row."""
    rows = prediction_pb2.Rows(row_count=row_count, numbers=numbers, texts=texts)
    return prediction_pb2.PredictRequest(**{"model": "sum", "rows": rows, **fields})


def values(response: prediction_pb2.PredictResponse, output: str = "value") -> list[float]:
    """The numbers of one output."""
    (found,) = [each for each in response.outputs if each.name == output]
    return list(found.numbers)
