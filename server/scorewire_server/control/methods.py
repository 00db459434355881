"""Builds control methods: reads their requests, and writes their answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from scorewire_server.engine.context import CallContext
from scorewire_server.engine.port import UnaryMethod
from scorewire_server.errors import MalformedMessageError

_Request = TypeVar("_Request", bound=Message)


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

    async def answer_anybody(message: _Request, _: CallContext) -> Message:
        return await answer(message)

    return unary_of_caller(service, name, request, answer_anybody)


def unary_of_caller(
    service: str,
    name: str,
    request: type[_Request],
    answer: Callable[[_Request, CallContext], Awaitable[Message]],
) -> UnaryMethod:
    """A method as of `unary` whose answer depends on who calls: `answer` also gets the context."""

    async def handle(data: bytes, context: CallContext) -> bytes:
        try:
            message = request.FromString(data)
        except DecodeError:
            raise MalformedMessageError(f"the message does not parse as {request.DESCRIPTOR.name}") from None
        return (await answer(message, context)).SerializeToString()

    return UnaryMethod(f"/{service}/{name}", handle)
