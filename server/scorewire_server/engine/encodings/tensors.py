"""The encoding of ModelInfer and ModelStreamInfer, of the Open Inference Protocol."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from scorewire_proto.inference import inference_pb2 as pb
from scorewire_server.engine.encodings.encoding import (
    Answer,
    CallFails,
    DecodedCall,
    EncodedVersion,
    Request,
    VersionName,
)
from scorewire_server.errors import MalformedMessageError, to_status

ROUTING_KEY_PARAMETER, PREDICTION_ID_PARAMETER = "routing_key", "prediction_id"


@dataclass(frozen=True, slots=True)
class _TensorCall:
    message: pb.ModelInferRequest

    @property
    def routing_key(self) -> str:
        parameters = self.message.parameters
        return parameters[ROUTING_KEY_PARAMETER].string_param if ROUTING_KEY_PARAMETER in parameters else ""

    @property
    def target(self) -> VersionName:
        return VersionName(self.message.model_name, self.message.model_version)

    def request(self, version: EncodedVersion, max_rows: int) -> Request:
        row_count, numbers, texts = version.tensors.read(self.message, max_rows)
        return Request(version.model, version.version, "", "", row_count, numbers, texts)


class TensorEncoding(CallFails):
    """The encoding of ModelInfer: a failure ends the call."""

    __slots__ = ()

    def decode(self, data: bytes) -> DecodedCall:
        """Read a ModelInferRequest."""
        try:
            return _TensorCall(pb.ModelInferRequest.FromString(data))
        except DecodeError:
            raise MalformedMessageError("the message does not parse as ModelInferRequest") from None

    def encode(self, call: DecodedCall, answer: Answer) -> bytes:
        """Write a ModelInferResponse."""
        return _response(call, answer).SerializeToString()


class TensorStreamEncoding(TensorEncoding):
    """The encoding of ModelStreamInfer: a failure is an answer, and the stream goes on."""

    __slots__ = ()

    def encode(self, call: DecodedCall, answer: Answer) -> bytes:
        """Write a ModelStreamInferResponse with scores."""
        return pb.ModelStreamInferResponse(infer_response=_response(call, answer)).SerializeToString()

    def encode_error(self, call: DecodedCall | None, error: Exception) -> bytes | None:
        """Write a ModelStreamInferResponse with the failure."""
        answer = pb.ModelStreamInferResponse(error_message=to_status(error).message)
        if isinstance(call, _TensorCall):
            answer.infer_response.id = call.message.id
        return answer.SerializeToString()


def _response(call: DecodedCall, answer: Answer) -> pb.ModelInferResponse:
    assert isinstance(call, _TensorCall)  # noqa: S101 - what decode made
    version = answer.version
    response = pb.ModelInferResponse(
        model_name=version.model, model_version=version.version, id=call.message.id
    )
    if answer.prediction_id:
        response.parameters[PREDICTION_ID_PARAMETER].string_param = answer.prediction_id
    version.tensors.write(call.message, response, answer.scores)
    return response
