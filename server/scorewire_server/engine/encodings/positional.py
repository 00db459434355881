"""Prediction messages as bytes, read and written without a loop per number.

The twin messages of packed.proto see each run of doubles as one piece of bytes.
They lack one thing: doubles that a writer did not pack, which stand among a
twin's unknown fields. Then the true message is read instead, so that the answer
never depends on how a request was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

import numpy as np
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from google.rpc import status_pb2
from numpy.typing import NDArray

from scorewire_contract.scoring import Scores
from scorewire_proto.v1 import packed_pb2, prediction_pb2
from scorewire_server.engine.encodings.encoding import Asked, Request
from scorewire_server.engine.snapshot import LoadedVersion
from scorewire_server.engine.statistics import PREDICT, PREDICT_STREAM
from scorewire_server.engine.validation import malformed
from scorewire_server.errors import to_status

_DOUBLE = np.dtype("<f8")
_FIXED64 = 1
_NONE = np.empty(0, dtype=np.float64)
_NUMBERS_FIELD = packed_pb2.PackedRows.NUMBERS_FIELD_NUMBER

_Twin = TypeVar("_Twin", packed_pb2.PackedPredictRequest, packed_pb2.PackedPredictStreamRequest)
_True = TypeVar("_True", prediction_pb2.PredictRequest, prediction_pb2.PredictStreamRequest)


def decode(data: bytes) -> Request:
    """Read a PredictRequest.

    Raises:
        MalformedMessageError: the bytes are none.
    """
    twin = _parse(data, packed_pb2.PackedPredictRequest)
    if _has_unpacked(twin):
        message = _parse_true(data, prediction_pb2.PredictRequest)
        return _request(twin, np.array(message.rows.numbers, dtype=np.float64))
    return _request(twin, _numbers(twin.rows.numbers))


def decode_stream(data: bytes) -> tuple[int, Request]:
    """Read a PredictStreamRequest: its correlation id and the request in it.

    Raises:
        MalformedMessageError: the bytes are none.
    """
    twin = _parse(data, packed_pb2.PackedPredictStreamRequest)
    if _has_unpacked(twin.request):
        message = _parse_true(data, prediction_pb2.PredictStreamRequest)
        return twin.correlation_id, _request(
            twin.request, np.array(message.request.rows.numbers, dtype=np.float64)
        )
    return twin.correlation_id, _request(twin.request, _numbers(twin.request.rows.numbers))


def encode(version: LoadedVersion, row_count: int, scores: Scores, server_ns: int) -> bytes:
    """Write a PredictResponse."""
    response = packed_pb2.PackedPredictResponse()
    _fill(response, version, row_count, scores, server_ns)
    return response.SerializeToString()


def encode_stream(
    correlation_id: int, version: LoadedVersion, row_count: int, scores: Scores, server_ns: int
) -> bytes:
    """Write a PredictStreamResponse with scores."""
    response = packed_pb2.PackedPredictStreamResponse(correlation_id=correlation_id)
    _fill(response.response, version, row_count, scores, server_ns)
    return response.SerializeToString()


def encode_stream_error(correlation_id: int, status: status_pb2.Status) -> bytes:
    """Write a PredictStreamResponse with the reason why there are no scores."""
    return packed_pb2.PackedPredictStreamResponse(
        correlation_id=correlation_id, error=status
    ).SerializeToString()


class PositionalEncoding:
    """Predict's."""

    method: ClassVar[str] = PREDICT
    streams: ClassVar[bool] = False
    decode = staticmethod(decode)

    @staticmethod
    def encode(
        asked: Asked,  # noqa: ARG004 - the encodings share a signature
        version: LoadedVersion,
        row_count: int,
        scores: Scores,
        server_ns: int,
    ) -> bytes:
        """Write a PredictResponse."""
        return encode(version, row_count, scores, server_ns)

    @staticmethod
    def encode_error(asked: Asked | None, error: Exception) -> bytes | None:  # noqa: ARG004 - as above
        """None: the call fails."""
        return None


class PositionalStreamEncoding:
    """PredictStream's: a failure is an answer, and the stream lives on."""

    method: ClassVar[str] = PREDICT_STREAM
    streams: ClassVar[bool] = True

    @staticmethod
    def decode(data: bytes) -> Request:
        """Read a PredictStreamRequest."""
        correlation_id, request = decode_stream(data)
        request.correlation_id = correlation_id
        return request

    @staticmethod
    def encode(asked: Asked, version: LoadedVersion, row_count: int, scores: Scores, server_ns: int) -> bytes:
        """Write a PredictStreamResponse with scores."""
        return encode_stream(_correlation_id(asked), version, row_count, scores, server_ns)

    @staticmethod
    def encode_error(asked: Asked | None, error: Exception) -> bytes | None:
        """Write a PredictStreamResponse with the failure."""
        return encode_stream_error(_correlation_id(asked), to_status(error))


def _correlation_id(asked: Asked | None) -> int:
    return asked.correlation_id if isinstance(asked, Request) else 0


def _fill(
    response: packed_pb2.PackedPredictResponse,
    version: LoadedVersion,
    row_count: int,
    scores: Scores,
    server_ns: int,
) -> None:
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
    """Whether doubles stand among the unknown fields, as they do where a writer packs none."""
    unknown = UnknownFieldSet(twin.rows)
    return any(
        unknown[i].field_number == _NUMBERS_FIELD and unknown[i].wire_type == _FIXED64
        for i in range(len(unknown))
    )


def _numbers(pieces: Sequence[bytes]) -> NDArray[np.float64]:
    """The doubles of all pieces."""
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
    )
