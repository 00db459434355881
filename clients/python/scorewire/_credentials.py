"""What a client shows to the server, so that it knows who calls: an API key, or a token that changes.

Both are bearer tokens, in the metadata `authorization`. No error, and no text of an object, has one.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import threading
import warnings
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

from scorewire._errors import DeadlineExceededError, TokenError
from scorewire._metadata import MAX_BYTES, Pairs
from scorewire.addresses import Address

AUTHORIZATION = "authorization"
_BEARER = "Bearer "
# What gRPC's servers take in the metadata of a call; see `_metadata`.
MAX_TOKEN_BYTES = MAX_BYTES - 64
_TOKEN = re.compile(r"[!-~]+")

# Gives the bearer token of a call; `AsyncClient` also takes one that has to be awaited.
Token: TypeAlias = Callable[[], str | Awaitable[str]]


class Credentials:
    """What a client shows with each call.

    Attributes:
        pairs: the metadata that is the same for all calls.
        token: gives the token of a call; None if the client has none that changes.

    Raises:
        ValueError: the key is none, or there are both a key and a token.
    """

    __slots__ = ("pairs", "token")

    def __init__(self, api_key: str | None, token: Token | None) -> None:
        if api_key is not None and token is not None:
            raise ValueError("api_key and token both say who calls: give one of them")
        if token is not None and not callable(token):
            raise ValueError(
                f"token is a function that returns a token, not {type(token).__name__}:"
                " api_key takes a token that stays the same"
            )
        self.token = token
        self.pairs: Pairs = ()
        if api_key is not None:
            if problem := _problem(api_key):
                raise ValueError(f"api_key {problem}")
            self.pairs = _shown(api_key)

    def __bool__(self) -> bool:
        return bool(self.pairs or self.token)


def of_call(pairs: Pairs) -> bytes:
    """A digest of the credential in the metadata of one call; empty if there is none."""
    shown = [value for key, value in pairs if key == AUTHORIZATION]
    if not shown:
        return b""
    return hashlib.sha256("\n".join(map(str, shown)).encode()).digest()


def with_token(pairs: Pairs, token: object) -> Pairs:
    """The metadata of a call, with the token that a function returned.

    Raises:
        TokenError: what it returned is no token.
    """
    if problem := _problem(token):
        raise TokenError(f"what token= returned {problem}")
    return pairs + _shown(str(token))


async def awaited_token(token: Token, seconds: float) -> object:
    """What the function of an `AsyncClient` returns, awaited if that is needed.

    Raises:
        TokenError: the function failed.
        DeadlineExceededError: nothing came within `seconds`.
    """
    limit = asyncio.timeout(seconds)
    try:
        given = token()
        if isinstance(given, Awaitable):
            async with limit:
                given = await given
    except Exception as error:
        if limit.expired():
            raise DeadlineExceededError("token= gave no token in time; nothing was sent") from error
        raise token_failed(error) from error
    return given


def has_credential(pairs: Pairs) -> bool:
    """Whether the metadata of a call has a credential."""
    return any(key == AUTHORIZATION for key, _ in pairs)


def token_failed(error: Exception) -> TokenError:
    """The error of a call whose token could not be had; raise it `from` the cause."""
    if isinstance(error, TokenError):
        return error
    # Without the text of the cause, which may have a secret; it is in `__cause__`.
    return TokenError(f"token= raised {type(error).__name__}; nothing was sent")


def _shown(token: str) -> Pairs:
    return ((AUTHORIZATION, _BEARER + token),)


def _problem(token: object) -> str:
    """What is wrong with a token, without the token itself; "" if nothing is."""
    if not isinstance(token, str):
        return f"is not a str, but {type(token).__name__}"
    if not token:
        return "is empty"
    if token[: len(_BEARER)].lower() == _BEARER.lower():
        return "begins with 'Bearer ': leave that out"
    if not _TOKEN.fullmatch(token):
        return "has a space, an end of line, or a character that is not printable ASCII"
    if len(token) > MAX_TOKEN_BYTES:
        return f"is longer than {MAX_TOKEN_BYTES:,} characters"
    return ""


class TokenFile:
    """A bearer token in a file, for `Client(token=...)`; read again when the file changes.

    So a token may be rotated in its place, as Kubernetes does with those of service accounts. While
    the file cannot be read, or has no token, the one before is used.

    Args:
        path: the file: a token, and white space around it.

    Raises:
        TokenError: the file cannot be read, or has no token.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._token = ""
        self._read_of: tuple[int, ...] = ()
        self()

    def __repr__(self) -> str:
        return f"TokenFile({str(self._path)!r})"

    def __call__(self) -> str:
        """The token that the file has now."""
        with self._lock:
            try:
                found = self._path.stat()
                state = (found.st_ino, found.st_size, found.st_mtime_ns)
                if state != self._read_of:
                    self._token = self._read()
                    self._read_of = state
            except OSError as error:
                if not self._token:
                    raise TokenError(f"{self._path} cannot be read: {error.strerror}") from error
            except TokenError:
                if not self._token:
                    raise
            return self._token

    def _read(self) -> str:
        with self._path.open("rb") as file:
            content = file.read(MAX_TOKEN_BYTES + 1024)
        token = content.decode("ascii", "replace").strip()
        if problem := _problem(token):
            raise TokenError(f"the token in {self._path} {problem}")
        return token


def plaintext_risk(address: Address) -> str:
    """What is wrong with a credential that goes to an address without TLS; "" for this machine."""
    hosts = [endpoint.host for endpoint in address.servers()]
    others = [host for host in hosts if not _is_loopback(host)]
    if not others:
        return ""
    return (
        f"the credential goes to {others[0]} without TLS, and whoever is on the way can read and use it:"
        " connect with TLS (tls=True, --tls), or silence this warning where something else encrypts"
    )


def warn_of_plaintext(address: Address, *, stacklevel: int) -> None:
    """Warn where a credential goes to another machine without TLS."""
    if risk := plaintext_risk(address):
        warnings.warn(risk, UserWarning, stacklevel=stacklevel + 1)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
