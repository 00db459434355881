from __future__ import annotations

import pickle
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

import scorewire
from scorewire import Code, InvalidRowsError, ScorewireError, UnknownError, Violation
from scorewire._errors import ERRORS, error_from_call, error_from_status
from scorewire.testing import FakeServer

FAILURES = [code for code in Code if code is not Code.OK]


def test_codes_are_those_of_grpc() -> None:
    assert {(code.name, code.value) for code in Code} == {
        (status.name, status.value[0]) for status in grpc.StatusCode
    }


def test_every_code_has_one_exception_of_its_name() -> None:
    assert sorted(ERRORS) == FAILURES
    for code, error in ERRORS.items():
        words = "".join(word.capitalize() for word in code.name.split("_"))
        assert error.__name__ == f"{words}Error"
        assert error.code is code
        assert getattr(scorewire, error.__name__) is error
        assert error.__bases__ == (ScorewireError,)


@pytest.mark.parametrize("code", FAILURES)
def test_every_status_reaches_the_caller_as_its_exception(
    code: Code, client: Any, server: FakeServer
) -> None:
    # Three times, because UNAVAILABLE is retried.
    server.fail(
        code,
        "so it is",
        times=3 if code is Code.UNAVAILABLE else 1,
        reason="INVALID_REQUEST",
        metadata={"limit": "7"},
        violations=[Violation(field="rows.numbers", description="too few")],
    )
    with pytest.raises(ScorewireError) as caught:
        client.predict("sum", {"x": 1})
    error = caught.value
    assert type(error) is ERRORS[code]
    assert (error.code, error.message, error.reason) == (code, "so it is", "INVALID_REQUEST")
    assert error.metadata == {"limit": "7"}
    assert error.violations == (Violation(field="rows.numbers", description="too few"),)
    assert isinstance(error.__cause__, grpc.RpcError)
    assert not isinstance(error, grpc.RpcError)


@pytest.mark.parametrize("code", FAILURES)
def test_every_status_of_a_message_is_its_exception(code: Code, client: Any, server: FakeServer) -> None:
    server.fail(code, "no", reason="INTERNAL")
    bad, good = client.predict_stream("sum", [{"x": 1}, {"x": 2}], on_error="yield")
    assert type(bad) is ERRORS[code]
    assert (str(bad), bad.reason) == ("no", "INTERNAL")
    assert good.score == 2


@pytest.mark.parametrize(("seconds", "nanos", "told"), [(3, 500_000_000, 3.5), (0, 0, 0.0), (-5, 0, 0.0)])
def test_the_time_that_a_server_asks_to_wait_is_told(seconds: int, nanos: int, told: float) -> None:
    status = status_pb2.Status(code=14, message="later")
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.seconds, retry.retry_delay.nanos = seconds, nanos
    status.details.add().Pack(retry)
    assert error_from_status(status).retry_after == told
    assert error_from_status(status_pb2.Status(code=14)).retry_after is None


def test_the_time_after_which_to_try_again_is_told(client: Any, server: FakeServer) -> None:
    server.fail(Code.RESOURCE_EXHAUSTED, retry_after=2.5)
    with pytest.raises(scorewire.ResourceExhaustedError) as caught:
        client.predict("churn", {"age": 41, "country": "pe"})
    assert caught.value.retry_after == 2.5
    server.fail(Code.RESOURCE_EXHAUSTED)
    with pytest.raises(scorewire.ResourceExhaustedError) as caught:
        client.predict("churn", {"age": 41, "country": "pe"})
    assert caught.value.retry_after is None


def test_details_of_another_domain_are_no_reason_of_ours() -> None:
    status = status_pb2.Status(code=3, message="no")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="QUOTA", domain="example.org"))
    status.details.add().Pack(error_details_pb2.DebugInfo(detail="x"))
    error = error_from_status(status)
    assert (error.reason, error.metadata, error.violations) == ("", {}, ())


def test_details_that_cannot_be_read_do_not_hide_the_error() -> None:
    broken = AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")
    error = error_from_status(status_pb2.Status(code=5, message="gone", details=[broken]))
    assert (type(error), str(error)) == (scorewire.NotFoundError, "gone")


def test_violations_are_capped() -> None:
    violations = [error_details_pb2.BadRequest.FieldViolation(field=f"rows[{i}].x") for i in range(100)]
    status = status_pb2.Status(code=3)
    status.details.add().Pack(error_details_pb2.BadRequest(field_violations=violations))
    error = error_from_status(status)
    assert len(error.violations) == 20
    assert error.violations[0].field == "rows[0].x"


@pytest.mark.parametrize("code", [-1, 0, 17, 999])
def test_a_status_that_is_no_failure_of_grpc_is_unknown(code: int) -> None:
    assert type(error_from_status(status_pb2.Status(code=code, message="?"))) is UnknownError


class _Call(grpc.RpcError):
    def __init__(self, code: Any = None, details: Any = None, trailers: Any = None) -> None:
        self.code = lambda: code
        self.details = lambda: details
        self.trailing_metadata = lambda: trailers


def test_a_call_without_any_details_still_says_something() -> None:
    error = error_from_call(_Call(grpc.StatusCode.ABORTED))
    assert (type(error), str(error)) == (scorewire.AbortedError, "the call failed with ABORTED")
    assert type(error_from_call(_Call())) is UnknownError
    assert type(error_from_call(grpc.RpcError())) is UnknownError


def test_a_trailer_that_cannot_be_read_does_not_hide_the_error() -> None:
    trailers = (("other", "x"), ("grpc-status-details-bin", b"\xff\xff"))
    error = error_from_call(_Call(grpc.StatusCode.NOT_FOUND, "gone", trailers))
    assert (type(error), str(error)) == (scorewire.NotFoundError, "gone")


def test_the_calls_own_code_wins_over_that_of_the_trailer() -> None:
    trailers = (("grpc-status-details-bin", status_pb2.Status(code=5, message="old").SerializeToString()),)
    error = error_from_call(_Call(grpc.StatusCode.UNAVAILABLE, "", trailers))
    assert (type(error), str(error)) == (scorewire.UnavailableError, "old")


def test_errors_survive_a_trip_between_processes() -> None:
    error = InvalidRowsError(
        "no", reason="R", metadata={"a": "b"}, violations=[Violation(field="f", description="d")]
    )
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is InvalidRowsError
    assert (str(copy), copy.reason, copy.metadata, copy.violations) == (
        "no",
        "R",
        {"a": "b"},
        error.violations,
    )


def test_rows_found_wrong_here_or_there_are_caught_alike() -> None:
    assert issubclass(InvalidRowsError, scorewire.InvalidArgumentError)
    assert issubclass(InvalidRowsError, ValueError)
