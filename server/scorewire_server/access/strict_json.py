"""JSON of strangers, which has one meaning only: no duplicate members, no NaN, and UTF-8."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def parse_object(content: bytes) -> dict[str, Any]:
    """Read an object.

    Raises:
        ValueError: the content is no object, not UTF-8, too deep, or has a member twice or a number that is
            none of JSON.
    """
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_members, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("it has a member twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
