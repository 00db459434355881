"""Requests in every valid encoding are read alike."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

import grpc
import pytest

from scorewire_proto.v1 import prediction_pb2
from tests.bundles import expected_value
from tests.conformance.wire import PREDICT, PREDICT_STREAM, Wire, sum_request, values

ROW_COUNT, NUMBERS, TEXTS = 1, 2, 3
MODEL, VERSION, ROWS = 1, 2, 5


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _bytes_field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _packed(numbers: Sequence[float]) -> bytes:
    return _bytes_field(NUMBERS, struct.pack(f"<{len(numbers)}d", *numbers))


def _unpacked(numbers: Sequence[float]) -> bytes:
    return b"".join(_varint(NUMBERS << 3 | 1) + struct.pack("<d", number) for number in numbers)


def _piecewise(numbers: Sequence[float]) -> bytes:
    return b"".join(_packed([number]) for number in numbers) + _packed([])


def _mixed(numbers: Sequence[float]) -> bytes:
    return _unpacked(numbers[:1]) + _packed(numbers[1:3]) + _unpacked(numbers[3:])


def _request(rows: bytes) -> bytes:
    return _bytes_field(MODEL, b"sum") + _bytes_field(ROWS, rows)


WRITERS = [_packed, _unpacked, _piecewise, _mixed]
TWO_TEXTS = _bytes_field(TEXTS, b"de") + _bytes_field(TEXTS, b"pe")


@pytest.mark.parametrize("write", WRITERS)
def test_numbers_may_be_written_in_any_legal_way(
    wire: Wire, write: Callable[[Sequence[float]], bytes]
) -> None:
    numbers = [1.5, 2.5, -3.0, 4.0]
    rows = _varint_field(ROW_COUNT, 2) + write(numbers) + TWO_TEXTS
    wanted = [expected_value(numbers[:2], "de", offset=100), expected_value(numbers[2:], "pe", offset=100)]
    answer = wire.call(PREDICT, _request(rows))
    assert values(prediction_pb2.PredictResponse.FromString(answer)) == wanted
    (streamed,) = wire.stream([_bytes_field(2, _request(rows))])
    assert values(prediction_pb2.PredictStreamResponse.FromString(streamed).response) == wanted


def test_fields_may_come_in_any_order_and_in_parts(wire: Wire) -> None:
    first = _packed([1.0, 2.0]) + _bytes_field(TEXTS, b"de")
    second = _bytes_field(TEXTS, b"pe") + _varint_field(ROW_COUNT, 9) + _packed([3.0]) + _unpacked([4.0])
    data = (
        _bytes_field(ROWS, first)
        + _bytes_field(MODEL, b"other")
        + _bytes_field(ROWS, second)
        + _bytes_field(ROWS, _varint_field(ROW_COUNT, 2))
        + _bytes_field(MODEL, b"sum")
    )
    response = prediction_pb2.PredictResponse.FromString(wire.call(PREDICT, data))
    assert values(response) == [
        expected_value([1.0, 2.0], "de", offset=100),
        expected_value([3.0, 4.0], "pe", offset=100),
    ]


def test_fields_that_the_server_does_not_know_are_passed_over(wire: Wire) -> None:
    rows = sum_request().rows.SerializeToString() + _varint_field(77, 5) + _bytes_field(78, b"new")
    data = _request(rows) + _bytes_field(99, b"newer") + _varint_field(100, 1)
    assert values(prediction_pb2.PredictResponse.FromString(wire.call(PREDICT, data)))


def test_a_run_of_doubles_that_ends_within_one_is_malformed(wire: Wire) -> None:
    rows = _varint_field(ROW_COUNT, 1) + _bytes_field(NUMBERS, b"\x00" * 15) + _bytes_field(TEXTS, b"de")
    failure = wire.failure(PREDICT, _request(rows))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.reason == "MALFORMED_MESSAGE"


def test_mutated_requests_are_read_as_the_true_message_reads_them(wire: Wire) -> None:
    """The server finds randomly changed bytes malformed exactly if protobuf does."""
    numbers = [1.5, 2.5, -3.0, 4.0]
    chance = random.Random(7)
    rows = _varint_field(ROW_COUNT, 2) + _mixed(numbers) + _packed([]) + TWO_TEXTS
    outcomes = set()
    for _ in range(300):
        data = bytearray(_request(rows))
        for _ in range(chance.choice((1, 1, 2, 5))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            prediction_pb2.PredictRequest.FromString(bytes(data))
            legal = True
        except Exception:
            legal = False
        try:
            wire.call(PREDICT, bytes(data))
            outcome = "OK"
        except grpc.RpcError:
            failure = wire.failure(PREDICT, bytes(data))
            outcome = failure.reason
            assert failure.code != grpc.StatusCode.INTERNAL
        assert legal == (outcome != "MALFORMED_MESSAGE"), bytes(data)
        outcomes.add(outcome)
    assert {"OK", "MALFORMED_MESSAGE", "MODEL_NOT_FOUND", "INVALID_REQUEST"} <= outcomes


def test_answers_are_legal_messages_with_packed_numbers(wire: Wire) -> None:
    data = wire.call(PREDICT, sum_request().SerializeToString())
    response = prediction_pb2.PredictResponse.FromString(data)
    assert response.SerializeToString() == data
    (streamed,) = wire.stream(
        [prediction_pb2.PredictStreamRequest(correlation_id=5, request=sum_request()).SerializeToString()],
        PREDICT_STREAM,
    )
    assert prediction_pb2.PredictStreamResponse.FromString(streamed).SerializeToString() == streamed
