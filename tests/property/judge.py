"""Sends bytes to a live server, and compares every response with the oracle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import grpc
from google.rpc import status_pb2

from scorewire_proto.v1 import errors_pb2, prediction_pb2
from tests.conformance.wire import PREDICT, Wire, failure_of, info_of, sum_request
from tests.property.oracle import (
    MAX_ROWS,
    check_scores,
    expect,
    read_request,
    read_stream_request,
)

# The status codes that any request may end with.
ALLOWED = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
FLAGS = ("--max-rows", str(MAX_ROWS))
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_DOMAIN = "scorewire"
_GOOD = sum_request()
_GOOD_ID = 2**64 - 2


class Judge:
    """Judges calls, and counts their status codes.

    Attributes:
        counts: counts of calls by method and status code; each message of a stream is a call.
        good_calls: the number of good calls that were sent after others and got a right response.
    """

    def __init__(self, address: str) -> None:
        self._wire = Wire(address)
        self.counts: Counter[tuple[str, grpc.StatusCode]] = Counter()
        self.good_calls = 0

    def close(self) -> None:
        self._wire.channel.close()

    def judge_unary(self, data: bytes) -> grpc.StatusCode:
        """Send the bytes to Predict, then a good request, and check both outcomes."""
        request = read_request(data)
        try:
            answer = self._wire.call(PREDICT, data)
        except grpc.RpcError as error:
            failure = failure_of(error)
            code = failure.code
            _check_failure(request, failure.code, failure.status)
        else:
            code = grpc.StatusCode.OK
            _check_success(request, prediction_pb2.PredictResponse.FromString(answer))
        self.counts["Predict", code] += 1
        check_scores(_GOOD, self._wire.predict(_GOOD))
        self.good_calls += 1
        return code

    def judge_stream(self, messages: Sequence[bytes]) -> list[grpc.StatusCode]:
        """Send the bytes and then a good message on one stream, and check both outcomes."""
        good = prediction_pb2.PredictStreamRequest(correlation_id=_GOOD_ID, request=_GOOD)
        # A bad message never fails the stream itself.
        answers = list(self._wire.stream([*messages, good.SerializeToString()]))
        assert len(answers) == len(messages) + 1
        codes = []
        for data, answer in zip(messages, answers[:-1], strict=True):
            correlation_id, request = read_stream_request(data)
            response = prediction_pb2.PredictStreamResponse.FromString(answer)
            assert response.correlation_id == correlation_id
            if response.HasField("error"):
                code = _CODES[response.error.code]
                _check_failure(request, code, response.error)
            else:
                code = grpc.StatusCode.OK
                _check_success(request, response.response)
            codes.append(code)
            self.counts["PredictStream", code] += 1
        last = prediction_pb2.PredictStreamResponse.FromString(answers[-1])
        assert last.correlation_id == _GOOD_ID
        check_scores(_GOOD, last.response)
        self.good_calls += 1
        return codes


def _check_failure(
    request: prediction_pb2.PredictRequest | None, code: grpc.StatusCode, status: status_pb2.Status | None
) -> None:
    assert code in ALLOWED, status
    info = info_of(status)
    assert info.domain == _DOMAIN
    assert f"ERROR_REASON_{info.reason}" in errors_pb2.ErrorReason.keys()  # noqa: SIM118 - an enum, no dict
    expected = expect(request)
    assert (code, info.reason) == (expected.code, expected.reason)


def _check_success(
    request: prediction_pb2.PredictRequest | None, response: prediction_pb2.PredictResponse
) -> None:
    assert expect(request).code is grpc.StatusCode.OK
    assert request is not None
    check_scores(request, response)
