"""The failures of calls to a fake server."""

from __future__ import annotations

from google.rpc import error_details_pb2, status_pb2

from scorewire._errors import DOMAIN, Code


class FailedCallError(Exception):
    """The call ends with a status, and nothing else."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


def failure(code: Code, reason: str, message: str) -> FailedCallError:
    """A failure with a reason, as servers send it."""
    status = status_pb2.Status(code=code, message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    return FailedCallError(status)
