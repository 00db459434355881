"""The exceptions of the SDK, and the table from gRPC status codes to exceptions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from scorewire_proto.v1 import errors_pb2

if TYPE_CHECKING:
    import grpc

DOMAIN = "scorewire"
_DETAILS_KEY = "grpc-status-details-bin"
# The most violations that one exception lists.
MAX_VIOLATIONS = 20


class Code(IntEnum):
    """The status codes of gRPC; the values are the numbers on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One invalid field of a request; `field` is a path such as `rows[3].country`."""

    field: str
    description: str


class ScorewireError(Exception):
    """Base class of the SDK's errors; there is one subclass for each gRPC status code.

    Attributes:
        code: the gRPC status code.
        reason: the reason in the server's ErrorInfo, such as "MODEL_NOT_FOUND"; "" if it sent none.
        metadata: the metadata of the server's ErrorInfo, by key.
        violations: the invalid fields of the request, at most 20.
        retry_after: seconds to wait before the next attempt, as the server's RetryInfo or an open
            circuit breaker tells; None if nothing tells.
    """

    code: ClassVar[Code] = Code.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after

    @property
    def message(self) -> str:
        """The error message, for people."""
        return str(self)


class CancelledError(ScorewireError):
    """The call was cancelled, for instance by closing the client."""

    code = Code.CANCELLED


class UnknownError(ScorewireError):
    """The server failed and sent no code, or one that gRPC does not have."""

    code = Code.UNKNOWN


class InvalidArgumentError(ScorewireError):
    """The request is invalid in any state of the server; `violations` lists the fields."""

    code = Code.INVALID_ARGUMENT


class DeadlineExceededError(ScorewireError):
    """The call took longer than its timeout."""

    code = Code.DEADLINE_EXCEEDED


class NotFoundError(ScorewireError):
    """The server has no such model, version or alias."""

    code = Code.NOT_FOUND


class AlreadyExistsError(ScorewireError):
    """What the call would create exists already."""

    code = Code.ALREADY_EXISTS


class PermissionDeniedError(ScorewireError):
    """The caller has no right to do this, or to this model, which need not exist."""

    code = Code.PERMISSION_DENIED


class ResourceExhaustedError(ScorewireError):
    """The call exceeds a limit, such as rows in a call, bytes in a message, or calls in flight.

    With the reason "CALLER_LIMIT" it is a limit of the caller, and `retry_after` tells how long to wait.
    """

    code = Code.RESOURCE_EXHAUSTED


class FailedPreconditionError(ScorewireError):
    """The server is not in the state that the request requires."""

    code = Code.FAILED_PRECONDITION


class AbortedError(ScorewireError):
    """The call conflicts with another call."""

    code = Code.ABORTED


class OutOfRangeError(ScorewireError):
    """The request goes past the valid range."""

    code = Code.OUT_OF_RANGE


class UnimplementedError(ScorewireError):
    """The server does not have this method, or the client does not know a kind of value that it uses."""

    code = Code.UNIMPLEMENTED


class InternalError(ScorewireError):
    """A bug in the server; the server's log has the traceback."""

    code = Code.INTERNAL


class UnavailableError(ScorewireError):
    """The server, or the version, is unavailable now; a retry later may succeed."""

    code = Code.UNAVAILABLE


class DataLossError(ScorewireError):
    """Data is lost or corrupt, and cannot be recovered."""

    code = Code.DATA_LOSS


class UnauthenticatedError(ScorewireError):
    """The call has no valid credential: no API key, token or client certificate that the server takes."""

    code = Code.UNAUTHENTICATED


class TokenError(UnauthenticatedError):
    """The client has no token to show: its `token` failed, or returned none; nothing was sent."""


class InvalidRowsError(InvalidArgumentError, ValueError):
    """The rows do not fit the model's schema; the client found this and sent nothing."""


class NotExplainedError(FailedPreconditionError):
    """The version cannot explain the output that the call asks for; the message tells why."""


_KNOWN = frozenset(map(int, Code))
ERRORS: dict[Code, type[ScorewireError]] = {
    error.code: error
    for error in (
        CancelledError,
        UnknownError,
        InvalidArgumentError,
        DeadlineExceededError,
        NotFoundError,
        AlreadyExistsError,
        PermissionDeniedError,
        ResourceExhaustedError,
        FailedPreconditionError,
        AbortedError,
        OutOfRangeError,
        UnimplementedError,
        InternalError,
        UnavailableError,
        DataLossError,
        UnauthenticatedError,
    )
}

# Reasons with an exception of their own, a subclass of the code's.
OF_REASONS: dict[tuple[Code, str], type[ScorewireError]] = {
    (NotExplainedError.code, "NOT_EXPLAINED"): NotExplainedError
}


def error_from_status(status: status_pb2.Status) -> ScorewireError:
    """The exception for a status other than OK; a code that gRPC does not have counts as UNKNOWN."""
    reason = ""
    metadata: dict[str, str] = {}
    violations: list[Violation] = []
    retry_after: float | None = None
    for detail in status.details:
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        try:
            if detail.Unpack(info) and info.domain == DOMAIN:
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad_request):
                violations += [
                    Violation(field=v.field, description=v.description) for v in bad_request.field_violations
                ]
            elif detail.Unpack(retry):
                seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
                retry_after = max(0.0, seconds)
        except DecodeError:
            continue  # the code and the message are enough
    error = ERRORS.get(Code(status.code), UnknownError) if status.code in _KNOWN else UnknownError
    error = OF_REASONS.get((error.code, reason), error)
    return error(
        status.message or f"the call failed with {error.code.name}",
        reason=reason,
        metadata=metadata,
        violations=violations[:MAX_VIOLATIONS],
        retry_after=retry_after,
    )


def error_from_call(call: grpc.RpcError) -> ScorewireError:
    """The exception for an error that grpc or grpc.aio raised; raise it `from` that error."""
    code, details, trailers = (
        getattr(call, name, lambda: None)() for name in ("code", "details", "trailing_metadata")
    )
    status = status_pb2.Status()
    for key, value in trailers or ():
        if key == _DETAILS_KEY:
            try:
                status.ParseFromString(value)
            except DecodeError:
                status.Clear()
    # gRPC's own code and message win over those in the details.
    status.code = code.value[0] if code is not None else Code.UNKNOWN
    status.message = details or status.message
    return error_from_status(status)


_REASONS: dict[int, str] = {
    number: name.removeprefix("ERROR_REASON_") for name, number in errors_pb2.ErrorReason.items()
}


def reason_name(number: int) -> str:
    """The name of an `ErrorReason` without its prefix, or the number of one that only a newer server has."""
    return _REASONS.get(number, str(number))
