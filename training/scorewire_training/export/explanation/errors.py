"""What ends the explanation of an output, and not the export."""

from __future__ import annotations


class UnexplainedError(Exception):
    """An output cannot be explained; the message is the reason, for people."""
