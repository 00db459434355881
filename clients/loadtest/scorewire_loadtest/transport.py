"""Makes calls to a server, and gives a reply for every call, failed ones too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from scorewire import DeadlineExceededError, Model, ScorewireError, UnauthenticatedError, UnavailableError
from scorewire.options import API_KEY_VARIABLE
from scorewire_loadtest.calls import PreparedCall
from scorewire_loadtest.target import Target
from scorewire_proto.v1 import packed_pb2

PREDICT = "/scorewire.v1.PredictionService/Predict"
PREDICT_STREAM = "/scorewire.v1.PredictionService/PredictStream"
_DETAILS_KEY = "grpc-status-details-bin"
MAX_MESSAGE_CHARS = 200
_CODE_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Reply:
    """How a call ended.

    Attributes:
        done_ns: when the call ended, by `time.monotonic_ns`.
        code: the name of its gRPC status code.
        reason: the reason in its ErrorInfo, or "".
        message: the message of its status.
        response: the response; None if the call failed or the response cannot be parsed.
    """

    done_ns: int
    code: str
    reason: str = ""
    message: str = ""
    response: packed_pb2.PackedPredictResponse | None = None


class Transport(Protocol):
    """Makes calls, many at a time."""

    async def call(self, call: PreparedCall) -> Reply:
        """Make a call. A failure is a reply, too; this does not raise."""

    async def close(self) -> None:
        """Close the connections; calls in flight are cancelled."""


class ServerError(Exception):
    """A server cannot be reached, or does not have the model; the message tells what to do."""


async def get_model(target: Target, model: str, version: str, *, timeout_s: float) -> Model:
    """Get a model from a server.

    Raises:
        ServerError: the server cannot be reached, or has no such model or version.
    """
    try:
        async with target.client(timeout_s) as client:
            return await client.model(model, version=version)
    except (UnavailableError, DeadlineExceededError) as error:
        raise ServerError(
            f"no server answers at {target.address}: {error.message[:MAX_MESSAGE_CHARS]}\n"
            "Is `scorewire serve` running there, and does --address name its host and port?"
        ) from None
    except UnauthenticatedError as error:
        raise ServerError(
            f"{error.code.name}: {error.message}: give --api-key-file, the variable {API_KEY_VARIABLE}, or"
            " --tls-cert"
        ) from None
    except ScorewireError as error:
        named = f"{model} {version}".strip()
        raise ServerError(
            f"the server has no schema of {named}: {error.code.name}: {error.message}"
        ) from None


class UnaryTransport:
    """Calls Predict, on the connections in turn.

    Args:
        target: the server.
        connections: the number of connections.
        timeout_s: the timeout of a call in seconds.
    """

    def __init__(self, target: Target, *, connections: int, timeout_s: float) -> None:
        self._channels = [target.connect(turn) for turn in range(connections)]
        # No serializers: the requests are already serialized.
        self._methods: list[Any] = [channel.unary_unary(PREDICT) for channel in self._channels]
        self._timeout_s = timeout_s
        self._metadata = metadata_of(target)
        self._turn = 0

    async def call(self, call: PreparedCall) -> Reply:
        """As in `Transport`."""
        self._turn = turn = (self._turn + 1) % len(self._methods)
        try:
            body = await self._methods[turn](call.request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            return failure(time.monotonic_ns(), error)
        done_ns = time.monotonic_ns()
        try:
            return Reply(done_ns, "OK", response=packed_pb2.PackedPredictResponse.FromString(body))
        except DecodeError:
            return Reply(done_ns, "OK")

    async def close(self) -> None:
        """As in `Transport`."""
        await close_all(self._channels)


def metadata_of(target: Target) -> tuple[tuple[str, str], ...]:
    """The metadata of all calls to a server."""
    shown = target.authorization()
    return () if shown is None else (("authorization", shown),)


def failure(done_ns: int, error: grpc.aio.AioRpcError) -> Reply:
    """The reply for a call that failed."""
    reason = ""
    for key, value in error.trailing_metadata():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status()
            if _parse(status, value):
                reason = reason_of(status)
    message = (error.details() or "")[:MAX_MESSAGE_CHARS]
    return Reply(done_ns, error.code().name, reason, message)


def reason_of(status: status_pb2.Status) -> str:
    """The reason in the status's ErrorInfo; "" without an ErrorInfo."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR) and _parse(info, detail.value):
            return str(info.reason)
    return ""


def code_name(number: int) -> str:
    """The name of a status code by its number."""
    return _CODE_NAMES.get(number, f"CODE_{number}")


async def close_all(channels: Sequence[grpc.aio.Channel]) -> None:
    """Close channels concurrently."""
    await asyncio.gather(*(channel.close() for channel in channels))


def _parse(message: Message, content: bytes) -> bool:
    try:
        message.ParseFromString(content)
    except DecodeError:
        return False
    return True
