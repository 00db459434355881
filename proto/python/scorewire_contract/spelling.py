"""Finds the name that a misspelt one was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# The smallest share of characters in common, 0 to 1, as difflib measures it: "contry" and "country" have
# 0.92. Names that merely share letters, like "signup_date" and "signed_up", have less.
_CLOSE = 0.75


def meant(name: str, names: Iterable[str]) -> str | None:
    """The name that is closest to a misspelt one, whatever its case; None if none of them is close."""
    by_lower = {known.lower(): known for known in reversed(list(names))}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=_CLOSE)
    return by_lower[near[0]] if near else None


def suggestion(name: str, names: Iterable[str]) -> str:
    """The end of an error message, such as "; did you mean 'country'?"; "" if no name is close."""
    near = meant(name, names)
    return f"; did you mean {near!r}?" if near else ""
