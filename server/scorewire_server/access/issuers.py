"""The issuers of tokens, as the access file describes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scorewire_contract.service.settings import LARGEST_PORT, is_loopback
from scorewire_server.access.tables import AccessError, Table, array, show

# JOSE's name of an algorithm: the type of its keys, and their curve.
ALGORITHMS = {"RS256": ("RSA", None), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?(/[!-\"$-~]*)?")
_EXAMPLE = '"https://login.example/"'


@dataclass(frozen=True, slots=True)
class KeysUrl:
    """Where the keys of an issuer are fetched from."""

    tls: bool
    host: str
    port: int
    target: str

    def __str__(self) -> str:
        """The URL for people, without its query, which may have a secret."""
        scheme = "https" if self.tls else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}{self.target.partition('?')[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """An issuer of tokens.

    Attributes:
        name: what its tokens have as iss.
        audience: what they must have as aud, or in it.
        keys: where its keys are (a JWKS).
        algorithms: the algorithms of its signatures.
        leeway_seconds: how far its clock and ours may differ.
        cooldown_seconds: the least time between two fetches of its keys.
        max_stale_seconds: the age after which keys that could not be read again are refused.
    """

    name: str
    audience: str
    keys: KeysUrl | Path
    algorithms: frozenset[str]
    leeway_seconds: float
    cooldown_seconds: float
    max_stale_seconds: float


def read_issuers(value: Any, folder: Path) -> dict[str, Issuer]:
    """The issuers of [[issuers]], by name.

    Args:
        value: the array of tables.
        folder: the folder that relative paths start from.

    Raises:
        AccessError: an issuer cannot be used, or is there twice.
    """
    issuers: dict[str, Issuer] = {}
    for number, each in enumerate(array("[issuers]", value), 1):
        issuer = _issuer(f"[[issuers]] number {number}", each, folder)
        if issuer.name in issuers:
            raise AccessError(f"[[issuers]] number {number} is {show(issuer.name)} again; remove one of them")
        issuers[issuer.name] = issuer
    return issuers


def _issuer(where: str, value: Any, folder: Path) -> Issuer:
    entry = Table(
        where,
        value,
        (
            "issuer",
            "audience",
            "jwks",
            "algorithms",
            "leeway_seconds",
            "cooldown_seconds",
            "max_stale_seconds",
        ),
    )
    name = entry.text("issuer", _EXAMPLE)
    issuer = Issuer(
        name=name,
        audience=entry.text("audience", '"scorewire"'),
        keys=_keys(entry, folder),
        algorithms=_algorithms(entry),
        leeway_seconds=entry.number("leeway_seconds", 0, 600, 30),
        cooldown_seconds=entry.number("cooldown_seconds", 1, 3600, 30),
        max_stale_seconds=entry.number("max_stale_seconds", 60, 30 * 86_400, 86_400),
    )
    if issuer.max_stale_seconds < issuer.cooldown_seconds:
        raise AccessError(f"{entry.at('max_stale_seconds')} is less than cooldown_seconds; make it longer")
    return issuer


def _algorithms(entry: Table) -> frozenset[str]:
    entry.need("algorithms", '["RS256"]')
    algorithms = entry.texts("algorithms", '["RS256"]')
    if not algorithms:
        raise AccessError(f"{entry.at('algorithms')} is empty; name one or more of {', '.join(ALGORITHMS)}")
    for each in algorithms:
        if each not in ALGORITHMS:
            raise AccessError(
                f"{entry.at('algorithms')} has {show(each)}; it must be one of {', '.join(ALGORITHMS)}"
            )
    return frozenset(algorithms)


def _keys(entry: Table, folder: Path) -> KeysUrl | Path:
    text = entry.text("jwks", '"https://login.example/jwks.json"')
    if "://" not in text:
        return folder / text
    match = _URL.fullmatch(text)
    # The text is not shown, since it may have a password.
    if match is None or int(match[3] or 1) not in range(1, LARGEST_PORT + 1):
        raise AccessError(
            f"{entry.at('jwks')} must be a URL like https://HOST/PATH, without a user and without a fragment,"
            " or the path of a file"
        )
    tls, host = match[1] == "https", match[2]
    if not tls and not is_loopback(f"{host}:0"):
        raise AccessError(
            f"{entry.at('jwks')} must begin with https://, since anyone on the way could change keys that"
            " come over http; http is for loopback addresses"
        )
    port = int(match[3] or (443 if tls else 80))
    return KeysUrl(tls, host.strip("[]"), port, match[4] or "/")
