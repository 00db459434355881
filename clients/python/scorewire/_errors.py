"""The exceptions of the SDK, and the one table from gRPC status codes to them."""

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
# A caller reads a few violations and mends them all.
MAX_VIOLATIONS = 20


class Code(IntEnum):
    """The status codes of gRPC, with their numbers on the wire."""

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
    """One thing that was wrong with a request; `field` is a path like `rows[3].country`."""

    field: str
    description: str


class ScorewireError(Exception):
    """A call failed; the subclass and `code` say how.

    Attributes:
        code: the gRPC status code.
        reason: the server's reason, like "MODEL_NOT_FOUND"; "" where it gave none.
        metadata: what the server added to the reason, by name.
        violations: what was wrong with the request; at most 20.
    """

    code: ClassVar[Code] = Code.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)

    @property
    def message(self) -> str:
        """What went wrong, for people."""
        return str(self)


class CancelledError(ScorewireError):
    """The call was cancelled, for instance by closing the client."""

    code = Code.CANCELLED


class UnknownError(ScorewireError):
    """The server failed in a way that has no code."""

    code = Code.UNKNOWN


class InvalidArgumentError(ScorewireError):
    """The request is wrong whatever the server's state; `violations` says where."""

    code = Code.INVALID_ARGUMENT


class DeadlineExceededError(ScorewireError):
    """No answer came in time."""

    code = Code.DEADLINE_EXCEEDED


class NotFoundError(ScorewireError):
    """The server has no such model, version or alias."""

    code = Code.NOT_FOUND


class AlreadyExistsError(ScorewireError):
    """What should be made is there already."""

    code = Code.ALREADY_EXISTS


class PermissionDeniedError(ScorewireError):
    """The caller is known and may not do this."""

    code = Code.PERMISSION_DENIED


class ResourceExhaustedError(ScorewireError):
    """The call passes a limit: rows in a call, bytes in a message, calls in flight."""

    code = Code.RESOURCE_EXHAUSTED


class FailedPreconditionError(ScorewireError):
    """The server is not in the state that the request asks for."""

    code = Code.FAILED_PRECONDITION


class AbortedError(ScorewireError):
    """The call ran into another one."""

    code = Code.ABORTED


class OutOfRangeError(ScorewireError):
    """The request reaches past the end of something."""

    code = Code.OUT_OF_RANGE


class UnimplementedError(ScorewireError):
    """The server does not know this call, or this client not what the server speaks."""

    code = Code.UNIMPLEMENTED


class InternalError(ScorewireError):
    """A fault of the server; its log has the trace."""

    code = Code.INTERNAL


class UnavailableError(ScorewireError):
    """The server, or the version, cannot be reached now; trying again later may help."""

    code = Code.UNAVAILABLE


class DataLossError(ScorewireError):
    """Data was lost or damaged for good."""

    code = Code.DATA_LOSS


class UnauthenticatedError(ScorewireError):
    """The caller did not say who it is, or not so that the server believes it."""

    code = Code.UNAUTHENTICATED


class InvalidRowsError(InvalidArgumentError, ValueError):
    """The rows do not fit the model's schema; found by the client, nothing was sent."""


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


def error_from_status(status: status_pb2.Status) -> ScorewireError:
    """The exception for a status that is not OK; a code that gRPC lacks counts as unknown."""
    reason = ""
    metadata: dict[str, str] = {}
    violations: list[Violation] = []
    for detail in status.details:
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        try:
            if detail.Unpack(info) and info.domain == DOMAIN:
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad_request):
                violations += [
                    Violation(field=v.field, description=v.description) for v in bad_request.field_violations
                ]
        except DecodeError:
            continue  # the code and the message still say what happened
    error = ERRORS.get(Code(status.code), UnknownError) if status.code in _KNOWN else UnknownError
    return error(
        status.message or f"the call failed with {error.code.name}",
        reason=reason,
        metadata=metadata,
        violations=violations[:MAX_VIOLATIONS],
    )


def error_from_call(call: grpc.RpcError) -> ScorewireError:
    """The exception for what grpc or grpc.aio raised; the caller raises it `from` that."""
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
    # The call's own code and message are what gRPC itself decided on.
    status.code = code.value[0] if code is not None else Code.UNKNOWN
    status.message = details or status.message
    return error_from_status(status)


_REASONS: dict[int, str] = {
    number: name.removeprefix("ERROR_REASON_") for name, number in errors_pb2.ErrorReason.items()
}


def reason_name(number: int) -> str:
    """The reason's name without its prefix; the number for one of a newer server."""
    return _REASONS.get(number, str(number))
