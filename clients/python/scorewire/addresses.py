"""Addresses of servers, as callers write them and as grpc takes them.

An address is one of these:

- HOST or HOST:PORT; the port is `DEFAULT_PORT` unless it is given. An IPv6
  address with a port is written [ADDRESS]:PORT.
- `dns:///HOST:PORT`: calls are spread over all addresses that DNS has for the host.
- Several of HOST:PORT, as a sequence or separated by commas: calls are spread over them.
- `unix:PATH`, or another target that grpc takes, such as `ipv4:10.0.0.1:8500`.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scorewire._errors import UnavailableError

DEFAULT_PORT = 8500
_URL = re.compile(r"(https?|grpcs?)://", re.IGNORECASE)
_DNS = re.compile(r"dns:(//[^/]*/)?(?P<address>.+)")
_TARGET = re.compile(r"(unix|unix-abstract|vsock|ipv4|ipv6|xds):")
# The targets of grpc that have hosts and ports.
_HOSTS = re.compile(r"(?:(?:dns|ipv4|ipv6):(?://[^/]*/)?)?(?P<hosts>(?:[^,/:]+|\[[^\]]+\]):\d+(?:,.+)?)")
_HOST = re.compile(r"[^\s/:@\[\]]+")
_SHAPES = "an address is HOST or HOST:PORT"


class Endpoint(NamedTuple):
    """The host and the port of one server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Address:
    """An address, checked.

    Attributes:
        is_spread: whether calls are spread over several servers.
        endpoints: the servers of an address that names several; else empty.

    Raises:
        ValueError: the address is not valid.
    """

    def __init__(self, address: str | Sequence[str]) -> None:
        addresses = _split(address)
        self.endpoints: tuple[Endpoint, ...] = ()
        self._uri: str | None = None
        if len(addresses) > 1:
            self.endpoints = tuple(map(_endpoint, addresses))
            self.is_spread = True
            return
        (only,) = addresses
        self.is_spread = only.startswith(("dns:", "ipv4:", "ipv6:"))
        if found := _DNS.fullmatch(only):
            self._uri = f"dns:{found[1] or ''}{_endpoint(found['address'])}"
        else:
            self._uri = only if _TARGET.match(only) else str(_endpoint(only))

    @property
    def must_look_up(self) -> bool:
        """Whether `uri` looks up host names, which may take a while."""
        return self._uri is None

    def uri(self) -> str:
        """The target as grpc takes it. The hosts of several addresses are looked up once.

        Raises:
            UnavailableError: a host has no address.
        """
        if self._uri is None:
            scheme, found = _of_one_kind([_look_up(endpoint) for endpoint in self.endpoints])
            self._uri = f"{scheme}:{','.join(dict.fromkeys(map(str, found)))}"
        return self._uri

    def servers(self) -> list[Endpoint]:
        """The host and the port of each server; empty for a Unix socket, and for what only grpc knows."""
        if self.endpoints:
            return list(self.endpoints)
        found = _HOSTS.fullmatch(self.uri())
        parts = [host.rpartition(":") for host in found["hosts"].split(",")] if found else []
        return [Endpoint(host.removeprefix("[").removesuffix("]"), int(port)) for host, _, port in parts]


def _split(address: str | Sequence[str]) -> list[str]:
    """The addresses in an argument, at least one."""
    if isinstance(address, str):
        several = "," in address and not _TARGET.match(address)
        addresses = address.split(",") if several else [address]
    elif isinstance(address, Iterable):
        addresses = list(address)
    else:
        addresses = [address]
    for each in addresses:
        if not isinstance(each, str):
            raise ValueError(f"{_SHAPES}, a str, not {type(each).__name__}")
    stripped = [each.strip() for each in addresses]
    if not stripped or not all(stripped):
        raise ValueError(f"{_SHAPES}, not an empty text")
    return stripped


def _endpoint(address: str) -> Endpoint:
    """Parse HOST or HOST:PORT.

    Raises:
        ValueError: the address is not valid.
    """
    if _URL.match(address):
        host = _URL.sub("", address).partition("/")[0]
        secure = ", with tls=True" if address.lower().startswith(("https", "grpcs")) else ""
        raise ValueError(f"{_SHAPES}, not a URL like {address!r}: write {host!r}{secure}")
    if bare := _ipv6(address) or _ipv6_in_brackets(address):
        return Endpoint(bare, DEFAULT_PORT)
    host, colon, port = address.rpartition(":")
    if not colon:
        host, port = address, str(DEFAULT_PORT)
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 1 << 16):
        raise ValueError(f"{_SHAPES}, with a port from 1 to 65535, not {address!r}")
    if bare := _ipv6_in_brackets(host):
        return Endpoint(bare, int(port))
    if not _HOST.fullmatch(host):
        raise ValueError(f"{_SHAPES}, not {address!r}")
    return Endpoint(host, int(port))


def _ipv6_in_brackets(text: str) -> str:
    return _ipv6(text[1:-1]) if text.startswith("[") and text.endswith("]") else ""


def _ipv6(text: str) -> str:
    """An IPv6 address in its short form; "" if the text is none."""
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        return ""


def _of_one_kind(hosts: Sequence[Sequence[Endpoint]]) -> tuple[str, list[Endpoint]]:
    """The addresses of all hosts in one kind, which is what a target of grpc has, and its scheme.

    If a host has no IPv4 address, the IPv4 addresses of the others are written as IPv6.
    """
    ipv4 = [[each for each in host if ":" not in each.host] for host in hosts]
    if all(ipv4):
        return "ipv4", [each for host in ipv4 for each in host]
    mapped = [[Endpoint(f"::ffff:{each.host}", each.port) for each in host] for host in ipv4]
    return "ipv6", [each for pair in zip(mapped, hosts, strict=True) for each in pair[0] or pair[1]]


def _look_up(endpoint: Endpoint) -> list[Endpoint]:
    try:
        found = socket.getaddrinfo(*endpoint, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UnavailableError(f"no address is found for the host {endpoint.host!r}: {error}") from error
    return [Endpoint(str(address[0]), endpoint.port) for *_, address in found]
