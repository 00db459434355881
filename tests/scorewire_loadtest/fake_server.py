"""A fake server for the load generator's tests: it scores rows of the sum bundle, or fails as told."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from scorewire_contract.bundle import Bundle
from scorewire_proto.v1 import errors_pb2, models_pb2, prediction_pb2
from tests.bundles import expected_value

# Returns the response, or the status that the call fails with.
Answer = Callable[[prediction_pb2.PredictRequest], "prediction_pb2.PredictResponse | status_pb2.Status"]

# Longer than any test waits for what happens meanwhile.
_STUCK_S = 240


def explain(request: prediction_pb2.PredictRequest, response: prediction_pb2.PredictResponse) -> None:
    """Add contributions of three columns: of a number, its negative, and what is left to the value."""
    found = response.contributions
    found.output, found.link = "value", "identity"
    found.base.append(0.5)
    top_k = request.explain.top_k or 3
    found.columns.extend(["x0", "x1", "country"][:top_k])
    for value in response.outputs[0].numbers:
        found.margins.append(value)
        found.values.extend([0.1, -0.1, value - 0.5][:top_k])
        if request.explain.top_k:
            found.places.extend(range(top_k))


class FakeServer:
    """A server whose `answer` may be replaced while it runs."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.answer: Answer = self.score
        self.requests: list[prediction_pb2.PredictRequest] = []
        self.peers: set[str] = set()
        self.stream_count = 0
        self.address = ""
        # Added to every correlation id, so that responses are out of order.
        self.correlation_shift = 0
        self._lock = threading.Lock()

    def score(self, request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        """The right response."""
        rows = request.rows
        width = len(rows.numbers) // rows.row_count
        response = prediction_pb2.PredictResponse(
            model=request.model, version=request.version or "1.0.0", row_count=rows.row_count
        )
        values = response.outputs.add(name="value").numbers
        for row in range(rows.row_count):
            numbers = rows.numbers[row * width : (row + 1) * width]
            if math.isnan(numbers[0]):
                values.append(math.nan)
                response.errors.add(row=row, reason=errors_pb2.ERROR_REASON_MISSING_VALUE, feature="x0")
            else:
                known = [number for number in numbers if not math.isnan(number)]
                values.append(expected_value(known, rows.texts[row]))
        if request.HasField("explain"):
            explain(request, response)
        return response

    def predict(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        request = prediction_pb2.PredictRequest.FromString(body)
        with self._lock:
            self.requests.append(request)
            self.peers.add(context.peer())
        answer = self.answer(request)
        if isinstance(answer, prediction_pb2.PredictResponse):
            return answer.SerializeToString()
        context.set_trailing_metadata((("grpc-status-details-bin", answer.SerializeToString()),))
        code = next(code for code in grpc.StatusCode if code.value[0] == answer.code)
        context.abort(code, answer.message)
        raise AssertionError("abort raises")

    def predict_stream(self, bodies: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        with self._lock:
            self.stream_count += 1
            self.peers.add(context.peer())
        for body in bodies:
            message = prediction_pb2.PredictStreamRequest.FromString(body)
            answer = self.answer(message.request)
            if isinstance(answer, status_pb2.Status) and answer.code == code_pb2.UNAVAILABLE:
                context.abort(grpc.StatusCode.UNAVAILABLE, answer.message)
            shown = prediction_pb2.PredictStreamResponse(
                correlation_id=message.correlation_id + self.correlation_shift
            )
            if isinstance(answer, status_pb2.Status):
                shown.error.CopyFrom(answer)
            else:
                shown.response.CopyFrom(answer)
            yield shown.SerializeToString()

    def get_model(self, request: models_pb2.GetModelRequest, context: grpc.ServicerContext) -> Any:
        manifest = self.bundle.manifest
        if request.model != manifest.model:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no model {request.model!r}")
        response = models_pb2.GetModelResponse(version=manifest.version, schema=manifest.schema)
        response.status.name = manifest.model
        return response


def get_server(request: models_pb2.GetServerRequest, context: grpc.ServicerContext) -> Any:
    return models_pb2.GetServerResponse(version="1.2.3", engine="fake", description="a fake server")


def failure(code: int, reason: str, message: str = "as told") -> status_pb2.Status:
    """A status with an ErrorInfo."""
    status = status_pb2.Status(code=code, message=message)
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="scorewire"))
    status.details.append(detail)
    return status


@contextmanager
def serving(
    bundle: Bundle,
    *,
    listen: str = "127.0.0.1:0",
    credentials: grpc.ServerCredentials | None = None,
    options: Sequence[tuple[str, int]] = (),
) -> Iterator[FakeServer]:
    """Run a fake server, by default on a free loopback port."""
    fake = FakeServer(bundle)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=options)
    predictions = {
        "Predict": grpc.unary_unary_rpc_method_handler(fake.predict),
        "PredictStream": grpc.stream_stream_rpc_method_handler(fake.predict_stream),
    }
    models = {
        "GetModel": grpc.unary_unary_rpc_method_handler(
            fake.get_model,
            request_deserializer=models_pb2.GetModelRequest.FromString,
            response_serializer=models_pb2.GetModelResponse.SerializeToString,
        ),
        "GetServer": grpc.unary_unary_rpc_method_handler(
            get_server,
            request_deserializer=models_pb2.GetServerRequest.FromString,
            response_serializer=models_pb2.GetServerResponse.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("scorewire.v1.PredictionService", predictions),
            grpc.method_handlers_generic_handler("scorewire.v1.ModelService", models),
        )
    )
    if credentials is None:
        port = server.add_insecure_port(listen)
    else:
        port = server.add_secure_port(listen, credentials)
    fake.address = listen if listen.startswith("unix:") else f"127.0.0.1:{port}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(None).wait()


@contextmanager
def stuck(server: FakeServer) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Answer no call until the second event is set; the first event tells that a call arrived."""
    begun, release = threading.Event(), threading.Event()

    def wait(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        begun.set()
        release.wait(_STUCK_S)
        return server.score(request)

    server.answer = wait
    try:
        yield begun, release
    finally:
        release.set()
