"""The failures that do not depend on what a call asks for, with the same words in both engines."""

from __future__ import annotations

from scorewire_contract.memory import explain_memory
from scorewire_contract.service.start import StartError
from scorewire_server.errors import (
    CallerLimitError,
    DeadlineExceededError,
    DrainingError,
    OverloadedError,
    PermissionDeniedError,
    RunStoppedError,
    TooManyInFlightError,
    UnauthenticatedError,
)


def too_many_in_flight(limit: int) -> TooManyInFlightError:
    """The failure of a call that arrives while `limit` others are being answered."""
    return TooManyInFlightError(f"the server answers {limit} calls already; try again later", limit=limit)


def too_many_bytes() -> TooManyInFlightError:
    """The failure of a call whose messages or answers would exceed the bytes that callers may hold."""
    return TooManyInFlightError(
        "the server holds as many bytes of messages and answers as it may; try again later"
    )


def too_many_failing() -> TooManyInFlightError:
    """The failure of a wrong call while too many wrong calls wait for their words."""
    return TooManyInFlightError(
        "too many calls fail at the same time to tell each its reason; try again for the reason"
    )


def expired() -> DeadlineExceededError:
    """The failure of a call whose deadline has passed."""
    return DeadlineExceededError(
        "the deadline passed before the model was done; allow more time or send fewer rows"
    )


def overloaded() -> OverloadedError:
    """The failure of a call that waited for half of its time, in an overloaded server."""
    return OverloadedError(
        "the call has waited for half of its time already; try another server, or again later"
    )


def over_share() -> OverloadedError:
    """The failure of a call of a principal that uses more than its share of an overloaded server."""
    return OverloadedError(
        "the server is overloaded, and the caller uses more than its share of it; try again later"
    )


def run_stopped(seconds: float) -> RunStoppedError:
    """The failure of a call whose run took longer than --max-run-seconds."""
    return RunStoppedError(
        f"the model ran longer than the {seconds:g} s of one run and was stopped; send fewer rows",
        limit_seconds=f"{seconds:g}",
    )


def unauthenticated() -> UnauthenticatedError:
    """The failure of a call without a valid credential: the same for whatever is wrong with it."""
    return UnauthenticatedError("the call shows no valid credential")


def permission_denied() -> PermissionDeniedError:
    """The failure of a call without a right: the same for models that exist and for others."""
    return PermissionDeniedError("the caller has no right to do this with this model")


def caller_limit(retry_seconds: float) -> CallerLimitError:
    """The failure of a call of a principal that has used up what its limits allow."""
    return CallerLimitError(
        "the caller has used up its limit of calls or rows; try again later", retry_seconds=retry_seconds
    )


def draining() -> DrainingError:
    """The failure of a call that the server cannot answer before it stops, or ends an old connection."""
    return DrainingError("the server is about to stop, or ends this old connection; send the call again")


def cannot_bind(listen: str, detail: str = "") -> StartError:
    """The failure to start on an address; `detail` is what the system says of it."""
    return StartError(
        f"--listen {listen} cannot be bound: it is in use, no address of this machine, or not allowed{detail}"
    )


def run_failed(text: str) -> RuntimeError:
    """The fault of a graph that failed, for the log; `text` names the model, its rows and what failed."""
    return RuntimeError(explain_memory(text, "send fewer rows in a call, or give the server more memory"))
