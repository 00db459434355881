"""Callers, and a control plane that verifies their credentials, for tests of the reference engine."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from time import time

from scorewire_contract.patterns import Patterns
from scorewire_server.engine.access import (
    AccessOptions,
    AccessTable,
    Credential,
    Grant,
    Principal,
    Rate,
    Right,
)
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.peer import Peer
from scorewire_server.errors import CallError

SHOP = Principal("shop", {Right.PREDICT: Patterns(frozenset({"sum"}))})
GAME = Principal("game")
KEY = "scorewire_shop_key"
OPEN = "/test.Control/Open"
FAILURES = Rate(100, 200)


def digest(key: str) -> bytes:
    """The digest of an API key."""
    return sha256(key.encode()).digest()


def table_of(
    *,
    keys: dict[str, Grant] | None = None,
    principals: tuple[Principal, ...] = (SHOP, GAME),
    failures: Rate = FAILURES,
) -> AccessTable:
    """A table, with `KEY` of `SHOP` unless keys are given."""
    return AccessTable(
        principals={each.name: each for each in principals},
        keys={digest(key): grant for key, grant in ({KEY: Grant(SHOP)} if keys is None else keys).items()},
        failures=failures,
        open_paths=frozenset({OPEN}),
    )


def ends(seconds: float, principal: Principal = SHOP) -> Grant:
    """A grant that ends in this time."""
    return Grant(principal, time() + seconds)


class Verifier:
    """A control plane that verifies tokens and certificates.

    Attributes:
        grants: the grants of valid credentials, by their bytes.
        asked: the credentials that were asked about.
        may_answer: answers wait for this.
        refused: the paths of refused calls, and their addresses.
    """

    def __init__(self, **grants: Grant) -> None:
        self.grants = {name.replace("_", ".").encode(): grant for name, grant in grants.items()}
        self.asked: list[Credential] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.refused: list[tuple[str, Peer, Principal | None, CallError]] = []

    async def verify(self, credential: Credential) -> Grant | None:
        self.asked.append(credential)
        await self.may_answer.wait()
        return self.grants.get(credential.value)

    def options(
        self, table: AccessTable | None = None, audited: frozenset[str] = frozenset()
    ) -> AccessOptions:
        """The options of an engine that asks here."""
        return AccessOptions(
            table=table or table_of(),
            verify=self.verify,
            refused=lambda *call: self.refused.append(call),
            audited=audited,
        )


def calling(
    *authorization: str,
    path: str = "/test.Control/Echo",
    host: str = "10.0.0.1",
    certificate: bytes | None = None,
) -> CallContext:
    """A call with these entries of `authorization`."""
    metadata = [("user-agent", "test"), *(("authorization", each) for each in authorization)]
    address = f"[{host}]:1" if ":" in host else f"{host}:1"
    return CallContext(path, metadata, Peer(address, certificate))


def bearing(token: str, **context: str) -> CallContext:
    """A call with a bearer token."""
    return calling(f"Bearer {token}", **context)
