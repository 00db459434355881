"""How control methods read their requests and write their answers."""

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
    """A control method that takes one message and answers with another."""

    async def handle(data: bytes, context: CallContext) -> bytes:  # noqa: ARG001 - none of them asks who calls
        try:
            message = request.FromString(data)
        except DecodeError:
            raise MalformedMessageError(f"the message is no {request.DESCRIPTOR.name}") from None
        return (await answer(message)).SerializeToString()

    return UnaryMethod(f"/{service}/{name}", handle)


async def run_to_completion(change: Coroutine[Any, Any, _T]) -> _T:
    """What a change returns, which goes on to its end where the caller goes away before it.

    Half a change would be kept and not in force.
    """
    return await asyncio.shield(asyncio.ensure_future(change))


def check_controllable(controllable: bool) -> None:
    """Check that calls may change something.

    Raises:
        ControlOffError: they may not.
    """
    if not controllable:
        raise ControlOffError(
            "this server takes no calls that change something: --control auto allows them where"
            " --listen is a loopback address; --control on allows them everywhere"
        )
