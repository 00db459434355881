"""What can go wrong with an export. Every message says why, and what to do instead."""

from __future__ import annotations


class ExportError(ValueError):
    """A model was not exported."""


class UnsupportedModelError(ExportError):
    """A model, or a step or setting of it, cannot be exported faithfully.

    Args:
        reason: what it is that cannot.
        way_out: what the user can do instead.
    """

    def __init__(self, reason: str, way_out: str) -> None:
        super().__init__(f"{reason}; {way_out}")
        self.reason = reason
        self.way_out = way_out


class ParityError(ExportError):
    """The graph and the fitted model differ; the message has a table of the rows."""
