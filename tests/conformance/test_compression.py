"""Messages in gzip, in both directions, on every kind of method."""

from __future__ import annotations

import gzip
import zlib

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2

from scorewire_proto.v1 import models_pb2, prediction_pb2
from tests import http2
from tests.bundles import expected_value
from tests.conformance import raw
from tests.conformance.wire import PREDICT, PREDICT_STREAM, Wire, failure_of, sum_request, values

LIST_MODELS = "/scorewire.v1.ModelService/ListModels"
MAX_MESSAGE_BYTES = 1 << 20
GZIP = {"grpc_encoding": "gzip", "grpc_accept_encoding": "identity,gzip"}
ACCEPTED = "identity,gzip"
OK, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 8, 12, 13


def _rows(count: int) -> prediction_pb2.PredictRequest:
    return sum_request([1.0, 2.0] * count, ["de"] * count, row_count=count)


def _accepts(answer: raw.Answer) -> bool:
    return answer.fields.get("grpc-accept-encoding", "").replace(" ", "") == ACCEPTED


def _message(answer: raw.Answer) -> tuple[int, bytes]:
    """The flag of a response's only message, and the message without its prefix."""
    flag, length = answer.body[0], int.from_bytes(answer.body[1:5], "big")
    assert len(answer.body) == 5 + length
    return flag, answer.body[5:]


def test_a_client_that_compresses_gets_the_same_scores(wire: Wire) -> None:
    for count in (1, 50, 1000):
        plain, zipped = (
            wire.predict(_rows(count), compression=compression)
            for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip)
        )
        assert values(zipped) == values(plain) == [expected_value([1.0, 2.0], "de", offset=100)] * count


def test_a_stream_may_be_in_gzip(wire: Wire) -> None:
    requests = [
        prediction_pb2.PredictStreamRequest(correlation_id=i, request=_rows(count))
        for i, count in enumerate((1, 400, 1, 1000))
    ]
    answers = wire.predict_stream(requests, compression=grpc.Compression.Gzip)
    assert [answer.correlation_id for answer in answers] == [0, 1, 2, 3]
    assert [len(values(answer.response)) for answer in answers] == [1, 400, 1, 1000]


def test_a_control_call_may_be_in_gzip(wire: Wire) -> None:
    request = models_pb2.ListModelsRequest().SerializeToString()
    plain = wire.call(LIST_MODELS, request)
    assert wire.call(LIST_MODELS, request, compression=grpc.Compression.Gzip) == plain


def test_a_stream_of_control_calls_may_be_in_gzip(wire: Wire) -> None:
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="scorewire.v1.PredictionService")
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    messages = [request.SerializeToString()] * 2
    plain = list(wire.stream(messages, path))
    assert list(wire.stream(messages, path, compression=grpc.Compression.Gzip)) == plain


@pytest.mark.parametrize(
    ("count", "fields", "flag", "answered"),
    [
        (1000, GZIP, 1, 1),
        # A short response is not compressed.
        (1, GZIP, 1, 0),
        # The response to an uncompressed message is not compressed, whatever the call accepts.
        (1000, GZIP, 0, 0),
        (1000, {"grpc_accept_encoding": "identity,gzip"}, 0, 0),
        # A caller that does not accept gzip gets no compressed response.
        (1000, {"grpc_encoding": "gzip"}, 1, 0),
        (1000, {"grpc_encoding": "gzip", "grpc_accept_encoding": "identity"}, 1, 0),
    ],
)
def test_an_answer_is_in_gzip_where_the_message_was_and_the_caller_takes_it(
    address: str, count: int, fields: dict[str, str], flag: int, answered: int
) -> None:
    data = _rows(count).SerializeToString()
    answer = raw.call(address, PREDICT, http2.message(gzip.compress(data) if flag else data, flag), **fields)
    assert answer.status == OK
    assert _accepts(answer)
    told, message = _message(answer)
    assert told == answered
    if answered:
        assert answer.fields["grpc-encoding"] == "gzip"
        message = gzip.decompress(message)
    assert len(values(prediction_pb2.PredictResponse.FromString(message))) == count


def test_messages_of_a_stream_are_answered_each_as_it_came(address: str) -> None:
    data = prediction_pb2.PredictStreamRequest(request=_rows(1000)).SerializeToString()
    messages = http2.message(data) + http2.message(gzip.compress(data), 1) + http2.message(data)
    body = raw.call(address, PREDICT_STREAM, messages, **GZIP).body
    flags = []
    while body:
        flags.append(body[0])
        body = body[5 + int.from_bytes(body[1:5], "big") :]
    assert flags == [0, 1, 0]


@pytest.mark.parametrize("path", [PREDICT, PREDICT_STREAM, LIST_MODELS])
def test_a_bomb_is_refused_by_the_size_that_it_inflates_to(address: str, wire: Wire, path: str) -> None:
    bomb = gzip.compress(bytes(64 * MAX_MESSAGE_BYTES))
    assert len(bomb) < MAX_MESSAGE_BYTES
    answer = raw.call(address, path, http2.message(bomb, 1), **GZIP)
    assert answer.status == RESOURCE_EXHAUSTED
    assert _accepts(answer)
    assert values(wire.predict(sum_request()))


def test_a_message_of_just_the_limit_is_taken_and_one_byte_more_is_not(address: str) -> None:
    request = sum_request(texts=["x"])
    spare = MAX_MESSAGE_BYTES - request.ByteSize()
    request.rows.texts[0] = "x" * (spare - 2)
    while request.ByteSize() > MAX_MESSAGE_BYTES:
        request.rows.texts[0] = request.rows.texts[0][:-1]
    statuses = []
    for data in (request.SerializeToString(), request.SerializeToString() + b"\x00" * 8):
        body = http2.message(gzip.compress(data), 1)
        statuses.append(raw.call(address, PREDICT, body, **GZIP).status)
    assert statuses[0] == OK
    assert statuses[1] == RESOURCE_EXHAUSTED


def _broken() -> dict[str, bytes]:
    whole = gzip.compress(sum_request().SerializeToString())
    return {
        "cut": whole[:-9],
        "without its end": whole[:-8],
        "wrong sum": whole[:-8] + b"\x00" * 8,
        "trailing bytes": whole + b"\x00",
        "two members": whole + whole,
        "many members": whole * 1000,
        "only a head": whole[:10],
    }


@pytest.mark.parametrize("kind", _broken())
def test_what_is_not_one_member_of_gzip_is_refused(address: str, kind: str) -> None:
    answer = raw.call(address, PREDICT, http2.message(_broken()[kind], 1), **GZIP)
    assert answer.status == INTERNAL
    assert "gzip" in answer.fields["grpc-message"]


def test_a_compressed_message_of_a_call_that_names_no_algorithm_is_refused(address: str) -> None:
    body = http2.message(gzip.compress(sum_request().SerializeToString()), 1)
    assert raw.call(address, PREDICT, body).status == INTERNAL


@pytest.mark.parametrize(("path", "status"), [(PREDICT, OK), ("/no.Such/Method", UNIMPLEMENTED)])
def test_every_answer_says_which_algorithms_are_taken(address: str, path: str, status: int) -> None:
    answer = raw.call(address, path, http2.message(sum_request().SerializeToString()))
    assert answer.status == status
    assert _accepts(answer)


@pytest.mark.parametrize("rejected", [sum_request(model="none"), sum_request(row_count=7)])
def test_failures_say_which_algorithms_are_taken(
    address: str, rejected: prediction_pb2.PredictRequest
) -> None:
    answer = raw.call(address, PREDICT, http2.message(rejected.SerializeToString()))
    assert answer.status != OK
    assert _accepts(answer)


def test_other_algorithms_are_refused(engine: str, address: str, wire: Wire) -> None:
    failure = wire.predict_failure(_rows(100), compression=grpc.Compression.Deflate)
    assert failure.code == grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(grpc.RpcError) as caught:
        list(wire.stream([_rows(100).SerializeToString()], compression=grpc.Compression.Deflate))
    assert failure_of(caught.value).code == grpc.StatusCode.UNIMPLEMENTED
    if engine == "native":
        # grpc's core refuses deflate without this field, and unknown algorithms with INTERNAL.
        for name in ("deflate", "snappy"):
            body = http2.message(zlib.compress(b"x"), 1)
            answer = raw.call(address, PREDICT, body, grpc_encoding=name)
            assert answer.status == UNIMPLEMENTED
            assert _accepts(answer)
