"""What both clients do, without I/O: which calls make up a method, and what they mean.

A method of a client is a generator, its flow: it yields the calls to make and
is sent their answers, or thrown their errors. `Client` and `AsyncClient` only
differ in how they make a call.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from scorewire._errors import InternalError, InvalidArgumentError, InvalidRowsError, ScorewireError
from scorewire._methods import GET_MODEL, GET_SERVER, GET_STATISTICS, HEALTH, LIST_MODELS, PREDICT, Method
from scorewire._models import Model, ModelStatus, ServerInfo, model_from, server_from, status_from
from scorewire._predictions import AnswerDecoder, Prediction, Predictions
from scorewire._rows import RowEncoder, Rows
from scorewire._statistics import RouteStatistics, statistics_from
from scorewire_proto.v1 import models_pb2, packed_pb2

DEFAULT_TIMEOUT = 10.0
# Some 30 years. Not much further off, grpc's clock ends, and a call that was to end there ends at once.
MAX_TIMEOUT = 1e9
SCHEMA_MISMATCH = "SCHEMA_MISMATCH"
# How long rows are held against a remembered schema before it is asked for again.
RECHECK_SECONDS = 5.0
# Schemas that a client remembers, by model and version asked for.
MAX_SCHEMAS = 256

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One unary call to make; `deadline` is on the clock of `time.monotonic`."""

    method: Method
    request: Message
    deadline: float

    @property
    def timeout(self) -> float:
        """Seconds left."""
        return self.deadline - time.monotonic()


Flow: TypeAlias = Generator[Call, Any, _T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Whom rows are for.

    Raises:
        InvalidArgumentError: a part is not a str of valid Unicode.
    """

    model: str
    version: str
    routing_key: str = ""

    def __post_init__(self) -> None:
        for name in ("model", "version", "routing_key"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise InvalidArgumentError(f"{name} is a str, not {type(value).__name__}")
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidArgumentError(f"{name} is no valid Unicode") from None


class Codec:
    """Requests and answers of one schema."""

    def __init__(self, model: Model) -> None:
        self.made = time.monotonic()
        self.fingerprint = model.schema.fingerprint
        self._encoder = RowEncoder(model.schema)
        self._decoder = AnswerDecoder(model.schema)

    def request(self, route: Route, rows: Rows) -> packed_pb2.PackedPredictRequest:
        """The request to score the rows.

        Raises:
            InvalidRowsError: the rows do not fit the schema.
        """
        return packed_pb2.PackedPredictRequest(
            model=route.model,
            version=route.version,
            schema_fingerprint=self.fingerprint,
            routing_key=route.routing_key,
            rows=self._encoder.encode(rows),
        )

    def result(
        self,
        rows: Rows,
        request: packed_pb2.PackedPredictRequest,
        answer: packed_pb2.PackedPredictResponse,
    ) -> Prediction | Predictions:
        """What the answer says: of one row given as a mapping, its prediction; else of the batch."""
        predictions = self._decoder.decode(answer, request.rows.row_count)
        return predictions[0] if isinstance(rows, Mapping) else predictions


class Calls:
    """The flows of one client and the schemas that it remembers; safe to share between threads.

    Raises:
        ValueError: as `check_timeout` has it.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = check_timeout(timeout)
        self._lock = threading.Lock()
        self._codecs: OrderedDict[tuple[str, str], Codec] = OrderedDict()

    def deadline(self, timeout: float | None) -> float:
        """The moment until which a method that begins now may take.

        Raises:
            ValueError: as `check_timeout` has it.
        """
        return time.monotonic() + (self.timeout if timeout is None else check_timeout(timeout))

    def predict(
        self, model: str, rows: Rows, *, version: str, routing_key: str, timeout: float | None
    ) -> Flow[Prediction | Predictions]:
        """Score rows; where the schema changed meanwhile, fetch it anew and try once more."""
        deadline = self.deadline(timeout)
        route = Route(model=model, version=version, routing_key=routing_key)
        codec = yield from self.codec(route, deadline)
        codec, request = yield from self.request(codec, route, rows, deadline)
        try:
            answer = yield Call(PREDICT, request, deadline)
        except ScorewireError as error:
            if error.reason != SCHEMA_MISMATCH:
                raise
            codec = yield from self.codec(route, deadline, stale=codec)
            request = codec.request(route, rows)
            answer = yield Call(PREDICT, request, deadline)
        return codec.result(rows, request, answer)

    def models(self, timeout: float | None) -> Flow[list[ModelStatus]]:
        """All models."""
        answer = yield Call(LIST_MODELS, models_pb2.ListModelsRequest(), self.deadline(timeout))
        return [status_from(status) for status in answer.models]

    def model(self, name: str, version: str, timeout: float | None) -> Flow[Model]:
        """One model."""
        return self._model(Route(model=name, version=version), self.deadline(timeout))

    def change(self, method: Method, request: Message, timeout: float | None) -> Flow[ModelStatus]:
        """Change something; the model as it then is."""
        answer = yield Call(method, request, self.deadline(timeout))
        return status_from(answer.status)

    def statistics(self, model: str, timeout: float | None) -> Flow[list[RouteStatistics]]:
        """What was answered on the routes of a model, or of all."""
        request = models_pb2.GetStatisticsRequest(model=Route(model=model, version="").model)
        answer = yield Call(GET_STATISTICS, request, self.deadline(timeout))
        return [statistics_from(route) for route in answer.routes]

    def server(self, timeout: float | None) -> Flow[ServerInfo]:
        """Which server this is."""
        answer = yield Call(GET_SERVER, models_pb2.GetServerRequest(), self.deadline(timeout))
        return server_from(answer)

    def health(self, model: str | None, timeout: float | None) -> Flow[bool]:
        """Whether the server, or a model, serves."""
        # The health service knows a model by its name, and the server by none.
        request = health_pb2.HealthCheckRequest(service=model or "")
        answer = yield Call(HEALTH, request, self.deadline(timeout))
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def request(
        self, codec: Codec, route: Route, rows: Rows, deadline: float
    ) -> Flow[tuple[Codec, packed_pb2.PackedPredictRequest]]:
        """A request to score rows, and the codec that it was made with.

        Rows that do not fit a schema remembered for a while may fit the one
        that the server has now.
        """
        try:
            return codec, codec.request(route, rows)
        except InvalidRowsError:
            if time.monotonic() - codec.made < RECHECK_SECONDS:
                raise
            fresh = yield from self.codec(route, deadline, stale=codec)
            if fresh.fingerprint == codec.fingerprint:
                raise
        return fresh, fresh.request(route, rows)

    def codec(self, route: Route, deadline: float, *, stale: Codec | None = None) -> Flow[Codec]:
        """The remembered codec of a model, or one of the schema that the server has now.

        Args:
            route: the model and the version, as the caller gave it.
            deadline: as in `Call`.
            stale: a codec that is in doubt; it is forgotten.
        """
        key = (route.model, route.version)
        with self._lock:
            codec = self._codecs.get(key)
            if codec is not None and codec is not stale:
                self._codecs.move_to_end(key)
                return codec
        codec = Codec((yield from self._model(route, deadline)))
        with self._lock:
            self._codecs[key] = codec
            self._codecs.move_to_end(key)
            while len(self._codecs) > MAX_SCHEMAS:
                self._codecs.popitem(last=False)
        return codec

    def _model(self, route: Route, deadline: float) -> Flow[Model]:
        request = models_pb2.GetModelRequest(model=route.model, version=route.version)
        return model_from((yield Call(GET_MODEL, request, deadline)))


def check_timeout(timeout: float) -> float:
    """The timeout itself, in seconds.

    Raises:
        ValueError: it is not positive, or longer than 10^9 seconds.
    """
    if not 0 < timeout <= MAX_TIMEOUT:
        raise ValueError(
            f"a timeout is a positive number of seconds, at most {MAX_TIMEOUT:g}, not {timeout!r}"
        )
    return timeout


def check_answer(answer: _T | None) -> _T:
    """The answer itself.

    Raises:
        InternalError: it is None, which is how grpc says that it could not be read.
    """
    if answer is None:
        raise InternalError("the server's answer cannot be read")
    return answer
