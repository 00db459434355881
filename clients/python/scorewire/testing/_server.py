"""A gRPC server on a loopback port that answers as a Scorewire server does."""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias
from uuid import uuid4

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

from scorewire._errors import DOMAIN, Code, Violation
from scorewire._explain import Explain
from scorewire._metadata import Pairs, is_reserved
from scorewire._methods import GET_MODEL, GET_SERVER, HEALTH, LIST_MODELS, PREDICT, PREDICT_STREAM, Method
from scorewire._models import Caller
from scorewire.testing._explaining import check_explain, explain_rows, explanation_of
from scorewire.testing._failures import FailedCallError, failure
from scorewire.testing._model import FakeModel, RowRefusedError, read_rows
from scorewire_contract.schema import Version
from scorewire_proto.v1 import models_pb2, prediction_pb2

MethodName: TypeAlias = Literal["Predict", "PredictStream", "ListModels", "GetModel", "GetServer", "Check"]

_WORKERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedCall:
    """A call, or a message of a stream, that a `FakeServer` received, whether it failed or not.

    `rows` are values by feature name, None for a missing value. They are empty if
    the call has no rows or the rows do not fit the schema. `metadata` is what the
    caller sent as such, without what gRPC adds. `explain` is what it wants explained; None for nothing.
    """

    method: MethodName
    model: str = ""
    version: str = ""
    routing_key: str = ""
    rows: tuple[dict[str, Any], ...] = ()
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    explain: Explain | None = None


class FakeServer:
    """A server of fake models on a loopback port, which runs from its construction until `stop`.

    Attributes:
        calls: the calls that it received, oldest first.
        delay: seconds to wait before it answers a call with rows.
        waiting: how many calls are waiting for that delay to pass.
        serving: whether the health service reports the server as serving.
        max_rows: the most rows in one call; 0 for no limit.
        records: whether predictions have ids, as those of a server with --records.
        caller: what it tells a caller of its rights, which it does not check; None for all rights.

    Args:
        models: the models to serve.
        credentials: TLS credentials; None for connections without TLS.
        port: the port to listen on; 0 for any that is free.
        max_message_bytes: the largest message; -1 for no limit.
        api_keys: the keys, or other bearer tokens, of which each call but that of the health service must
            show one; empty for none. They are in `self.api_keys`, and may be replaced: calls with others
            then fail with UNAUTHENTICATED.
    """

    def __init__(
        self,
        *models: FakeModel,
        credentials: grpc.ServerCredentials | None = None,
        port: int = 0,
        max_message_bytes: int = -1,
        api_keys: Iterable[str] = (),
    ) -> None:
        self.calls: list[ReceivedCall] = []
        self.delay = 0.0
        self.waiting = 0
        self.serving = True
        self.max_rows = 0
        self.records = False
        self.api_keys = frozenset(api_keys)
        self.caller: Caller | None = None
        self._started_at = datetime.now(UTC)
        self._writer, self._sequence = uuid4(), itertools.count()
        self._max_message_bytes = max_message_bytes
        self._models: dict[str, dict[str, FakeModel]] = defaultdict(dict)
        self._failures: dict[str, deque[status_pb2.Status]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        for model in models:
            self.serve(model)
        self._executor = ThreadPoolExecutor(_WORKERS, thread_name_prefix="scorewire-fake")
        self._server = grpc.server(
            self._executor,
            handlers=[self._handlers()],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
            ],
        )
        if credentials is None:
            self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        else:
            self.port = self._server.add_secure_port(f"127.0.0.1:{port}", credentials)
        self._server.start()

    @property
    def address(self) -> str:
        """HOST:PORT of the server."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Cancel the calls in flight, and close the port."""
        self._stopped.set()
        self._server.stop(grace=None).wait()
        self._executor.shutdown()

    def serve(self, model: FakeModel) -> None:
        """Add a model, or replace the one with the same name and version."""
        with self._lock:
            self._models[model.name][model.version] = model

    def fail(
        self,
        code: Code,
        message: str = "",
        *,
        times: int = 1,
        method: MethodName = "Predict",
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        """Make the next calls of a method fail.

        With `method="Predict"`, the next message of a stream may fail instead; the
        stream goes on. With `method="PredictStream"`, a stream ends with the error
        at its next message.

        Args:
            code: the gRPC status code of the failure.
            message: the status message.
            times: how many calls fail.
            method: the method whose calls fail.
            reason: the reason in the ErrorInfo; "" for no ErrorInfo.
            metadata: the metadata of the ErrorInfo.
            violations: the field violations of the BadRequest; empty for no BadRequest.
            retry_after: the seconds of the RetryInfo; None for no RetryInfo.
        """
        status = status_pb2.Status(code=code, message=message)
        if reason:
            info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)
            status.details.add().Pack(info)
        fields = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in violations
        ]
        if fields:
            status.details.add().Pack(error_details_pb2.BadRequest(field_violations=fields))
        if retry_after is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(round(retry_after * 1e9))
            status.details.add().Pack(retry)
        with self._lock:
            self._failures[method].extend([status] * times)

    def _handlers(self) -> grpc.GenericRpcHandler:
        unary: dict[Method, tuple[type[Message], Callable[[Any, Pairs], Message]]] = {
            PREDICT: (prediction_pb2.PredictRequest, self._predict),
            LIST_MODELS: (models_pb2.ListModelsRequest, self._list_models),
            GET_MODEL: (models_pb2.GetModelRequest, self._get_model),
            GET_SERVER: (models_pb2.GetServerRequest, self._get_server),
            HEALTH: (health_pb2.HealthCheckRequest, self._check),
        }
        handlers = {
            method.path: grpc.unary_unary_rpc_method_handler(
                _aborting(answer if method is HEALTH else self._admitting(answer)),
                request_deserializer=request.FromString,
                response_serializer=_serialize,
            )
            for method, (request, answer) in unary.items()
        }
        handlers[PREDICT_STREAM.path] = grpc.stream_stream_rpc_method_handler(
            self._predict_stream,
            request_deserializer=prediction_pb2.PredictStreamRequest.FromString,
            response_serializer=_serialize,
        )
        return _Handlers(handlers)

    def _admit(self, metadata: Pairs) -> None:
        if not self.api_keys:
            return
        shown = [value for key, value in metadata if key == "authorization"]
        if not (len(shown) == 1 and str(shown[0]).removeprefix("Bearer ") in self.api_keys):
            raise failure(Code.UNAUTHENTICATED, "UNAUTHENTICATED", "the call has no valid credential")

    def _admitting(self, answer: Callable[[Any, Pairs], Message]) -> Callable[[Any, Pairs], Message]:
        def admitted(request: Any, metadata: Pairs) -> Message:
            self._admit(metadata)
            return answer(request, metadata)

        return admitted

    def _predict(
        self, request: prediction_pb2.PredictRequest, metadata: Pairs
    ) -> prediction_pb2.PredictResponse:
        return self._answer(request, "Predict", metadata)

    def _predict_stream(
        self, requests: Iterator[prediction_pb2.PredictStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[prediction_pb2.PredictStreamResponse]:
        metadata = _metadata(context)
        for message in requests:
            answer = prediction_pb2.PredictStreamResponse(correlation_id=message.correlation_id)
            try:
                self._admit(metadata)
                self._maybe_fail("PredictStream")
            except FailedCallError as error:
                context.abort_with_status(_GrpcStatus(error.status))
            try:
                answer.response.CopyFrom(self._answer(message.request, "PredictStream", metadata))
            except FailedCallError as error:
                answer.error.CopyFrom(error.status)
            yield answer

    def _answer(
        self, request: prediction_pb2.PredictRequest, method: MethodName, metadata: Pairs
    ) -> prediction_pb2.PredictResponse:
        if self.delay:
            with self._lock:
                self.waiting += 1
            self._stopped.wait(self.delay)
            with self._lock:
                self.waiting -= 1
        begin = time.perf_counter()
        rows: list[dict[str, Any]] = []
        try:
            self._maybe_fail("Predict")
            model = self._find(request.model, request.version)
            schema = model.schema()
            if request.schema_fingerprint not in {"", schema.fingerprint}:
                raise failure(Code.FAILED_PRECONDITION, "SCHEMA_MISMATCH", "the schema is another one")
            check_explain(model, request)
            if 0 < self.max_rows < request.rows.row_count:
                raise failure(Code.RESOURCE_EXHAUSTED, "TOO_MANY_ROWS", f"more than {self.max_rows} rows")
            try:
                rows = read_rows(request.rows, schema)
            except ValueError as error:
                raise failure(Code.INVALID_ARGUMENT, "INVALID_REQUEST", str(error)) from error
        finally:
            self._receive(
                method,
                metadata,
                request.model,
                request.version,
                routing_key=request.routing_key,
                rows=rows,
                explain=Explain(top_k=request.explain.top_k, output=request.explain.output)
                if request.HasField("explain")
                else None,
            )
        response = prediction_pb2.PredictResponse(
            model=model.name, version=model.version, row_count=len(rows)
        )
        for output in schema.outputs:
            response.outputs.add(name=output.name)
        for index, row in enumerate(rows):
            try:
                values = model.outputs(dict(row))
            except RowRefusedError as error:
                values = [[float("nan")] * output.width for output in schema.outputs]
                response.errors.add(row=index, reason=error.reason, feature=error.feature, message=str(error))
            for answer, numbers in zip(response.outputs, values, strict=True):
                answer.numbers.extend(numbers)
        if request.HasField("explain"):
            refused = {error.row for error in response.errors}
            explained = [None if index in refused else row for index, row in enumerate(rows)]
            response.contributions.CopyFrom(explain_rows(model, explained, request.explain.top_k))
        if self.records:
            response.prediction_id = f"{self._writer}-{next(self._sequence)}"
        response.server_time_us = int((time.perf_counter() - begin) * 1e6)
        return response

    def _list_models(
        self,
        request: models_pb2.ListModelsRequest,  # noqa: ARG002 - a handler's signature
        metadata: Pairs,
    ) -> models_pb2.ListModelsResponse:
        self._receive("ListModels", metadata)
        self._maybe_fail("ListModels")
        with self._lock:
            names = sorted(self._models)
        return models_pb2.ListModelsResponse(models=[self._status(name) for name in names])

    def _get_model(self, request: models_pb2.GetModelRequest, metadata: Pairs) -> models_pb2.GetModelResponse:
        self._receive("GetModel", metadata, request.model, request.version)
        self._maybe_fail("GetModel")
        model = self._find(request.model, request.version)
        return models_pb2.GetModelResponse(
            status=self._status(model.name),
            version=model.version,
            schema=model.schema(),
            description=model.description,
            metrics=model.metrics,
            max_rows=self.max_rows,
            max_message_bytes=max(0, self._max_message_bytes),
        )

    def _get_server(
        self,
        request: models_pb2.GetServerRequest,  # noqa: ARG002 - a handler's signature
        metadata: Pairs,
    ) -> models_pb2.GetServerResponse:
        self._receive("GetServer", metadata)
        self._maybe_fail("GetServer")
        answer = models_pb2.GetServerResponse(version="0.0.0", engine="fake", description="a fake server")
        answer.started_at.FromDatetime(self._started_at)
        if self.caller is not None:
            answer.caller.CopyFrom(models_pb2.Caller(**asdict(self.caller)))
        return answer

    def _check(
        self, request: health_pb2.HealthCheckRequest, metadata: Pairs
    ) -> health_pb2.HealthCheckResponse:
        self._receive("Check", metadata, request.service)
        self._maybe_fail("Check")
        if request.service and not self._models.get(request.service):
            raise failure(Code.NOT_FOUND, "MODEL_NOT_FOUND", f"there is no model {request.service!r}")
        states = health_pb2.HealthCheckResponse
        return states(status=states.SERVING if self.serving else states.NOT_SERVING)

    def _status(self, name: str) -> models_pb2.ModelStatus:
        with self._lock:
            versions = sorted(map(Version, self._models[name]), reverse=True)
        status = models_pb2.ModelStatus(name=name, default_version=versions[0].text)
        for version in versions:
            entry = status.versions.add(version=version.text, state=models_pb2.VERSION_STATE_SERVING)
            entry.serving_since.GetCurrentTime()
            entry.explanations.append(explanation_of(self._models[name][version.text]))
        return status

    def _find(self, name: str, version: str) -> FakeModel:
        with self._lock:
            versions = dict(self._models.get(name, {}))
        if not versions:
            raise failure(Code.NOT_FOUND, "MODEL_NOT_FOUND", f"there is no model {name!r}")
        found = versions.get(version or max(versions, key=Version))
        if found is None:
            raise failure(Code.NOT_FOUND, "VERSION_NOT_FOUND", f"model {name!r} has no version {version!r}")
        return found

    def _receive(
        self,
        method: MethodName,
        metadata: Pairs,
        model: str = "",
        version: str = "",
        *,
        routing_key: str = "",
        rows: Sequence[dict[str, Any]] = (),
        explain: Explain | None = None,
    ) -> None:
        self.calls.append(
            ReceivedCall(
                method=method,
                model=model,
                version=version,
                routing_key=routing_key,
                rows=tuple(rows),
                explain=explain,
                metadata=metadata,
            )
        )

    def _maybe_fail(self, method: MethodName) -> None:
        with self._lock:
            if self._failures[method]:
                raise FailedCallError(self._failures[method].popleft())


class _GrpcStatus(grpc.Status):
    """A status with details, as `abort_with_status` takes it."""

    def __init__(self, status: status_pb2.Status) -> None:
        self.code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
        self.details = status.message
        self.trailing_metadata = (("grpc-status-details-bin", status.SerializeToString()),)


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._handlers = handlers

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        return self._handlers.get(handler_call_details.method)


def _metadata(context: grpc.ServicerContext) -> Pairs:
    return tuple((key, value) for key, value in context.invocation_metadata() if not is_reserved(key))


def _aborting(answer: Callable[[Any, Pairs], Message]) -> Callable[[Any, grpc.ServicerContext], Message]:
    def handle(request: Any, context: grpc.ServicerContext) -> Message:
        try:
            return answer(request, _metadata(context))
        except FailedCallError as error:
            context.abort_with_status(_GrpcStatus(error.status))

    return handle


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
