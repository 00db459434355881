"""Why a credential is refused: for the log of the server, never for callers."""

from __future__ import annotations


class RefusedError(Exception):
    """A credential is not valid; the message says why, and has no part of the credential."""
