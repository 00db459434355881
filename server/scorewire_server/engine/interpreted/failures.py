"""How both engines word the failures of calls that are well formed and cannot be answered."""

from __future__ import annotations

from scorewire_server.errors import (
    DeadlineExceededError,
    DrainingError,
    OverloadedError,
    RunStoppedError,
    StartError,
    TooManyInFlightError,
)


def too_many_in_flight(limit: int) -> TooManyInFlightError:
    """The failure of a call that comes while `limit` others are being answered."""
    return TooManyInFlightError(f"the server answers {limit} calls already; try again later", limit=limit)


def too_many_bytes() -> TooManyInFlightError:
    """The failure of a call whose answer would have to wait behind too many others."""
    return TooManyInFlightError(
        "the server holds as many bytes of messages and answers as it may; try again later"
    )


def too_many_failing() -> TooManyInFlightError:
    """The failure of a call that is wrong, while very many are."""
    return TooManyInFlightError(
        "more calls fail at one time than the server can word; try again for the reason"
    )


def expired() -> DeadlineExceededError:
    """The failure of a call whose deadline passed."""
    return DeadlineExceededError(
        "the deadline passed before the model was done; allow more time or send fewer rows"
    )


def overloaded() -> OverloadedError:
    """The failure of a call that waited for too long where more calls come than can be answered."""
    return OverloadedError("the call waited for half of its time already; try another server, or again later")


def run_stopped(seconds: float) -> RunStoppedError:
    """The failure of a call whose run was stopped."""
    return RunStoppedError(
        f"the model ran longer than the {seconds:g} s of one run and was stopped; send fewer rows",
        limit_seconds=f"{seconds:g}",
    )


def draining() -> DrainingError:
    """The failure of a call that is not answered before the server stops."""
    return DrainingError("the server is about to stop; send the call to another")


def cannot_bind(listen: str, detail: str = "") -> StartError:
    """The failure to start on an address; `detail` is what the system says of it."""
    return StartError(
        f"--listen {listen} cannot be bound: it is in use, no address of this machine, or not allowed{detail}"
    )
