"""JSON of strangers, which has one meaning only: no duplicate members, no NaN, and UTF-8."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

# The same on every Python: how deep `json` itself goes depends on the release.
MAX_DEPTH = 32


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
    _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [part for each in level for part in _parts(each)]
        if not level:
            return
    raise ValueError("it is nested too deep")


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("it has a member twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
