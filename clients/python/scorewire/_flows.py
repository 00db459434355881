"""What a method of a client does, without I/O, so that `Client` and `AsyncClient` share it.

A flow is a generator, one for each call of a client's method. It yields each
`Call` that the client is to make, or `Sleep` to wait. The client sends the
response back into the generator, or throws the `ScorewireError` of a call that
failed. The generator
returns the method's result. `Client` and `AsyncClient` differ only in how they
make a call.

A client remembers the schema and the limits of each model that it has sent rows
to. A call with a credential of its own, in its metadata, uses only those that a call
with the same credential has fetched: the server tells no schema to one without a
right to it. It fetches them again in two cases:

- The server answers SCHEMA_MISMATCH; or TOO_MANY_ROWS, or that a message is too
  large, where it once told another limit. The rows are then encoded anew and sent
  once more.
- Rows do not fit the schema, and it was fetched more than `RECHECK_SECONDS` ago.

Rows beyond the limits go in several calls, one after the other.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from scorewire._attempts import is_limited
from scorewire._channels import DEFAULT_MAX_MESSAGE_BYTES
from scorewire._codec import LARGER_THAN_MAX, Codec, Exchange, Route
from scorewire._errors import (
    DeadlineExceededError,
    InternalError,
    InvalidRowsError,
    PermissionDeniedError,
    ResourceExhaustedError,
    ScorewireError,
    UnavailableError,
)
from scorewire._explain import Explaining, explain_message
from scorewire._ledger import RecordLedger, ledger_from
from scorewire._methods import (
    GET_MODEL,
    GET_SERVER,
    GET_STATISTICS,
    HEALTH,
    LIST_MODELS,
    OPEN_INFERENCE,
    PREDICT,
    Method,
)
from scorewire._models import RIGHTS, Model, ModelStatus, ServerInfo, model_from, server_from, status_from
from scorewire._predictions import Prediction, Predictions
from scorewire._readiness import unreadiness
from scorewire._rows import MAPPINGS, EncodedRows, Rows
from scorewire._statistics import RouteStatistics, statistics_from
from scorewire_proto.v1 import models_pb2

DEFAULT_TIMEOUT = 10.0
# Of `wait_ready`, in seconds.
READY_TIMEOUT = 120.0
# About 30 years. grpc's clock overflows not much later, and a deadline beyond it counts as already past.
MAX_TIMEOUT = 1e9
_SCHEMA_MISMATCH = "SCHEMA_MISMATCH"
_TOO_MANY_ROWS = "TOO_MANY_ROWS"
_PERMISSION_DENIED = "PERMISSION_DENIED"
RECHECK_SECONDS = 5.0
# The most schemas that a client remembers, by the model and version that the caller named, and by the
# caller's own credential. Callers with the same schema share it.
MAX_SCHEMAS = 1024
# How often `wait_ready` asks, and how long it waits for one answer.
_FIRST_POLL_SECONDS = 0.05
_MAX_POLL_SECONDS = 1.0
_POLL_TIMEOUT = 5.0

_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class Call:
    """One unary call to make.

    Attributes:
        method: the gRPC method.
        request: a message, or one that is serialized.
        deadline: a reading of `time.monotonic`.
        is_poll: whether the flow makes the call again until it succeeds.
    """

    method: Method
    request: Message | bytes
    deadline: float
    is_poll: bool = False

    @property
    def timeout(self) -> float:
        """Seconds left until the deadline."""
        return self.deadline - time.monotonic()


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait before the next step."""

    seconds: float


Flow: TypeAlias = Generator[Call | Sleep, Any, _T]


class Flows:
    """The flows of one client, and the schemas that it remembers; safe to share between threads.

    Raises:
        ValueError: the timeout is not positive, or longer than `MAX_TIMEOUT`.
    """

    def __init__(self, timeout: float, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> None:
        self.timeout = check_timeout(timeout)
        self._max_message_bytes = max_message_bytes
        self._lock = threading.Lock()
        self._codecs: OrderedDict[tuple[str, str, bytes], Codec] = OrderedDict()
        # The same ones, by all that they depend on: callers share them.
        self._shared: WeakValueDictionary[tuple[Any, ...], Codec] = WeakValueDictionary()

    def deadline(self, timeout: float | None) -> float:
        """The deadline of a method that begins now; None takes the client's timeout.

        Raises:
            ValueError: the timeout is not positive, or longer than `MAX_TIMEOUT`.
        """
        return time.monotonic() + (self.timeout if timeout is None else check_timeout(timeout))

    def predict(
        self,
        model: str,
        rows: Rows,
        *,
        version: str,
        routing_key: str,
        timeout: float | None,
        explain: Explaining = False,
        caller: bytes = b"",
    ) -> Flow[Prediction | Predictions]:
        """Predict rows; where the model's schema has changed, fetch it and send the rows once more."""
        deadline = self.deadline(timeout)
        route = Route(
            model=model,
            version=version,
            routing_key=routing_key,
            caller=caller,
            explain=explain_message(explain),
        )
        codec = self._remembered(route) or (yield from self.codec(route, deadline))
        try:
            encoded = codec.encode(rows)
        except InvalidRowsError:
            codec, encoded = yield from self.encode(codec, route, rows, deadline)
        try:
            if isinstance(rows, MAPPINGS):
                response = yield Call(PREDICT, codec.row_request(route, encoded), deadline)
                return codec.decode_row(response, None if route.explain is None else encoded)
            return (yield from self._exchange(codec, route, encoded, deadline))
        except ScorewireError as error:
            fresh = yield from self.renewed(codec, route, error, deadline)
            if fresh is None:
                raise
        encoded = fresh.encode(rows)
        if isinstance(rows, MAPPINGS):
            response = yield Call(PREDICT, fresh.row_request(route, encoded), deadline)
            return fresh.decode_row(response, None if route.explain is None else encoded)
        return (yield from self._exchange(fresh, route, encoded, deadline))

    def _exchange(
        self, codec: Codec, route: Route, encoded: EncodedRows, deadline: float
    ) -> Flow[Predictions]:
        exchange = Exchange(codec, route, encoded)
        predictions = None
        while predictions is None:
            predictions = exchange.take((yield Call(PREDICT, exchange.request, deadline)))
        return predictions

    def models(self, timeout: float | None) -> Flow[list[ModelStatus]]:
        """List all models."""
        response = yield Call(LIST_MODELS, models_pb2.ListModelsRequest(), self.deadline(timeout))
        return [status_from(status) for status in response.models]

    def model(self, name: str, version: str, timeout: float | None) -> Flow[Model]:
        """Get one model."""
        return self._model(Route(model=name, version=version), self.deadline(timeout))

    def change(self, method: Method, request: Message, timeout: float | None) -> Flow[ModelStatus]:
        """Make a change to a model; returns the model's status after it."""
        response = yield Call(method, request, self.deadline(timeout))
        return status_from(response.status)

    def statistics(self, model: str, timeout: float | None) -> Flow[list[RouteStatistics]]:
        """Get the statistics of one model, or of all models where `model` is empty."""
        request = models_pb2.GetStatisticsRequest(model=Route(model=model, version="").model)
        response = yield Call(GET_STATISTICS, request, self.deadline(timeout))
        return [statistics_from(route) for route in response.routes]

    def record_ledger(self, timeout: float | None) -> Flow[RecordLedger | None]:
        """Get the ledger of records; None if the server keeps none."""
        response = yield Call(GET_STATISTICS, models_pb2.GetStatisticsRequest(), self.deadline(timeout))
        return ledger_from(response.records) if response.HasField("records") else None

    def open_inference(self, request: Message, timeout: float | None) -> Flow[Any]:
        """Call the method of the Open Inference Protocol that takes this request.

        Raises:
            TypeError: there is no such method.
        """
        method = OPEN_INFERENCE.get(type(request))
        if method is None:
            raise TypeError(f"no method of the Open Inference Protocol takes {type(request).__name__}")
        return (yield Call(method, request, self.deadline(timeout)))

    def server(self, timeout: float | None) -> Flow[ServerInfo]:
        """Get information about the server."""
        response = yield Call(GET_SERVER, models_pb2.GetServerRequest(), self.deadline(timeout))
        return server_from(response)

    def health(self, model: str | None, timeout: float | None) -> Flow[bool]:
        """Check whether the server, or one model, is serving."""
        # In the health service an empty name means the server as a whole.
        request = health_pb2.HealthCheckRequest(service=model or "")
        response = yield Call(HEALTH, request, self.deadline(timeout))
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    def wait_ready(self, model: str, version: str, timeout: float | None) -> Flow[None]:
        """Wait until the server, one model or one version serves.

        Raises:
            FailedPreconditionError: no version can serve, because bundles were refused.
            PermissionDeniedError: the caller has no right to the model, and would never see it.
            DeadlineExceededError: the timeout has passed; the message tells the last state.
        """
        deadline = self.deadline(timeout)
        begin = time.monotonic()
        route = Route(model=model, version=version)
        pause = _FIRST_POLL_SECONDS
        state = ""
        while True:
            until = min(deadline, time.monotonic() + _POLL_TIMEOUT)
            try:
                if model:
                    state = unreadiness((yield from self._polled(model, until)), route)
                else:
                    response = yield Call(HEALTH, health_pb2.HealthCheckRequest(), until, is_poll=True)
                    is_serving = response.status == health_pb2.HealthCheckResponse.SERVING
                    state = "" if is_serving else "the server answers, and is not ready"
            except UnavailableError as error:
                state = f"no answer from the server: {error}"
            except ResourceExhaustedError as error:
                if not is_limited(error):
                    raise
                state = state or f"{error}"
                pause = max(pause, error.retry_after or 0.0)
            except DeadlineExceededError as error:
                # The last call is cut short, and knows less than the one before it.
                state = state or f"no answer from the server: {error}"
            if not state:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                waited = time.monotonic() - begin
                raise DeadlineExceededError(f"not ready after {waited:.1f} s: {state}")
            yield Sleep(min(pause, left))
            pause = min(2 * pause, _MAX_POLL_SECONDS)

    def _polled(self, model: str, until: float) -> Flow[list[ModelStatus]]:
        """List all models for a caller who waits for one of them.

        Raises:
            PermissionDeniedError: the caller has no right to that model, so no list will have it.
        """
        request = models_pb2.ListModelsRequest()
        response = yield from _about(model, Call(LIST_MODELS, request, until, is_poll=True))
        models = [status_from(status) for status in response.models]
        if all(status.name != model for status in models):
            asked = Call(GET_SERVER, models_pb2.GetServerRequest(), until, is_poll=True)
            caller = server_from((yield from _about(model, asked))).caller
            if caller is not None and not any(caller.may(right, model) for right in RIGHTS):
                raise _no_right(model)
        return models

    def encode(
        self, codec: Codec, route: Route, rows: Rows, deadline: float
    ) -> Flow[tuple[Codec, EncodedRows]]:
        """Encode rows; where they do not fit an old schema, fetch the schema and try once more.

        Returns:
            The codec of the schema that the rows fit, and the encoded rows.

        Raises:
            InvalidRowsError: the rows do not fit the schema.
        """
        try:
            return codec, codec.encode(rows)
        except InvalidRowsError:
            if time.monotonic() - codec.created < RECHECK_SECONDS:
                raise
            fresh = yield from self.codec(route, deadline, stale=codec)
            if fresh.fingerprint == codec.fingerprint:
                raise
        return fresh, fresh.encode(rows)

    def renewed(
        self, codec: Codec, route: Route, error: ScorewireError, deadline: float
    ) -> Flow[Codec | None]:
        """The codec to try again with, where an error tells that `codec` is out of date; else None."""
        is_beyond = error.reason == _TOO_MANY_ROWS or (
            isinstance(error, ResourceExhaustedError) and LARGER_THAN_MAX in str(error)
        )
        if error.reason != _SCHEMA_MISMATCH and not is_beyond:
            return None
        fresh = yield from self.codec(route, deadline, stale=codec)
        if is_beyond and fresh.limits == codec.limits:
            return None
        return fresh

    def codec(self, route: Route, deadline: float, *, stale: Codec | None = None) -> Flow[Codec]:
        """The remembered codec of a model, or one made from the schema that the server has now.

        Args:
            route: the model and version that the caller named.
            deadline: as in `Call`.
            stale: a codec that may be out of date, and is not returned.
        """
        codec = self._remembered(route)
        if codec is not None and codec is not stale:
            return codec
        key = (route.model, route.version, route.caller)
        model = yield from self._model(route, deadline)
        same = (model.name, model.version, model.schema.fingerprint, model.max_rows, model.max_message_bytes)
        with self._lock:
            codec = self._shared.get(same)
        if codec is None:
            codec = Codec(model, self._max_message_bytes)
        codec.created = time.monotonic()
        with self._lock:
            self._codecs[key] = self._shared[same] = codec
            self._codecs.move_to_end(key)
            while len(self._codecs) > MAX_SCHEMAS:
                self._codecs.popitem(last=False)
        return codec

    def _remembered(self, route: Route) -> Codec | None:
        key = (route.model, route.version, route.caller)
        with self._lock:
            codec = self._codecs.get(key)
            if codec is not None:
                self._codecs.move_to_end(key)
            return codec

    def _model(self, route: Route, deadline: float) -> Flow[Model]:
        request = models_pb2.GetModelRequest(model=route.model, version=route.version)
        return model_from((yield from _about(route.model, Call(GET_MODEL, request, deadline))))


def _about(model: str, call: Call) -> Flow[Any]:
    """Make a call that any right to a model allows.

    Raises:
        PermissionDeniedError: the caller has no right; the message names the model.
    """
    try:
        return (yield call)
    except PermissionDeniedError as error:
        if error.reason != _PERMISSION_DENIED:
            raise
        raise _no_right(model) from error


def _no_right(model: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"the caller has no right to the model {model!r}: neither {RIGHTS[0]}, {RIGHTS[1]} nor {RIGHTS[2]}",
        reason=_PERMISSION_DENIED,
    )


def check_timeout(timeout: float) -> float:
    """Return the timeout, in seconds.

    Raises:
        ValueError: the timeout is not positive, or longer than `MAX_TIMEOUT`.
    """
    if not 0 < timeout <= MAX_TIMEOUT:
        raise ValueError(
            f"a timeout is a positive number of seconds, at most {MAX_TIMEOUT:g}, not {timeout!r}"
        )
    return timeout


def check_response(response: _T | None) -> _T:
    """Return the response.

    Raises:
        InternalError: the response is None, which is what grpc gives where it cannot parse one.
    """
    if response is None:
        raise InternalError("the server's response cannot be parsed")
    return response
