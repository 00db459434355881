"""The gate of every call."""

from __future__ import annotations

from scorewire_server.engine.context import CallContext
from scorewire_server.engine.interpreted.failures import expired


def admit(context: CallContext) -> None:
    """Let a call in, or refuse it.

    Every call of the reference engine passes here once, before its first message is
    read: predictions and control calls, unary calls and streams. Every check of a
    call's method, metadata, peer or deadline belongs here. The limit of messages in
    flight does not, since each message of a stream counts: the predictor has it.

    Raises:
        DeadlineExceededError: the deadline has passed.
    """
    if context.expired:
        raise expired()
