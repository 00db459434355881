from __future__ import annotations

import math

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from scorewire_contract.bundle import Bundle
from scorewire_contract.coding import RowError
from scorewire_contract.scoring import Scores
from scorewire_proto.v1 import errors_pb2, prediction_pb2
from scorewire_server.engine.encodings import positional
from scorewire_server.engine.encodings.encoding import Answer, Request
from scorewire_server.engine.encodings.positional import PositionalEncoding, PositionalStreamEncoding
from scorewire_server.errors import DrainingError, MalformedMessageError, to_status
from tests.scorewire_server.models import loaded_version, zeros

_ROWS = prediction_pb2.Rows(row_count=2, numbers=[1.0, math.pi, -0.0, 1e300], texts=["a", "日本"])
_REQUEST = prediction_pb2.PredictRequest(
    model="m", version="1.0.0", schema_fingerprint="f", routing_key="k", rows=_ROWS
)


def _call(correlation_id: int) -> Request:
    message = prediction_pb2.PredictStreamRequest(correlation_id=correlation_id, request=_REQUEST)
    return positional.decode_stream(message.SerializeToString())


def _assert_reads_alike(data: bytes) -> None:
    """Check that the encoding reads bytes as the real message does, or refuses them where that does."""
    try:
        wanted = prediction_pb2.PredictRequest.FromString(data)
    except DecodeError:
        with pytest.raises(MalformedMessageError):
            positional.decode(data)
        return
    found = positional.decode(data)
    assert (found.model, found.version) == (wanted.model, wanted.version)
    assert found.schema_fingerprint == wanted.schema_fingerprint
    assert found.row_count == wanted.rows.row_count
    assert list(found.texts) == list(wanted.rows.texts)
    assert found.numbers.tobytes() == np.array(wanted.rows.numbers, dtype="<f8").tobytes()


@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_the_true_message_reads_them(data: bytes) -> None:
    _assert_reads_alike(data)
    # Also as the field `rows`, where the twins differ from the real messages.
    _assert_reads_alike(b"\x2a" + bytes([len(data)]) + data)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4))
def test_mutated_requests_are_read_as_the_true_message_reads_them(changes: list[tuple[int, int]]) -> None:
    data = bytearray(_REQUEST.SerializeToString())
    for position, value in changes:
        data[position % len(data)] = value
    _assert_reads_alike(bytes(data))


def test_doubles_that_are_not_packed_are_read() -> None:
    piece = b"\x11" + np.float64(2.5).tobytes()
    rows = b"\x08\x01" + piece + b"\x12\x08" + np.float64(3.5).tobytes() + piece
    data = b"\x2a" + bytes([len(rows)]) + rows
    assert positional.decode(data).numbers.tolist() == [2.5, 3.5, 2.5]
    request = positional.decode_stream(b"\x08\x05\x12" + bytes([len(data)]) + data)
    assert (request.correlation_id, request.numbers.tolist()) == (5, [2.5, 3.5, 2.5])


def test_malformed_stream_messages_are_refused() -> None:
    for data in (b"\xff", b"\x12\x02\x2a\x05", b"\x12\x05\x2a\x03\x12\x01\x00"):
        with pytest.raises(MalformedMessageError):
            positional.decode_stream(data)


def test_answers_are_those_of_the_true_messages(sum_bundle: Bundle) -> None:
    version = loaded_version(sum_bundle, zeros)
    error = RowError(1, errors_pb2.ERROR_REASON_MISSING_VALUE, "x0", "x0 is missing")
    scores = Scores(outputs=[np.array([[1.5], [math.nan]])], errors=[error], model_ns=7_900)
    answer = Answer(version, 2, scores, 12_345)
    data = PositionalEncoding().encode(_call(0), answer)
    wanted = prediction_pb2.PredictResponse(
        model="sum", version="1.0.0", row_count=2, server_time_us=12, model_time_us=7
    )
    wanted.outputs.add(name="value", numbers=[1.5, math.nan])
    wanted.errors.add(row=1, reason=error.reason, feature="x0", message="x0 is missing")
    assert data == wanted.SerializeToString()
    streamed = prediction_pb2.PredictStreamResponse(correlation_id=2**63, response=wanted)
    assert PositionalStreamEncoding().encode(_call(2**63), answer) == streamed.SerializeToString()


def test_stream_errors_are_those_of_the_true_message() -> None:
    error = DrainingError("soon")
    wanted = prediction_pb2.PredictStreamResponse(correlation_id=9, error=to_status(error))
    assert PositionalStreamEncoding().encode_error(_call(9), error) == wanted.SerializeToString()
