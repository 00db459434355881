"""The encodings of prediction calls beside the positional one: tensors and typed messages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from google.protobuf.message import DecodeError

from scorewire_contract.scoring import Scores
from scorewire_contract.typed import PREDICT, PREDICT_BATCH, PREDICT_STREAM
from scorewire_proto.inference import inference_pb2 as pb
from scorewire_server.engine.encodings.encoding import Asked, Request
from scorewire_server.engine.snapshot import LoadedVersion, Route, Snapshot
from scorewire_server.engine.statistics import (
    MODEL_INFER,
    MODEL_STREAM_INFER,
    TYPED_PREDICT,
    TYPED_PREDICT_BATCH,
    TYPED_PREDICT_STREAM,
)
from scorewire_server.engine.validation import find_route
from scorewire_server.errors import MalformedMessageError, to_status

INFERENCE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
# By which typed calls name what their rows do not.
VERSION_METADATA, ROUTING_KEY_METADATA = "scorewire-version", "scorewire-routing-key"
ROUTING_KEY_PARAMETER = "routing_key"


@dataclass(frozen=True, slots=True)
class _AskedTensors:
    message: pb.ModelInferRequest

    @property
    def routing_key(self) -> str:
        parameters = self.message.parameters
        return parameters[ROUTING_KEY_PARAMETER].string_param if ROUTING_KEY_PARAMETER in parameters else ""

    def route(self, snapshot: Snapshot) -> Route:
        return find_route(snapshot, self.message.model_name, self.message.model_version)

    def request(self, version: LoadedVersion, max_rows: int) -> Request:
        row_count, numbers, texts = version.tensors.read(self.message, max_rows)
        return Request(version.model, version.version, "", "", row_count, numbers, texts)


@dataclass(frozen=True, slots=True)
class TensorEncoding:
    """ModelInfer's."""

    method: ClassVar[str] = MODEL_INFER
    streams: ClassVar[bool] = False

    def decode(self, data: bytes) -> Asked:
        """Read a ModelInferRequest."""
        try:
            return _AskedTensors(pb.ModelInferRequest.FromString(data))
        except DecodeError:
            raise MalformedMessageError("the message is no ModelInferRequest") from None

    def encode(
        self,
        asked: Asked,
        version: LoadedVersion,
        row_count: int,  # noqa: ARG002 - the encodings share a signature
        scores: Scores,
        server_ns: int,  # noqa: ARG002
    ) -> bytes:
        """Write a ModelInferResponse."""
        return self._answer(asked, version, scores).SerializeToString()

    def encode_error(self, asked: Asked | None, error: Exception) -> bytes | None:  # noqa: ARG002 - as above
        """None: the call fails."""
        return None

    @staticmethod
    def _answer(asked: Asked, version: LoadedVersion, scores: Scores) -> pb.ModelInferResponse:
        assert isinstance(asked, _AskedTensors)  # noqa: S101 - what decode made
        response = pb.ModelInferResponse(
            model_name=version.model, model_version=version.version, id=asked.message.id
        )
        version.tensors.write(asked.message, response, scores)
        return response


@dataclass(frozen=True, slots=True)
class TensorStreamEncoding(TensorEncoding):
    """ModelStreamInfer's: a failure is an answer, and the stream lives on."""

    method: ClassVar[str] = MODEL_STREAM_INFER
    streams: ClassVar[bool] = True

    def encode(
        self,
        asked: Asked,
        version: LoadedVersion,
        row_count: int,  # noqa: ARG002 - as above
        scores: Scores,
        server_ns: int,  # noqa: ARG002
    ) -> bytes:
        """Write a ModelStreamInferResponse with scores."""
        answer = pb.ModelStreamInferResponse(infer_response=self._answer(asked, version, scores))
        return answer.SerializeToString()

    def encode_error(self, asked: Asked | None, error: Exception) -> bytes | None:
        """Write a ModelStreamInferResponse with the failure."""
        answer = pb.ModelStreamInferResponse(error_message=to_status(error).message)
        if isinstance(asked, _AskedTensors):
            answer.infer_response.id = asked.message.id
        return answer.SerializeToString()


@dataclass(frozen=True, slots=True)
class _AskedRows:
    encoding: TypedEncoding
    data: bytes

    @property
    def routing_key(self) -> str:
        return self.encoding.routing_key

    def route(self, snapshot: Snapshot) -> Route:
        encoding = self.encoding
        return snapshot.major_route(encoding.model, encoding.major, encoding.version)

    def request(self, version: LoadedVersion, max_rows: int) -> Request:
        codec = version.typed
        if self.encoding.name == PREDICT_BATCH:
            row_count, numbers, texts = codec.read_rows(self.data, max_rows)
        else:
            row_count, numbers, texts = codec.read_row(self.data)
        return Request(version.model, version.version, "", "", row_count, numbers, texts)


@dataclass(frozen=True, slots=True)
class TypedEncoding:
    """That of a method of a model's typed service, with what a call's metadata say."""

    name: str
    model: str
    major: int
    version: str = ""
    routing_key: str = ""

    @property
    def method(self) -> str:
        """Its name in statistics."""
        return _TYPED_METHODS[self.name]

    @property
    def streams(self) -> bool:
        """Whether it is PredictStream's."""
        return self.name == PREDICT_STREAM

    def decode(self, data: bytes) -> Asked:
        """Leave the bytes for the version that is to answer, since only it knows its rows."""
        return _AskedRows(self, data)

    def encode(
        self,
        asked: Asked,  # noqa: ARG002 - the encodings share a signature
        version: LoadedVersion,
        row_count: int,
        scores: Scores,
        server_ns: int,  # noqa: ARG002
    ) -> bytes:
        """Write a prediction, or all of a batch."""
        if self.name == PREDICT_BATCH:
            return version.typed.write_predictions(row_count, scores)
        if self.name == PREDICT and scores.errors:
            raise version.typed.refusal(scores.errors[0])
        return version.typed.write_prediction(scores)

    def encode_error(self, asked: Asked | None, error: Exception) -> bytes | None:  # noqa: ARG002 - as above
        """None: the call fails."""
        return None


def typed_encoding(
    snapshot: Snapshot, path: str, metadata: Iterable[tuple[str, str | bytes]]
) -> TypedEncoding | None:
    """That of a path, where it is a method of a typed service that a snapshot has."""
    service, _, name = path[1:].rpartition("/")
    found = snapshot.services.get(service)
    if found is None or name not in _TYPED_METHODS:
        return None
    told = {key: str(value) for key, value in metadata if key in (VERSION_METADATA, ROUTING_KEY_METADATA)}
    return TypedEncoding(
        name,
        found.model,
        found.major,
        told.get(VERSION_METADATA, ""),
        told.get(ROUTING_KEY_METADATA, ""),
    )


_TYPED_METHODS = {
    PREDICT: TYPED_PREDICT,
    PREDICT_BATCH: TYPED_PREDICT_BATCH,
    PREDICT_STREAM: TYPED_PREDICT_STREAM,
}
