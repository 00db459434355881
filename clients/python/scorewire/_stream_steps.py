"""The steps of a stream's flow, which the clients carry out, and what the server's responses mean to it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import grpc

from scorewire._errors import (
    DeadlineExceededError,
    ScorewireError,
    UnauthenticatedError,
    UnavailableError,
    error_from_call,
)
from scorewire._flows import Call, Sleep, check_response
from scorewire._predictions import Prediction, Predictions
from scorewire_proto.v1 import packed_pb2

# How long a client waits for the server to end a stream after its last response.
FINISH_SECONDS = 1.0

Result: TypeAlias = "Prediction | Predictions | ScorewireError"


class Mark:
    """The type of `END` and `LATER`."""


# There are no more rows, or no more responses.
END: Final = Mark()
# A response has arrived before the caller's next rows.
LATER: Final = Mark()


@dataclass(frozen=True, slots=True)
class TakeRows:
    """Take the caller's next rows; send the rows, END or LATER into the flow."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open the stream, and close the one that was open.

    Attributes:
        refused: why the stream before ended, if its token was refused; raised if there is no other token.
    """

    refused: UnauthenticatedError | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Send:
    """Send a request on the open stream."""

    request: packed_pb2.PackedPredictStreamRequest


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for the next response on the open stream, at most `timeout` seconds."""

    timeout: float


@dataclass(frozen=True, slots=True, eq=False)
class Emit:
    """Give results to the caller."""

    results: list[Result]


StreamFlow: TypeAlias = Generator[Call | TakeRows | Open | Send | Receive | Sleep | Emit, Any, None]


def expired(step: Receive) -> DeadlineExceededError:
    """The error where no response has come within the time of a step."""
    return DeadlineExceededError(f"the stream gave no response within {step.timeout:g} s")


def check_received(received: Any) -> Any:
    """Return a response that was received.

    Args:
        received: a response, or what ended the stream: an error of grpc, or END.

    Raises:
        ScorewireError: the stream has ended.
        InternalError: the response cannot be parsed.
    """
    if isinstance(received, grpc.RpcError):
        raise error_from_call(received) from received
    if received is END:
        raise UnavailableError("the server ended the stream before it had answered all")
    return check_response(received)
