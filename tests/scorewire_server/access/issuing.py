"""Issuers, keys and a clock for the tests of this folder."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from scorewire_server.access.issuers import Issuer, KeysUrl
from scorewire_server.engine.access import AccessTable, Grant
from tests.forgeries.world import AUDIENCE, ISSUER, LEEWAY, keys

URL = KeysUrl(True, "login.example", 443, "/jwks.json")
COOLDOWN, STALE = 30.0, 3600.0


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def make_issuer(where: KeysUrl | Path = URL, **changes: Any) -> Issuer:
    """The issuer of `tests.forgeries.world`."""
    values: dict[str, Any] = {
        "name": ISSUER,
        "audience": AUDIENCE,
        "keys": where,
        "algorithms": frozenset({"RS256", "ES256", "EdDSA"}),
        "leeway_seconds": LEEWAY,
        "cooldown_seconds": COOLDOWN,
        "max_stale_seconds": STALE,
    }
    return Issuer(**{**values, **changes})


def key_set_of(*key_ids: str) -> bytes:
    """A key set with some keys of the world."""
    return json.dumps({"keys": [keys()[key_id].listed for key_id in key_ids]}).encode()


def grant_of_key(table: AccessTable, key: bytes) -> Grant | None:
    """The grant of an API key, as engines look it up; None if the table lacks the key."""
    return table.keys.get(sha256(key).digest())
