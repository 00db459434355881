"""What a request asks for of a file: all of it, a range, or nothing if it has not changed (RFC 9110)."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from enum import Enum, auto

from starlette.datastructures import Headers

_RANGE = re.compile(r"bytes=\s*([0-9]{0,19})-([0-9]{0,19})\s*", re.IGNORECASE)
_TAG = re.compile(r'(W/)?"([!#-~]*)"')


class Answer(Enum):
    """What is answered instead of content."""

    NOT_MODIFIED = auto()
    PRECONDITION_FAILED = auto()
    NOT_SATISFIABLE = auto()


def http_date(moment: datetime) -> str:
    """A time as headers have it, in whole seconds."""
    return format_datetime(moment.replace(microsecond=0), usegmt=True)


def wanted(
    headers: Headers, *, tag: str | None, modified: datetime, size: int, is_get: bool
) -> range | Answer:
    """The bytes that a request asks for, or what is answered instead.

    Args:
        headers: the headers of the request.
        tag: the entity tag of the file, in quotes; None without one.
        modified: when the file was changed last.
        size: the bytes of the file.
        is_get: whether the method is GET; no other method has ranges.
    """
    if (match := headers.get("if-match")) is not None and not _matches(match, tag, weakly=False):
        return Answer.PRECONDITION_FAILED
    if (none_match := headers.get("if-none-match")) is not None:
        if _matches(none_match, tag, weakly=True):
            return Answer.NOT_MODIFIED
    elif (since := _date(headers.get("if-modified-since"))) and modified.replace(microsecond=0) <= since:
        return Answer.NOT_MODIFIED
    everything = range(size)
    text = headers.get("range")
    if text is None or not is_get or not _if_range(headers.get("if-range"), tag, modified):
        return everything
    found = _RANGE.fullmatch(text)
    # Several ranges, and what is no range, get the whole file, as the RFC allows.
    if found is None or found[1] == found[2] == "":
        return everything
    return _range(found[1], found[2], size)


def _range(first: str, last: str, size: int) -> range | Answer:
    if not first:
        count = min(int(last), size)
        return range(size - count, size) if count else Answer.NOT_SATISFIABLE
    begin = int(first)
    if last and int(last) < begin:
        return range(size)
    if begin >= size:
        return Answer.NOT_SATISFIABLE
    return range(begin, min(int(last) + 1, size) if last else size)


def _matches(header: str, tag: str | None, *, weakly: bool) -> bool:
    if header.strip() == "*":
        return True
    if tag is None:
        return False
    return any(f'"{each[2]}"' == tag and (weakly or not each[1]) for each in _TAG.finditer(header))


def _if_range(header: str | None, tag: str | None, modified: datetime) -> bool:
    """Whether the range still belongs to the file; a date must be the very date of the file."""
    if header is None:
        return True
    if header.lstrip().startswith(('"', "W/")):
        return tag is not None and header.strip() == tag
    return _date(header) == modified.replace(microsecond=0)


def _date(header: str | None) -> datetime | None:
    if header is None:
        return None
    try:
        found = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo is not None else None
