"""A call of the asyncio client that is hedged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from scorewire._hedging import ONLY_THIS_COPY, Hedger


async def hedged(send: Callable[[], Awaitable[Any]], hedger: Hedger) -> Any:
    """The first answer to the copies of a call, which `send` sends; the other copies are cancelled.

    Raises:
        RpcError: a copy failed in a way that another one does not mend, or all that were sent failed.
    """
    begin = time.monotonic()
    copies: list[asyncio.Future[Any]] = []
    pending: set[asyncio.Future[Any]] = set()

    def send_copy() -> None:
        copies.append(asyncio.ensure_future(send()))
        pending.add(copies[-1])

    try:
        send_copy()
        may_send = True
        while True:
            may_send = may_send and len(copies) < hedger.attempts
            done, _ = await asyncio.wait(
                pending, timeout=hedger.delay if may_send else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                may_send = hedger.may_send()
                if may_send:
                    send_copy()
                continue
            pending -= done
            first = min(done, key=_concerns_it_only)
            if _concerns_it_only(first) and pending:
                continue
            response = first.result()
            hedger.answered(time.monotonic() - begin)
            return response
    finally:
        for copy in copies:
            copy.cancel()
        # Also takes the errors of copies whose answer nobody wants.
        await asyncio.gather(*copies, return_exceptions=True)


def _concerns_it_only(copy: asyncio.Future[Any]) -> bool:
    """Whether a copy that is done has failed so that another copy may succeed."""
    error = None if copy.cancelled() else copy.exception()
    return isinstance(error, grpc.aio.AioRpcError) and error.code() in ONLY_THIS_COPY
