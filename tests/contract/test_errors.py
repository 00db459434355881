"""Every exception of the server becomes the right exception of the SDK, with its reason and code."""

from __future__ import annotations

from typing import Any

import pytest

import scorewire
from scorewire._errors import error_from_status
from scorewire_proto.v1 import errors_pb2
from scorewire_server import errors

EXPECTED: dict[type[Exception], tuple[str, type[scorewire.ScorewireError]]] = {
    errors.MalformedMessageError: ("MALFORMED_MESSAGE", scorewire.InvalidArgumentError),
    errors.InvalidRequestError: ("INVALID_REQUEST", scorewire.InvalidArgumentError),
    errors.ModelNotFoundError: ("MODEL_NOT_FOUND", scorewire.NotFoundError),
    errors.VersionNotFoundError: ("VERSION_NOT_FOUND", scorewire.NotFoundError),
    errors.SchemaMismatchError: ("SCHEMA_MISMATCH", scorewire.FailedPreconditionError),
    errors.NotExplainedError: ("NOT_EXPLAINED", scorewire.NotExplainedError),
    errors.VersionUnavailableError: ("VERSION_UNAVAILABLE", scorewire.UnavailableError),
    errors.VersionNotServingError: ("VERSION_NOT_SERVING", scorewire.FailedPreconditionError),
    errors.VersionInUseError: ("VERSION_IN_USE", scorewire.FailedPreconditionError),
    errors.BundleRefusedError: ("BUNDLE_REFUSED", scorewire.FailedPreconditionError),
    errors.NothingToRollBackError: ("NOTHING_TO_ROLL_BACK", scorewire.FailedPreconditionError),
    errors.StateNotKeptError: ("STATE_NOT_KEPT", scorewire.FailedPreconditionError),
    errors.ControlOffError: ("CONTROL_OFF", scorewire.PermissionDeniedError),
    errors.DrainingError: ("DRAINING", scorewire.UnavailableError),
    errors.TooManyRowsError: ("TOO_MANY_ROWS", scorewire.ResourceExhaustedError),
    errors.TooManyInFlightError: ("TOO_MANY_IN_FLIGHT", scorewire.ResourceExhaustedError),
    errors.RunStoppedError: ("RUN_STOPPED", scorewire.ResourceExhaustedError),
    errors.UnauthenticatedError: ("UNAUTHENTICATED", scorewire.UnauthenticatedError),
    errors.PermissionDeniedError: ("PERMISSION_DENIED", scorewire.PermissionDeniedError),
    errors.CallerLimitError: ("CALLER_LIMIT", scorewire.ResourceExhaustedError),
    errors.OverloadedError: ("OVERLOADED", scorewire.ResourceExhaustedError),
    errors.DeadlineExceededError: ("DEADLINE_EXCEEDED", scorewire.DeadlineExceededError),
    RuntimeError: ("INTERNAL", scorewire.InternalError),
}
FIRST_ROW_REASON = 100


def _subclasses(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(_subclasses(each) for each in kind.__subclasses__()))


def test_every_exception_of_the_server_is_in_the_map() -> None:
    assert _subclasses(errors.CallError) - {errors.CallError} == set(EXPECTED) - {RuntimeError}


def test_every_reason_of_a_call_has_an_exception() -> None:
    reasons = {
        name.removeprefix("ERROR_REASON_")
        for name, number in errors_pb2.ErrorReason.items()
        if 0 < number < FIRST_ROW_REASON
    }
    assert reasons == {reason for reason, _ in EXPECTED.values()}


@pytest.mark.parametrize("kind", EXPECTED)
def test_the_sdk_raises_what_the_server_meant(kind: type[Exception]) -> None:
    reason, sdk_kind = EXPECTED[kind]
    if issubclass(kind, errors.CallError):
        violations = [errors.Violation("rows[3].country", "is missing")]
        retry: dict[str, Any] = {"retry_seconds": 1.5} if kind is errors.CallerLimitError else {}
        raised: Exception = kind("what to do", violations=violations, model="m", **retry)
    else:
        raised = kind("a secret of the server")
    error = error_from_status(errors.to_status(raised))
    assert type(error) is sdk_kind
    assert error.reason == reason
    assert error.retry_after == (1.5 if kind is errors.CallerLimitError else None)
    if kind is RuntimeError:
        assert "secret" not in error.message
        assert error.violations == ()
    else:
        assert error.message == "what to do"
        assert error.metadata == {"model": "m"}
        assert [(v.field, v.description) for v in error.violations] == [("rows[3].country", "is missing")]


def test_an_exception_of_the_table_s_root_is_a_fault_of_the_server() -> None:
    assert type(error_from_status(errors.to_status(errors.CallError("x")))) is scorewire.InternalError
