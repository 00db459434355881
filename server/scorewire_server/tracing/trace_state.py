"""Checks a tracestate as https://www.w3.org/TR/trace-context/#tracestate-header says."""

from __future__ import annotations

import re

_MAX_MEMBERS = 32
_KEY = r"[a-z0-9][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}"
# Printable characters but the comma and the equals sign; the last one is no space.
_CHARACTER = r"\x20-\x2b\x2d-\x3c\x3e-\x7e"
_MEMBER = re.compile(rf"({_KEY})=([{_CHARACTER}]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e])")


def valid_state(state: str) -> str:
    """The tracestate to pass on: without empty members; "" if it is not valid."""
    members = [member for member in (part.strip(" \t") for part in state.split(",")) if member]
    matches = [_MEMBER.fullmatch(member) for member in members]
    keys = {match[1] for match in matches if match is not None}
    if len(members) > _MAX_MEMBERS or len(keys) < len(members):
        return ""
    return ",".join(members)
