"""Why calls fail, and the one table from exceptions to what the caller sees.

The caller gets a gRPC status. Its details carry `google.rpc.ErrorInfo` and, for bad
input, `google.rpc.BadRequest`; for a limit of the caller, `google.rpc.RetryInfo`. An
exception that is not in the table is a fault of the server: the caller gets a fixed
text, and the exception goes to the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from scorewire_contract.service.logs import log_fault
from scorewire_proto.v1 import errors_pb2

DOMAIN = "scorewire"
STATUS_DETAILS_KEY = "grpc-status-details-bin"
INTERNAL_MESSAGE = "the server failed; its log has the reason"
# Details travel as metadata, and many clients accept no more than 8 KB of metadata.
MAX_VIOLATIONS = 16
MAX_TEXT = 200

Code: TypeAlias = "code_pb2.Code.ValueType"
Reason: TypeAlias = "errors_pb2.ErrorReason.ValueType"

STATUS_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field of a request; `field` is a path like rows.numbers."""

    field: str
    description: str


class CallError(Exception):
    """A call cannot be answered; the message is for the caller."""

    def __init__(self, message: str, *, violations: Sequence[Violation] = (), **metadata: object) -> None:
        super().__init__(message)
        self.violations = tuple(violations)
        self.metadata = {key: clip(str(value)) for key, value in metadata.items()}


class MalformedMessageError(CallError):
    """The bytes are not the message that the method takes."""


class InvalidRequestError(CallError):
    """The request lacks a field, or its rows do not fit the schema."""


class ModelNotFoundError(CallError):
    """There is no model of that name."""


class VersionNotFoundError(CallError):
    """The model has no such version or alias."""


class SchemaMismatchError(CallError):
    """The request was built for another schema."""


class NotExplainedError(CallError):
    """The version cannot explain the output."""


class VersionUnavailableError(CallError):
    """The version exists and does not serve."""


class VersionNotServingError(CallError):
    """The change needs a version that serves, and this one does not."""


class VersionInUseError(CallError):
    """An alias, a split or a shadow names the version."""


class BundleRefusedError(CallError):
    """The bundle did not pass its checks."""


class NothingToRollBackError(CallError):
    """The model's routing has no history to go back to."""


class StateNotKeptError(CallError):
    """A change was not made, since it cannot be written to the state file."""


class ControlOffError(CallError):
    """The server refuses calls that change something; see --control."""


class DrainingError(CallError):
    """The server stops before it answers the call."""


class TooManyRowsError(CallError):
    """The call has more rows, or would get a longer answer, than the server allows."""


class TooManyInFlightError(CallError):
    """The server is at a limit of calls, streams or bytes at one time."""


class OverloadedError(CallError):
    """The call waited too long before the server could begin it."""


class RunStoppedError(CallError):
    """The model's run took longer than --max-run-seconds and was stopped."""


class UnauthenticatedError(CallError):
    """The call shows no valid credential."""


class PermissionDeniedError(CallError):
    """The caller has no right to do this with this model, which need not exist."""


class CallerLimitError(CallError):
    """The caller has used up what its limits allow.

    Args:
        message: for the caller.
        retry_seconds: the time after which the caller may try again.
    """

    def __init__(self, message: str, *, retry_seconds: float, **metadata: object) -> None:
        super().__init__(message, **metadata)  # type: ignore[arg-type]
        self.retry_seconds = retry_seconds


class DeadlineExceededError(CallError):
    """The caller's deadline passed before the answer was ready."""


TABLE: dict[type[CallError], tuple[Code, Reason]] = {
    MalformedMessageError: (code_pb2.INVALID_ARGUMENT, errors_pb2.ERROR_REASON_MALFORMED_MESSAGE),
    InvalidRequestError: (code_pb2.INVALID_ARGUMENT, errors_pb2.ERROR_REASON_INVALID_REQUEST),
    ModelNotFoundError: (code_pb2.NOT_FOUND, errors_pb2.ERROR_REASON_MODEL_NOT_FOUND),
    VersionNotFoundError: (code_pb2.NOT_FOUND, errors_pb2.ERROR_REASON_VERSION_NOT_FOUND),
    SchemaMismatchError: (code_pb2.FAILED_PRECONDITION, errors_pb2.ERROR_REASON_SCHEMA_MISMATCH),
    VersionUnavailableError: (code_pb2.UNAVAILABLE, errors_pb2.ERROR_REASON_VERSION_UNAVAILABLE),
    VersionNotServingError: (code_pb2.FAILED_PRECONDITION, errors_pb2.ERROR_REASON_VERSION_NOT_SERVING),
    VersionInUseError: (code_pb2.FAILED_PRECONDITION, errors_pb2.ERROR_REASON_VERSION_IN_USE),
    BundleRefusedError: (code_pb2.FAILED_PRECONDITION, errors_pb2.ERROR_REASON_BUNDLE_REFUSED),
    NothingToRollBackError: (code_pb2.FAILED_PRECONDITION, errors_pb2.ERROR_REASON_NOTHING_TO_ROLL_BACK),
    StateNotKeptError: (code_pb2.FAILED_PRECONDITION, errors_pb2.ERROR_REASON_STATE_NOT_KEPT),
    ControlOffError: (code_pb2.PERMISSION_DENIED, errors_pb2.ERROR_REASON_CONTROL_OFF),
    DrainingError: (code_pb2.UNAVAILABLE, errors_pb2.ERROR_REASON_DRAINING),
    TooManyRowsError: (code_pb2.RESOURCE_EXHAUSTED, errors_pb2.ERROR_REASON_TOO_MANY_ROWS),
    TooManyInFlightError: (code_pb2.RESOURCE_EXHAUSTED, errors_pb2.ERROR_REASON_TOO_MANY_IN_FLIGHT),
    OverloadedError: (code_pb2.RESOURCE_EXHAUSTED, errors_pb2.ERROR_REASON_OVERLOADED),
    RunStoppedError: (code_pb2.RESOURCE_EXHAUSTED, errors_pb2.ERROR_REASON_RUN_STOPPED),
    UnauthenticatedError: (code_pb2.UNAUTHENTICATED, errors_pb2.ERROR_REASON_UNAUTHENTICATED),
    PermissionDeniedError: (code_pb2.PERMISSION_DENIED, errors_pb2.ERROR_REASON_PERMISSION_DENIED),
    CallerLimitError: (code_pb2.RESOURCE_EXHAUSTED, errors_pb2.ERROR_REASON_CALLER_LIMIT),
    DeadlineExceededError: (code_pb2.DEADLINE_EXCEEDED, errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED),
    NotExplainedError: (code_pb2.FAILED_PRECONDITION, errors_pb2.ERROR_REASON_NOT_EXPLAINED),
}
_INTERNAL = (code_pb2.INTERNAL, errors_pb2.ERROR_REASON_INTERNAL)


def code_and_reason(error: BaseException) -> tuple[Code, Reason]:
    """The code and the reason of an exception; INTERNAL if it is not in the table."""
    return _INTERNAL if is_fault(error) else TABLE[type(error)]  # type: ignore[index]


def is_fault(error: BaseException) -> bool:
    """Whether an exception is a fault of the server, which belongs in the log."""
    return type(error) not in TABLE


def to_status(error: BaseException) -> status_pb2.Status:
    """What the caller sees of an exception. Never raises."""
    code, reason = code_and_reason(error)
    if not isinstance(error, CallError) or is_fault(error):
        return _status(code, INTERNAL_MESSAGE, _info(reason, {}))
    try:
        details = [_info(reason, error.metadata)]
        if error.violations:
            details.append(_bad_request(error.violations))
        if isinstance(error, CallerLimitError):
            # The last detail: the native engine appends it to a status that it has without.
            details.append(_retry_info(error.retry_seconds))
        return _status(code, clip(str(error)), *details)
    except Exception as unsaid:
        # If this function raised, the caller would get UNKNOWN instead of the real code.
        log_fault(type(error).__name__, unsaid)
        return _status(code, INTERNAL_MESSAGE, _info(reason, {}))


def invalid_field(path: str, description: str) -> InvalidRequestError:
    """The refusal of one field of a request; `path` names the field, like `rows.numbers`."""
    return InvalidRequestError(f"{path}: {description}", violations=[Violation(path, description)])


def missing_model() -> InvalidRequestError:
    """The refusal of a request that names no model."""
    return invalid_field("model", "a model's name is missing; ListModels names them all")


def model_not_found(model: str) -> ModelNotFoundError:
    """The failure of a request for a model that does not exist."""
    return ModelNotFoundError(f"there is no model {clip(model)!r}; ListModels names them all", model=model)


def reason_name(reason: Reason) -> str:
    """The name of a reason as callers see it, without the enum's prefix: MISSING_VALUE."""
    return errors_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


def clip(text: str) -> str:
    """A text made fit for an answer: printable, valid UTF-8, and at most `MAX_TEXT` characters."""
    # Cut twice: first to bound the work, then to bound the result.
    text = text[: 2 * MAX_TEXT].encode("utf-8", "replace").decode("utf-8")
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def _status(code: Code, message: str, *details: any_pb2.Any) -> status_pb2.Status:
    return status_pb2.Status(code=code, message=message, details=details)


def _info(reason: Reason, metadata: dict[str, str]) -> any_pb2.Any:
    return _pack(error_details_pb2.ErrorInfo(reason=reason_name(reason), domain=DOMAIN, metadata=metadata))


def _bad_request(violations: Sequence[Violation]) -> any_pb2.Any:
    shown = violations[:MAX_VIOLATIONS]
    return _pack(
        error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(
                    field=clip(violation.field), description=clip(violation.description)
                )
                for violation in shown
            ]
        )
    )


def _retry_info(seconds: float) -> any_pb2.Any:
    """When to try again, in whole milliseconds, rounded up; one at least."""
    delay = duration_pb2.Duration()
    # Rounded to nanoseconds first: 1.001 s are 1001 ms, though the product is a bit more or less.
    delay.FromMilliseconds(max(1, ceil(round(seconds * 1e3, 6))))
    return _pack(error_details_pb2.RetryInfo(retry_delay=delay))


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
