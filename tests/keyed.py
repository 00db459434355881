"""Engines whose callers show API keys."""

from __future__ import annotations

from hashlib import sha256

from scorewire_contract.patterns import Patterns
from scorewire_server.engine.access import AccessOptions, AccessTable, Credential, Grant, Principal, Right

_EVERYTHING = Patterns(prefixes=("",))


def key_access(*names: str) -> AccessOptions:
    """Who may call: principals with these names, which may ask all models for predictions."""
    principals = {name: Principal(name, {Right.PREDICT: _EVERYTHING}) for name in names}
    table = AccessTable(
        principals=principals,
        keys={sha256(_key(name).encode()).digest(): Grant(each) for name, each in principals.items()},
    )
    return AccessOptions(table=table, verify=_refuse, refused=lambda *_: None, audited=frozenset())


def with_key(name: str) -> tuple[str, str]:
    """The metadata of a principal's calls."""
    return "authorization", f"Bearer {_key(name)}"


def _key(name: str) -> str:
    return f"scorewire_00000000_{sha256(name.encode()).hexdigest()}"


async def _refuse(_: Credential) -> Grant | None:
    return None
