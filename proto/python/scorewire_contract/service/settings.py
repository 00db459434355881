"""Settings of a service: the fields of a frozen dataclass, from flags and environment variables.

Each field is annotated with its kind and its purpose:

    max_rows: Annotated[int, integer(1, 100), "Most rows in one call."] = 10

A flag wins over its variable, and the variable over the default. The kind checks
the value, once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any, get_args, get_type_hints
from urllib.parse import unquote

import click

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
LARGEST_PORT = 65535
_HOST = r"(\[[^\s\]@/?#]*\]|[^\s:@/?#,\[\]]*)(:\d*)?"
_PASSWORD = re.compile(r"password\w*=", re.IGNORECASE)
_PARAMETER = r"[^\s?#&=]+=[^\s#&]*"
_STORE_URL = re.compile(
    rf"postgres(ql)?://([^\s:@/?#\[\]]*@)?{_HOST}(,{_HOST})*(/[^\s@/?#]*)?(\?{_PARAMETER}(&{_PARAMETER})*)?"
)
_COLLECTOR = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?/?")
_COLLECTOR_PORT = 4317


class SettingError(ValueError):
    """A setting has an invalid value; the message names the setting and its valid values."""


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


def share() -> Kind:
    """Parts of a whole, from 0 to 1."""
    return Kind("a number from 0 to 1", lambda text: _within(float(text), 0.0, 1.0))


def printable(longest: int) -> Kind:
    """Printable text."""

    def parse(text: str) -> str:
        if not text or len(text) > longest or not text.isprintable():
            raise ValueError(text)
        return text

    return Kind(f"1 to {longest} printable characters", parse)


def choice(*choices: str) -> Kind:
    """One of some words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return Kind("one of " + ", ".join(choices), parse)


def several(each: Kind) -> Kind:
    """Values of a kind, separated by commas."""

    def parse(text: str) -> tuple[Any, ...]:
        return tuple(each.parse(part.strip()) for part in text.split(","))

    return Kind(f"{each.description}, separated by commas", parse)


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


def _text(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def parse_collector(url: str) -> tuple[str, bool]:
    """HOST:PORT of a collector of OTLP over gRPC, and whether it speaks TLS.

    Raises:
        ValueError: the URL is none of a collector; the text does not show the URL, which may have a password.
    """
    match = _COLLECTOR.fullmatch(url)
    if match is None or int(match[3] or 1) not in range(1, LARGEST_PORT + 1):
        raise ValueError(COLLECTOR_URL.description)
    return f"{match[2]}:{match[3] or _COLLECTOR_PORT}", match[1] == "https"


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
# As above.
COLLECTOR_URL = Kind(
    f"a URL like http://HOST:{_COLLECTOR_PORT} or https://HOST:{_COLLECTOR_PORT}, without a path", _text
)


def host_of(address: str) -> str:
    """The host of an `ADDRESS`, in lower case and without brackets."""
    return address.rpartition(":")[0].strip("[]").lower()


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an `ADDRESS` that is listened on."""
    host = host_of(address)
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def flag(name: str) -> str:
    """The flag of a setting: --max-rows for max_rows."""
    return "--" + name.replace("_", "-")


def variable(prefix: str, name: str) -> str:
    """The environment variable of a setting: SCOREWIRE_MAX_ROWS for max_rows and the prefix SCOREWIRE_."""
    return prefix + name.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What people read about a setting; its text is the help of the flag.

    Attributes:
        purpose: what the setting is for.
        values: its valid values.
        variable: its environment variable.
        default: the text of its default; empty if it has none.
    """

    purpose: str
    values: str
    variable: str
    default: str

    def __str__(self) -> str:
        default = f"; default {self.default}" if self.default else ""
        return f"{self.purpose} ({self.values}; {self.variable}{default})"


def kinds(settings: type) -> dict[str, tuple[Kind, str]]:
    """The kind and the purpose of each setting, by name."""
    hints = get_type_hints(settings, include_extras=True)
    return {each.name: get_args(hints[each.name])[1:] for each in fields(settings)}


def describe(settings: type, prefix: str) -> dict[str, Description]:
    """The description of each setting, by name; `prefix` begins the names of the variables."""
    described = {}
    known = kinds(settings)
    for each in fields(settings):
        kind, purpose = known[each.name]
        default = "" if each.default in (None, MISSING, ()) else str(each.default)
        described[each.name] = Description(
            purpose=purpose, values=kind.description, variable=variable(prefix, each.name), default=default
        )
    return described


def options(descriptions: Mapping[str, Description]) -> Callable[[click.Command], click.Command]:
    """A decorator that gives a command the flag of each setting."""

    def add(command: click.Command) -> click.Command:
        for name, description in descriptions.items():
            command.params.append(click.Option([flag(name)], metavar="VALUE", help=str(description)))
        return command

    return add


def read_values(
    settings: type, prefix: str, flags: Mapping[str, str | None], environment: Mapping[str, str] | None
) -> dict[str, Any]:
    """Read the values of those settings that have a flag or a variable.

    Args:
        settings: the dataclass.
        prefix: the beginning of the names of the variables.
        flags: the text of each flag, by the setting's name; None for a flag that was not given.
        environment: the variables; those of the process unless given.

    Raises:
        SettingError: a value is not valid.
    """
    variables = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for name, (kind, _) in kinds(settings).items():
        text, source = flags.get(name), flag(name)
        if text is None:
            text, source = variables.get(variable(prefix, name)), variable(prefix, name)
        if text is None:
            continue
        try:
            values[name] = kind.parse(text.strip())
        except ValueError:
            raise SettingError(f"{source} is {text[:100]!r}; it must be {kind.description}") from None
    return values
