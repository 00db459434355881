"""The kinds of settings: how each is read from text, and which values are valid."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from scorewire_server.catalog.version_policy import DESCRIPTION, parse_version_policy

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
LARGEST_PORT = 65535
_HOST = r"(\[[^\s\]@/?#]*\]|[^\s:@/?#,\[\]]*)(:\d*)?"
_PASSWORD = re.compile(r"password\w*=", re.IGNORECASE)
_PARAMETER = r"[^\s?#&=]+=[^\s#&]*"
_STORE_URL = re.compile(
    rf"postgres(ql)?://([^\s:@/?#\[\]]*@)?{_HOST}(,{_HOST})*(/[^\s@/?#]*)?(\?{_PARAMETER}(&{_PARAMETER})*)?"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """How a setting is read from text.

    Attributes:
        description: which values are valid, for people.
        parse: the value of a text; raises ValueError for a text that is not valid.
    """

    description: str
    parse: Callable[[str], Any]


def integer(low: int, high: int) -> Kind:
    """Whole numbers from `low` to `high`."""
    return Kind(f"a whole number from {low} to {high}", lambda text: _within(int(text), low, high))


def seconds(high: float, low: float = 0.0) -> Kind:
    """Seconds from `low` to `high`, with a fraction."""
    description = f"a number of seconds from {low:g} to {high:g}"
    return Kind(description, lambda text: _within(float(text), low, high))


def choice(*choices: str) -> Kind:
    """One of some words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return Kind("one of " + ", ".join(choices), parse)


def _within(value: float, low: float, high: float) -> float:
    # False for NaN, too.
    if not low <= value <= high:
        raise ValueError(value)
    return value


def _path(text: str) -> Path:
    if not text:
        raise ValueError(text)
    return Path(text)


def _address(text: str) -> str:
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > LARGEST_PORT:
        raise ValueError(text)
    return text


def _policy(text: str) -> str:
    parse_version_policy(text)
    return text


def _text(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def is_store_url(text: str) -> bool:
    """Whether this is a URL of PostgreSQL in which no part can be a piece of a password."""
    return _STORE_URL.fullmatch(text) is not None


def has_password(url: str) -> bool:
    """Whether libpq would find a password in a URL.

    For libpq, a user and a password may have any character but "/", also "?" and "#".
    """
    user, at, _ = url.partition("://")[2].partition("/")[0].partition("@")
    if at and ":" in user:
        return True
    return _PASSWORD.search(unquote(url.partition("?")[2])) is not None


PATH = Kind("a path", _path)
ADDRESS = Kind("HOST:PORT or [IPv6]:PORT; port 0 takes a free one", _address)
# Checked with the other settings, since an error here would show the text, which may have a password.
STORE_URL = Kind("a URL like postgresql://USER@HOST/DATABASE", _text)
VERSION_POLICY = Kind(DESCRIPTION, _policy)
