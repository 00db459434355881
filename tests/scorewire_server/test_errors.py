from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2

from scorewire_contract.service.logs import configure_logs, flush_logs
from scorewire_proto.v1 import errors_pb2
from scorewire_server import errors
from scorewire_server.errors import CallError, Violation, clip, to_status

CLASSES = sorted(errors.TABLE, key=lambda kind: kind.__name__)


def _info(status: object) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    (detail,) = [each for each in status.details if each.Is(info.DESCRIPTOR)]  # type: ignore[attr-defined] # untyped
    detail.Unpack(info)
    return info


def test_every_exception_class_is_in_the_table() -> None:
    defined = {
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, CallError) and each is not CallError
    }
    assert defined == set(errors.TABLE)
    assert all(kind.__doc__ for kind in defined)


def test_every_reason_of_a_call_has_an_exception() -> None:
    of_calls = {number for number in errors_pb2.ErrorReason.values() if 0 < number < 100}
    covered = {reason for _, reason in errors.TABLE.values()}
    assert of_calls - covered == {errors_pb2.ERROR_REASON_INTERNAL}


@pytest.mark.parametrize("kind", CLASSES)
def test_an_exception_becomes_its_status(kind: type[CallError]) -> None:
    code, reason = errors.TABLE[kind]
    status = to_status(_error(kind, "why", model="m"))
    assert (status.code, status.message) == (code, "why")
    info = _info(status)
    assert f"ERROR_REASON_{info.reason}" == errors_pb2.ErrorReason.Name(reason)
    assert info.domain == "scorewire"
    assert dict(info.metadata) == {"model": "m"}


@pytest.mark.parametrize(
    "error", [ValueError("secret"), KeyError("secret"), CallError("secret"), MemoryError(), RecursionError()]
)
def test_any_other_exception_is_internal_and_keeps_its_text(error: Exception) -> None:
    status = to_status(error)
    assert status.code == code_pb2.INTERNAL
    assert status.message == errors.INTERNAL_MESSAGE
    assert _info(status).reason == "INTERNAL"
    assert b"secret" not in status.SerializeToString()


def test_the_mapper_does_not_fail_where_an_exception_does(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "info")  # anew, onto what this test reads

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    error = errors.InvalidRequestError("x")
    error.args = (Broken(),)
    status = to_status(error)
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert status.message == errors.INTERNAL_MESSAGE
    flush_logs()
    assert "no text" in capfd.readouterr().err


def test_an_exception_that_is_not_in_the_table_is_a_fault() -> None:
    class NewError(errors.CallError):
        """An error that is not in the table."""

    assert not any(errors.is_fault(_error(kind, "x")) for kind in errors.TABLE)
    for error in (NewError("x"), errors.CallError("x"), RuntimeError("x")):
        assert errors.is_fault(error)
        assert errors.code_and_reason(error)[0] == code_pb2.INTERNAL
        assert errors.to_status(error).message == errors.INTERNAL_MESSAGE


def test_violations_are_capped_and_their_texts_clipped() -> None:
    violations = [Violation(f"rows[{i}]", "x" * 10_000) for i in range(1000)]
    status = to_status(errors.InvalidRequestError("y" * 10_000, violations=violations, model="z" * 10_000))
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    assert len(bad.field_violations) == errors.MAX_VIOLATIONS
    assert bad.field_violations[0].field == "rows[0]"
    assert len(status.SerializeToString()) < 8192


@pytest.mark.parametrize(
    ("text", "clipped"),
    [
        ("plain", "plain"),
        ("a\nb\x00c", "a?b?c"),
        ("\ud800", "?"),
        ("ü日", "ü日"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 197 + "..."),
    ],
)
def test_texts_leave_printable_valid_and_short(text: str, clipped: str) -> None:
    assert clip(text) == clipped


def test_all_codes_of_grpc_are_known() -> None:
    assert set(errors.STATUS_CODES.values()) == set(grpc.StatusCode)
    assert set(errors.STATUS_CODES) == set(code_pb2.Code.values())
    for number, code in errors.STATUS_CODES.items():
        assert code_pb2.Code.Name(number) == code.name


def _error(kind: type[CallError], message: str, **metadata: Any) -> CallError:
    if kind is errors.CallerLimitError:
        metadata["retry_seconds"] = 1
    return kind(message, **metadata)
