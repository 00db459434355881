"""A call of the blocking client that is hedged."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Any

from scorewire._hedging import ONLY_THIS_COPY, Hedger


def hedged(send: Callable[[], Any], hedger: Hedger) -> Any:
    """The first answer to the copies of a call, which `send` sends; the other copies are cancelled.

    Raises:
        RpcError: a copy failed in a way that another one does not mend, or all that were sent failed.
    """
    begin = time.monotonic()
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    copies: list[Any] = []

    def send_copy() -> None:
        copies.append(send())
        copies[-1].add_done_callback(done.put)

    try:
        send_copy()
        answered = 0
        may_send = True
        while True:
            may_send = may_send and len(copies) < hedger.attempts
            try:
                first = done.get(timeout=hedger.delay if may_send else None)
            except queue.Empty:
                may_send = hedger.may_send()
                if may_send:
                    send_copy()
                continue
            answered += 1
            if first.code() in ONLY_THIS_COPY and answered < len(copies):
                continue
            response = first.result()
            hedger.answered(time.monotonic() - begin)
            return response
    finally:
        for copy in copies:
            copy.cancel()
