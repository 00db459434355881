"""The limits of principals in the extension, for messages that are answered in Python."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import scorewire_native
from scorewire_server.engine.access import Principal
from scorewire_server.engine.interpreted.failures import caller_limit
from scorewire_server.engine.interpreted.limits import retry_seconds


class NativeLimits:
    """The extension's `PredictionLimits`. It has taken the call and the place of what it forwards."""

    def __init__(self, native: scorewire_native.Engine) -> None:
        self._native = native

    def take_call(self, principal: Principal) -> None:
        """Do nothing: the extension has taken the call."""

    def take_rows(self, principal: Principal, rows: int) -> None:
        """Take the rows of a message, which the extension does not know."""
        seconds = self._native.charge_rows(principal.name, rows)
        if seconds is not None:
            raise caller_limit(retry_seconds(round(seconds * 1e9)))

    def deny(self, principal: Principal) -> None:
        """Count a message that was refused for a missing right."""
        self._native.count_denied(principal.name)

    def place(self, principal: Principal, taken: int) -> AbstractContextManager[None]:  # noqa: ARG002
        """Do nothing: the extension holds a place for the message."""
        return nullcontext()
