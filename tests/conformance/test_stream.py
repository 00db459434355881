"""The responses of PredictStream."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import grpc
import pytest

from scorewire_proto.v1 import prediction_pb2
from tests.bundles import expected_value
from tests.conformance.wire import (
    PREDICT_STREAM,
    Wire,
    failure_of,
    fields_of,
    info_of,
    sum_request,
    values,
)


def _message(correlation_id: int, **fields: object) -> prediction_pb2.PredictStreamRequest:
    request = sum_request(**fields)  # type: ignore[arg-type] # the fields are those of sum_request
    return prediction_pb2.PredictStreamRequest(correlation_id=correlation_id, request=request)


def test_answers_come_in_the_order_of_the_requests(wire: Wire) -> None:
    count = 300
    # Some messages are large, because those are scored in other threads.
    sizes = [1000 if i % 50 == 7 else 1 for i in range(count)]
    answers = wire.predict_stream(
        _message(2**64 - 1 - i, numbers=[float(i), 0.0] * rows, texts=["de"] * rows, row_count=rows)
        for i, rows in enumerate(sizes)
    )
    assert [answer.correlation_id for answer in answers] == [2**64 - 1 - i for i in range(count)]
    for i, answer in enumerate(answers):
        assert values(answer.response) == [expected_value([i, 0], "de", offset=100)] * sizes[i]


def test_a_bad_message_is_answered_by_its_error_and_the_stream_lives_on(wire: Wire) -> None:
    bad = {
        1: (_message(1, model=""), 3, "INVALID_REQUEST"),
        2: (_message(2, model="nobody"), 5, "MODEL_NOT_FOUND"),
        3: (_message(3, version="9.9.9"), 5, "VERSION_NOT_FOUND"),
        4: (_message(4, version="3.0.0"), 14, "VERSION_UNAVAILABLE"),
        5: (_message(5, schema_fingerprint="0"), 9, "SCHEMA_MISMATCH"),
        6: (_message(6, row_count=1001), 8, "TOO_MANY_ROWS"),
        7: (_message(7, numbers=[]), 3, "INVALID_REQUEST"),
    }
    requests = [_message(0), *(message for message, _, _ in bad.values()), _message(8)]
    answers = wire.predict_stream(requests)
    assert [answer.correlation_id for answer in answers] == list(range(9))
    assert [answer.WhichOneof("result") for answer in answers] == ["response", *["error"] * 7, "response"]
    for index, (_, code, reason) in bad.items():
        assert answers[index].error.code == code
        assert info_of(answers[index].error).reason == reason
        assert info_of(answers[index].error).domain == "scorewire"
    assert fields_of(answers[7].error) == ["rows.numbers"]


def test_a_malformed_message_is_answered_with_correlation_id_0(wire: Wire) -> None:
    good = _message(7).SerializeToString()
    answers = [
        prediction_pb2.PredictStreamResponse.FromString(answer)
        for answer in wire.stream([good, b"\xff\xff", good])
    ]
    assert [answer.correlation_id for answer in answers] == [7, 0, 7]
    assert info_of(answers[1].error).reason == "MALFORMED_MESSAGE"
    assert [answer.WhichOneof("result") for answer in answers] == ["response", "error", "response"]


def test_an_empty_message_is_an_invalid_request(wire: Wire) -> None:
    (answer,) = wire.predict_stream([prediction_pb2.PredictStreamRequest(correlation_id=3)])
    assert answer.correlation_id == 3
    assert fields_of(answer.error) == ["model"]


def test_row_errors_are_answered_as_in_predict(wire: Wire) -> None:
    request = sum_request([float("nan"), 1.0, 1.0, 1.0], ["de", "de"], row_count=2)
    (answer,) = wire.predict_stream([prediction_pb2.PredictStreamRequest(request=request)])
    unary = wire.predict(request)
    assert list(answer.response.errors) == list(unary.errors)
    assert values(answer.response)[1] == values(unary)[1]


def test_a_stream_without_messages_ends_well(wire: Wire) -> None:
    assert list(wire.stream([])) == []


def test_each_answer_comes_before_the_next_request_is_needed(wire: Wire) -> None:
    requests: queue.Queue[bytes | None] = queue.Queue()

    def source() -> Iterator[bytes]:
        while (data := requests.get()) is not None:
            yield data

    answers = wire.stream(source())
    for i in range(20):
        requests.put(_message(i).SerializeToString())
        assert prediction_pb2.PredictStreamResponse.FromString(next(answers)).correlation_id == i
    requests.put(None)
    assert list(answers) == []


def test_a_cancelled_stream_leaves_the_server_well(wire: Wire) -> None:
    requests: queue.Queue[bytes | None] = queue.Queue()
    call = wire.both_stream(PREDICT_STREAM)(iter(requests.get, None), timeout=60)
    requests.put(_message(1).SerializeToString())
    next(call)
    call.cancel()
    requests.put(None)
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    assert failure_of(caught.value).code == grpc.StatusCode.CANCELLED
    assert values(wire.predict(sum_request()))


def test_a_streams_deadline_ends_it(wire: Wire) -> None:
    requests: queue.Queue[bytes | None] = queue.Queue()
    requests.put(_message(1).SerializeToString())
    call = wire.both_stream(PREDICT_STREAM)(iter(requests.get, None), timeout=0.5)
    with pytest.raises(grpc.RpcError) as caught:
        # On a busy machine the first response may already be too late.
        list(call)
    requests.put(None)
    assert failure_of(caught.value).code == grpc.StatusCode.DEADLINE_EXCEEDED
