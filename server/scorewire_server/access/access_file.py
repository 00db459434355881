"""The access file: who may call what, and which credentials each principal has.

The file is read strictly, since a misspelt entry would give a right, or take a limit
away, against its owner's will.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scorewire_contract.patterns import Patterns
from scorewire_contract.schema import InvalidNameError, check_model_name
from scorewire_server.access.issuers import Issuer, read_issuers
from scorewire_server.access.rules import CertificateRules, TokenRules
from scorewire_server.access.tables import AccessError, Table, array, show, table
from scorewire_server.engine.access import AccessTable, Grant, Principal, PrincipalLimits, Rate, Right

MAX_FILE_BYTES = 4 << 20
_LARGEST = 1e9
_RIGHTS = {right.value: right for right in Right}
_LIMITS = (
    "calls_per_second",
    "calls_burst",
    "rows_per_second",
    "rows_burst",
    "max_in_flight",
    "share",
)
_CREDENTIALS = ("keys", "tokens", "certificates")
_PATTERN = re.compile(r"([a-z][a-z0-9_-]{0,62})?\*|[a-z][a-z0-9_-]{0,62}")
_KEY_ID = re.compile(r"[0-9a-f]{8}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Open:
    """What callers without a credential may do besides asking for health."""

    reflection: bool = False
    metrics: bool = False
    statistics: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessFile:
    """All that the access file says.

    Attributes:
        table: what engines need: principals, API keys and the limit of failures.
        key_ids: the hashes of API keys, by the keys' ids.
        open: what needs no credential.
        issuers: the issuers of tokens, by their names.
        tokens: which principal a verified token belongs to.
        certificates: which principal a client certificate belongs to.
    """

    table: AccessTable
    key_ids: Mapping[str, bytes]
    open: Open
    issuers: Mapping[str, Issuer]
    tokens: TokenRules = field(repr=False)
    certificates: CertificateRules = field(repr=False)


# What holds as long as nothing was read.
NOBODY = AccessFile(
    table=AccessTable(principals={}, keys={}),
    key_ids={},
    open=Open(),
    issuers={},
    tokens=TokenRules(),
    certificates=CertificateRules(),
)


def parse_access_file(content: bytes, path: Path) -> AccessFile:
    """Read the content of an access file.

    Args:
        content: the content.
        path: the file, which relative paths in it start from.

    Raises:
        AccessError: the content cannot be used.
    """
    try:
        values = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        # The text of an error of TOML shows at most one character of the file.
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise AccessError(f"{path} is no valid TOML: {reason}") from None
    try:
        return _access_file(values, path.parent)
    except AccessError as error:
        raise AccessError(f"{path}: {error}") from None


def _access_file(values: Mapping[str, Any], folder: Path) -> AccessFile:
    file = Table("the file", values, ("open", "failures", "principals", "issuers"))
    issuers = read_issuers(file.get("issuers", []), folder)
    tokens, certificates = TokenRules(), CertificateRules()
    principals: dict[str, Principal] = {}
    keys = _Keys()
    for name, entries in table("[principals]", file.get("principals", {})).items():
        where = f"principals.{name}"
        try:
            check_model_name(name, what="the name of the principal")
        except InvalidNameError as error:
            raise AccessError(f"[principals.{show(name)}]: {error}") from None
        entry = Table(f"[{where}]", entries, (*_RIGHTS, *_LIMITS, *_CREDENTIALS))
        principal = principals[name] = Principal(name, _rights(entry), _limits(entry))
        for kind, add in (
            ("keys", keys.add),
            ("tokens", lambda *each: tokens.add(*each, issuers=issuers)),
            ("certificates", certificates.add),
        ):
            for number, each in enumerate(array(f"[{where}.{kind}]", entry.get(kind, [])), 1):
                add(principal, f"[[{where}.{kind}]] number {number}", each)
    return AccessFile(
        table=AccessTable(principals=principals, keys=keys.grants, failures=_failures(file)),
        key_ids=keys.ids,
        open=_open(file),
        issuers=issuers,
        tokens=tokens,
        certificates=certificates,
    )


class _Keys:
    """The API keys, by the hashes of the whole keys, and by their ids."""

    def __init__(self) -> None:
        self.grants: dict[bytes, Grant] = {}
        self.ids: dict[str, bytes] = {}

    def add(self, principal: Principal, where: str, value: Any) -> None:
        """Take in a table of an API key.

        Raises:
            AccessError: the table cannot be used, or the id or the hash was there before.
        """
        entry = Table(where, value, ("id", "sha256", "expires"))
        key_id = entry.text("id", '"3f9a1c2b"')
        # The value is not shown: somebody may have written the key itself.
        digest_text = entry.need("sha256", '"64 hex digits"')
        if _KEY_ID.fullmatch(key_id) is None:
            raise AccessError(
                f"{entry.at('id')} must be the 8 lowercase hex digits between the underscores of the key;"
                " `scorewire keys new` makes a key and writes the table"
            )
        if not isinstance(digest_text, str) or _DIGEST.fullmatch(digest_text) is None:
            raise AccessError(
                f"{entry.at('sha256')} must be 64 lowercase hex digits, the SHA-256 of the whole key;"
                " `scorewire keys new` makes a key and writes the table"
            )
        digest = bytes.fromhex(digest_text)
        if key_id in self.ids:
            other = self.grants[self.ids[key_id]].principal.name
            raise AccessError(f"{entry.at('id')} {key_id} is that of a key of {other}, too; remove one")
        if digest in self.grants:
            other = self.grants[digest].principal.name
            raise AccessError(f"{entry.at('sha256')} is that of a key of {other}, too; remove one")
        self.ids[key_id] = digest
        self.grants[digest] = Grant(principal, entry.time("expires"))


def _rights(entry: Table) -> dict[Right, Patterns]:
    rights = {}
    for name, right in _RIGHTS.items():
        patterns = entry.texts(name, '["churn", "game-*"]')
        for pattern in patterns:
            if _PATTERN.fullmatch(pattern) is None:
                raise AccessError(
                    f"{entry.at(name)} has {show(pattern)}; it must be the name of a model, or the beginning"
                    ' of names with a star at its end, like "game-*" or "*"'
                )
        rights[right] = Patterns.parse(patterns)
    return rights


def _limits(entry: Table) -> PrincipalLimits:
    return PrincipalLimits(
        calls=_rate(entry, "calls"),
        rows=_rate(entry, "rows"),
        in_flight=entry.integer("max_in_flight", 1, 1_000_000),
        share=entry.number("share", 0.001, 1000, 1.0),
    )


def _rate(entry: Table, what: str) -> Rate | None:
    """The limit of a rate; the burst is what one second gives unless it is there, and at least 1."""
    per_second = entry.optional_number(f"{what}_per_second", 0.001, _LARGEST)
    burst = entry.optional_number(f"{what}_burst", 1, _LARGEST)
    if per_second is None:
        if burst is not None:
            raise AccessError(f"{entry.at(f'{what}_burst')} needs {what}_per_second; write both, or none")
        return None
    return Rate(per_second, max(1.0, per_second) if burst is None else burst)


def _failures(file: Table) -> Rate:
    entry = Table("[failures]", file.get("failures", {}), ("per_second", "burst"))
    return Rate(entry.number("per_second", 0.001, _LARGEST, 100), entry.number("burst", 1, _LARGEST, 200))


def _open(file: Table) -> Open:
    names = ("reflection", "metrics", "statistics")
    entry = Table("[open]", file.get("open", {}), names)
    return Open(**{name: entry.flag(name) for name in names})
