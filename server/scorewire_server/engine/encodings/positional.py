"""The encoding of Predict and PredictStream, read and written without a loop per number.

The messages of packed.proto are twins of the real ones, and have each run of packed
doubles as one piece of bytes. Doubles that a writer did not pack are not in a twin:
they are among its unknown fields. In that case the real message is parsed, so that
the answer never depends on how a request was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from numpy.typing import NDArray

from scorewire_proto.v1 import packed_pb2, prediction_pb2
from scorewire_server.engine.encodings.encoding import Answer, CallFails, DecodedCall, Request
from scorewire_server.engine.explaining import Explain, Explained
from scorewire_server.errors import MalformedMessageError, to_status

_DOUBLE = np.dtype("<f8")
_FIXED64 = 1
_NONE = np.empty(0, dtype=np.float64)
_NUMBERS_FIELD = packed_pb2.PackedRows.NUMBERS_FIELD_NUMBER

_Twin = TypeVar("_Twin", packed_pb2.PackedPredictRequest, packed_pb2.PackedPredictStreamRequest)
_True = TypeVar("_True", prediction_pb2.PredictRequest, prediction_pb2.PredictStreamRequest)


def malformed() -> MalformedMessageError:
    """The failure of a message that does not parse."""
    return MalformedMessageError("the message is not one that this method takes: send scorewire.v1 messages")


def decode(data: bytes) -> Request:
    """Read a PredictRequest.

    Raises:
        MalformedMessageError: the bytes do not parse as this message.
    """
    twin = _parse(data, packed_pb2.PackedPredictRequest)
    if _has_unpacked(twin):
        message = _parse_true(data, prediction_pb2.PredictRequest)
        return _request(twin, np.array(message.rows.numbers, dtype=np.float64))
    return _request(twin, _numbers(twin.rows.numbers))


def decode_stream(data: bytes) -> Request:
    """Read a PredictStreamRequest: the request in it, with its correlation id.

    Raises:
        MalformedMessageError: the bytes do not parse as this message.
    """
    twin = _parse(data, packed_pb2.PackedPredictStreamRequest)
    if _has_unpacked(twin.request):
        message = _parse_true(data, prediction_pb2.PredictStreamRequest)
        numbers = np.array(message.request.rows.numbers, dtype=np.float64)
    else:
        numbers = _numbers(twin.request.rows.numbers)
    request = _request(twin.request, numbers)
    request.correlation_id = twin.correlation_id
    return request


class PositionalEncoding(CallFails):
    """The encoding of Predict: a failure ends the call."""

    __slots__ = ()
    decode = staticmethod(decode)

    def encode(self, call: DecodedCall, answer: Answer) -> bytes:  # noqa: ARG002 - the encodings share a signature
        """Write a PredictResponse."""
        response = packed_pb2.PackedPredictResponse()
        _fill(response, answer)
        return response.SerializeToString()


class PositionalStreamEncoding:
    """The encoding of PredictStream: a failure is an answer, and the stream goes on."""

    __slots__ = ()
    decode = staticmethod(decode_stream)

    def encode(self, call: DecodedCall, answer: Answer) -> bytes:
        """Write a PredictStreamResponse with scores."""
        response = packed_pb2.PackedPredictStreamResponse(correlation_id=_correlation_id(call))
        _fill(response.response, answer)
        return response.SerializeToString()

    def encode_error(self, call: DecodedCall | None, error: Exception) -> bytes | None:
        """Write a PredictStreamResponse with the failure."""
        return packed_pb2.PackedPredictStreamResponse(
            correlation_id=_correlation_id(call), error=to_status(error)
        ).SerializeToString()


def _correlation_id(call: DecodedCall | None) -> int:
    return call.correlation_id if isinstance(call, Request) else 0


def _fill(response: packed_pb2.PackedPredictResponse, answer: Answer) -> None:
    version, row_count, scores, server_ns, prediction_id, explained = answer
    response.model = version.model
    response.version = version.version
    response.row_count = row_count
    for name, values in zip(version.scorer.output_names, scores.outputs, strict=True):
        if values.dtype == object:
            response.outputs.add(name=name, texts=values.ravel().tolist())
        else:
            response.outputs.add(name=name, numbers=(values.astype(_DOUBLE, copy=False).tobytes(),))
    for error in scores.errors:
        response.errors.add(row=error.row, reason=error.reason, feature=error.feature, message=error.message)
    response.server_time_us = server_ns // 1000
    response.model_time_us = scores.model_ns // 1000
    response.prediction_id = prediction_id
    if explained is not None:
        _fill_contributions(response.contributions, explained)


def _fill_contributions(message: packed_pb2.PackedContributions, explained: Explained) -> None:
    explainer, values = explained.explainer, explained.values
    message.output, message.link = explainer.output, explainer.told.link
    message.labels.extend(explainer.told.labels)
    message.base.extend(explainer.base)
    message.margins.append(explained.margins.astype(_DOUBLE, copy=False).tobytes())
    columns: Sequence[str] = explainer.columns
    if explained.chosen is not None:
        used = np.unique(explained.chosen)
        message.places.extend(np.searchsorted(used, explained.chosen).ravel().tolist())
        columns = [columns[column] for column in used.tolist()]
    message.columns.extend(columns)
    message.values.append(values.astype(_DOUBLE, copy=False).tobytes())


def _parse(data: bytes, kind: type[_Twin]) -> _Twin:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise malformed() from None


def _parse_true(data: bytes, kind: type[_True]) -> _True:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise malformed() from None


def _has_unpacked(twin: packed_pb2.PackedPredictRequest) -> bool:
    """Whether unpacked doubles are among the unknown fields."""
    unknown = UnknownFieldSet(twin.rows)
    return any(
        unknown[i].field_number == _NUMBERS_FIELD and unknown[i].wire_type == _FIXED64
        for i in range(len(unknown))
    )


def _numbers(pieces: Sequence[bytes]) -> NDArray[np.float64]:
    """The doubles of all pieces, in order."""
    if any(len(piece) % _DOUBLE.itemsize for piece in pieces):
        raise malformed()
    if len(pieces) == 1:
        return np.frombuffer(pieces[0], dtype=_DOUBLE)
    return np.frombuffer(b"".join(pieces), dtype=_DOUBLE) if pieces else _NONE


def _request(twin: packed_pb2.PackedPredictRequest, numbers: NDArray[np.float64]) -> Request:
    return Request(
        model=twin.model,
        version=twin.version,
        schema_fingerprint=twin.schema_fingerprint,
        routing_key=twin.routing_key,
        row_count=twin.rows.row_count,
        numbers=numbers,
        texts=twin.rows.texts,
        explain=Explain(twin.explain.top_k, twin.explain.output) if twin.HasField("explain") else None,
    )
