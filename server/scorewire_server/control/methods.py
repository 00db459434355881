"""Builds control methods: reads their requests, writes their answers, and guards changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from scorewire_server.engine.context import CallContext
from scorewire_server.engine.port import UnaryMethod
from scorewire_server.errors import ControlOffError, MalformedMessageError

_Request = TypeVar("_Request", bound=Message)
_T = TypeVar("_T")


def unary(
    service: str, name: str, request: type[_Request], answer: Callable[[_Request], Awaitable[Message]]
) -> UnaryMethod:
    """A control method with one request and one answer.

    Args:
        service: the full name of the service.
        name: the name of the method.
        request: the type of the request.
        answer: answers a request.
    """

    async def handle(data: bytes, _: CallContext) -> bytes:
        try:
            message = request.FromString(data)
        except DecodeError:
            raise MalformedMessageError(f"the message does not parse as {request.DESCRIPTOR.name}") from None
        return (await answer(message)).SerializeToString()

    return UnaryMethod(f"/{service}/{name}", handle)


async def run_to_completion(change: Coroutine[Any, Any, _T]) -> _T:
    """Await a change that goes on to its end even if the caller goes away.

    A change that stopped halfway would be in the state file and not in force.
    """
    return await asyncio.shield(asyncio.ensure_future(change))


def check_controllable(controllable: bool) -> None:
    """Check that calls may change something.

    Raises:
        ControlOffError: `controllable` is false.
    """
    if not controllable:
        raise ControlOffError(
            "this server refuses calls that change something: --control auto allows them if"
            " --listen is a loopback address; --control on allows them everywhere"
        )
