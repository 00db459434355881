"""Who calls an engine in the tests of both engines, and what the engine asks the control plane about them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from hashlib import sha256
from typing import Any

import grpc

from scorewire_contract.patterns import Patterns
from scorewire_server.engine.access import (
    AccessTable,
    Grant,
    Principal,
    Rate,
    Right,
)
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.port import ControlMethod, StreamMethod, UnaryMethod
from tests.scorewire_server.engine.reference.callers import Verifier
from tests.scorewire_server.engine.running import MESSAGE, RunningEngine, failure_of

ECHO, OPEN, STREAM, OPEN_STREAM = (
    f"/test.Control/{name}" for name in ("Echo", "Open", "Stream", "OpenStream")
)
KEY, OTHER_KEY, EXPIRED_KEY = (f"scorewire_{number}_" + 64 * str(number) for number in (1, 2, 3))
SHOP = Principal("shop", {Right.PREDICT: Patterns(prefixes=("",))})
BANK = Principal("bank", {Right.PREDICT: Patterns(prefixes=("",))})


def bearer(token: str, scheme: str = "Bearer") -> tuple[tuple[str, str], ...]:
    """The metadata that shows a token."""
    return (("authorization", f"{scheme} {token}"),)


def table(keys: dict[str, Grant] | None = None, *, burst: float = 1e6, **more: Any) -> AccessTable:
    """A table with keys; without any given: one of each principal, and one that has expired."""
    keys = keys or {KEY: Grant(SHOP), OTHER_KEY: Grant(BANK), EXPIRED_KEY: Grant(SHOP, time.time() - 1)}
    return AccessTable(
        principals={each.name: each for each in (SHOP, BANK)},
        keys={sha256(key.encode()).digest(): grant for key, grant in keys.items()},
        failures=Rate(1e-3, burst),
        open_paths=frozenset({OPEN, OPEN_STREAM}),
        **more,
    )


class Control(Verifier):
    """What an engine asks of the control plane: credentials, and calls that tell who made them."""

    def tokens(self) -> list[bytes]:
        """The values that were asked about, in order."""
        return [credential.value for credential in self.asked]

    def methods(self) -> list[ControlMethod]:
        """Methods that answer the name of who calls, once or for each message."""

        def name(context: CallContext) -> bytes:
            return b"nobody" if context.principal is None else context.principal.name.encode()

        async def answer(_: bytes, context: CallContext) -> bytes:
            return name(context)

        async def answer_all(messages: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
            async for _ in messages:
                yield name(context)

        unary = [UnaryMethod(path, answer) for path in (ECHO, OPEN)]
        return [*unary, *(StreamMethod(path, answer_all) for path in (STREAM, OPEN_STREAM))]


def refusals(running: RunningEngine) -> dict[str, int]:
    """The counts of refused credentials that are not 0."""
    counts = running.engine.statistics.credentials_refused
    return {cause: count for cause, count in counts.items() if count}


async def code_of(call: Awaitable[Any]) -> grpc.StatusCode:
    """The code of a call that must fail, and not for a limit of time."""
    failure = await failure_of(call)
    assert failure.code != grpc.StatusCode.DEADLINE_EXCEEDED
    return failure.code


async def ended(stream: Any) -> grpc.StatusCode:
    """Wait for the end of a stream, which must come by itself."""
    async with asyncio.timeout(20):
        code: grpc.StatusCode = await stream.code()
    return code


async def exchange(stream: Any, data: bytes = MESSAGE) -> bytes:
    """One message of a stream and its answer."""
    await stream.write(data)
    answer: bytes = await stream.read()
    return answer
