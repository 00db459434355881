"""The errors of exports. Every message says the reason and what to do instead."""

from __future__ import annotations


class ExportError(ValueError):
    """The export failed, and no bundle was written."""


class UnsupportedModelError(ExportError):
    """The model, a step or a setting has no exact translation.

    Args:
        reason: what cannot be exported, and why.
        way_out: what the user can do instead.
    """

    def __init__(self, reason: str, way_out: str) -> None:
        super().__init__(f"{reason}; {way_out}")
        self.reason = reason
        self.way_out = way_out


class ParityError(ExportError):
    """The graph and the fitted model score rows differently; the message has a table of these rows."""
