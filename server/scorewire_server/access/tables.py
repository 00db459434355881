"""Strict reading of the tables of a TOML file: what is not understood is an error that names its place."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import isfinite
from typing import Any

from scorewire_contract.spelling import suggestion

_MAX_SHOWN = 100
_MAX_TEXT = 2048
_MOST_TEXTS = 1000


class AccessError(ValueError):
    """The access file, or a file that it needs, cannot be used; the message says what to change."""


class Table:
    """A table of the file.

    Attributes:
        where: its place, as errors name it, like [principals.shop].

    Raises:
        AccessError: the value is no table, or has an entry that is not known.
    """

    def __init__(self, where: str, value: Any, known: Sequence[str]) -> None:
        self.where = where
        self._values = table(where, value)
        for name in self._values:
            if name not in known:
                near = suggestion(name, known) or f"; its entries are {', '.join(known)}"
                raise AccessError(f"{where} has an unknown entry {show(name)}{near}")

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def at(self, name: str) -> str:
        """The place of an entry, for an error."""
        return f"{self.where} {name}"

    def get(self, name: str, default: Any = None) -> Any:
        """An entry as it is, `default` if there is none."""
        return self._values.get(name, default)

    def need(self, name: str, example: str) -> Any:
        """An entry that must be there.

        Raises:
            AccessError: it is not.
        """
        if name not in self._values:
            raise AccessError(f"{self.where} has no {name}; write one, like {name} = {example}")
        return self._values[name]

    def text(self, name: str, example: str) -> str:
        """A text that must be there.

        Raises:
            AccessError: it is missing, or no text of 1 to 2048 printable characters.
        """
        value = self.need(name, example)
        if not is_text(value):
            raise AccessError(
                f"{self.at(name)} is {show(value)}; it must be 1 to {_MAX_TEXT} printable characters in"
                f" quotes, like {example}"
            )
        return str(value)

    def texts(self, name: str, example: str) -> list[str]:
        """A list of texts; empty if there is no such entry.

        Raises:
            AccessError: it is no list of texts, or has one twice.
        """
        value = self._values.get(name, [])
        if not isinstance(value, list) or not all(map(is_text, value)):
            raise AccessError(f"{self.at(name)} is {show(value)}; it must be a list of texts, like {example}")
        if len(value) > _MOST_TEXTS:
            raise AccessError(f"{self.at(name)} has {len(value)} texts; it may have {_MOST_TEXTS}")
        for index, each in enumerate(value):
            if each in value[:index]:
                raise AccessError(f"{self.at(name)} has {show(each)} twice; leave one out")
        return value

    def flag(self, name: str) -> bool:
        """Whether an entry is true; false if there is none.

        Raises:
            AccessError: it is neither true nor false.
        """
        value = self._values.get(name, False)
        if not isinstance(value, bool):
            raise AccessError(f"{self.at(name)} is {show(value)}; it must be true or false")
        return value

    def number(self, name: str, low: float, high: float, default: float) -> float:
        """A number from `low` to `high`; `default` if there is none.

        Raises:
            AccessError: it is no such number.
        """
        value = self.optional_number(name, low, high)
        return default if value is None else value

    def optional_number(self, name: str, low: float, high: float) -> float | None:
        """A number from `low` to `high`; None if there is none.

        Raises:
            AccessError: it is no such number.
        """
        value = self._values.get(name)
        if value is None:
            return None
        if type(value) not in (int, float) or not isfinite(value) or not low <= value <= high:
            raise AccessError(
                f"{self.at(name)} is {show(value)}; it must be a number from {low:g} to {high:g}"
            )
        return float(value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`; None if there is none.

        Raises:
            AccessError: it is no such number.
        """
        value = self._values.get(name)
        if value is None:
            return None
        if type(value) is not int or not low <= value <= high:
            raise AccessError(
                f"{self.at(name)} is {show(value)}; it must be a whole number from {low} to {high}"
            )
        return value

    def time(self, name: str) -> float | None:
        """A time, in seconds since 1970; None if there is none.

        Raises:
            AccessError: it is no time with a zone.
        """
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise AccessError(
                f"{self.at(name)} is {show(value)}; it must be a time with a zone, like 2030-01-31T12:00:00Z"
            )
        return value.timestamp()


def table(where: str, value: Any) -> dict[str, Any]:
    """A value that must be a table.

    Raises:
        AccessError: it is none.
    """
    if not isinstance(value, dict):
        raise AccessError(f"{where} is {show(value)}; it must be a table")
    return value


def array(where: str, value: Any) -> list[Any]:
    """A value that must be an array of tables.

    Raises:
        AccessError: it is none.
    """
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise AccessError(f"{where} must be tables: write [{where}] above the entries of each")
    return value


def is_text(value: Any) -> bool:
    """Whether a value is a text of 1 to 2048 printable characters."""
    return isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and value.isprintable()


def show(value: Any) -> str:
    """A value as errors show it: short, and without anything that is not printable."""
    text = str(value) if isinstance(value, datetime) else repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
