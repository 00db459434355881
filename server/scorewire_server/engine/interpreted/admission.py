"""The gate of every call."""

from __future__ import annotations

from scorewire_server.engine.context import CallContext
from scorewire_server.engine.interpreted.failures import expired


def admit(context: CallContext) -> None:
    """Let a call in, or refuse it.

    Every call passes here once, before its first message is read: predictions and
    control calls, unary calls and streams. Whatever may refuse a call by its
    method, its metadata or its peer belongs here. Limits of messages in flight are
    the predictor's, since each message of a stream counts.

    Raises:
        DeadlineExceededError: the deadline has passed already.
    """
    if context.expired:
        raise expired()
