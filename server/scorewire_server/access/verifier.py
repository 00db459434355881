"""Verifies tokens and client certificates, and answers all refusals after the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scorewire_contract.service.logs import log_fault, logger
from scorewire_server.access.access_file import AccessFile
from scorewire_server.access.client_certificates import verify_certificate
from scorewire_server.access.key_sets import KeySet
from scorewire_server.access.refusal import RefusedError
from scorewire_server.access.rules import AmbiguousError
from scorewire_server.access.tables import show
from scorewire_server.access.tokens import UnverifiedToken, read_token, verify_token
from scorewire_server.engine.access import Credential, Grant
from scorewire_server.engine.revocations import Revocations

# From the question to a refusal. Longer than any check takes; only the wait for the keys of an issuer, which
# are public, takes longer.
REFUSAL_SECONDS = 0.02
LINES_PER_SECOND = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is in force.

    Attributes:
        file: the access file.
        key_sets: the keys of its issuers, by the issuers' names.
        revocations: the client certificates that are revoked.
    """

    file: AccessFile
    key_sets: Mapping[str, KeySet]
    revocations: Revocations


class Verifier:
    """Verifies credentials; to be used from one event loop.

    Args:
        rules: what is in force.
        now: like `time.time`.
    """

    def __init__(self, rules: Callable[[], Rules], now: Callable[[], float] = time.time) -> None:
        self._rules = rules
        self._now = now
        self._log = _RefusalLog()

    async def verify(self, credential: Credential) -> Grant | None:
        """The grant of a credential; None if it is refused. This is a `Verify` of engines."""
        loop = asyncio.get_running_loop()
        answer_at = loop.time() + REFUSAL_SECONDS
        try:
            if credential.kind == "certificate":
                return self._verify_certificate(credential)
            return await self._verify_token(credential)
        except RefusedError as error:
            self._log.add(credential, str(error))
        except Exception as error:
            log_fault("verify", error)
        await asyncio.sleep(answer_at - loop.time())
        return None

    def _verify_certificate(self, credential: Credential) -> Grant:
        rules = self._rules()
        return verify_certificate(credential.value, rules.file.certificates, rules.revocations, self._now())

    async def _verify_token(self, credential: Credential) -> Grant:
        token = read_token(credential.value)
        try:
            keys = self._rules().key_sets.get(token.issuer)
            if keys is None:
                raise RefusedError("no [[issuers]] has its issuer")
            key = await keys.find(token.key_id)
            end = verify_token(token, keys.issuer, key, self._now())
            # The rules of now, which may have changed during the wait for the key. If they have, the engine
            # asks again.
            principal = self._rules().file.tokens.principal_of(token.issuer, token.claims)
        except (RefusedError, AmbiguousError) as error:
            raise RefusedError(f"{error}; {_described(token)}") from None
        if principal is None:
            raise RefusedError(f"no principal has a rule that fits; {_described(token)}")
        return Grant(principal, end)


def _described(token: UnverifiedToken) -> str:
    return f"iss {show(token.issuer)}, kid {show(token.key_id)}"


class _RefusalLog:
    """Logs why credentials are refused; a bounded number of lines in a second, whatever callers send."""

    def __init__(self) -> None:
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def add(self, credential: Credential, reason: str) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines >= LINES_PER_SECOND:
            self._left_out += 1
            return
        self._lines += 1
        left_out, self._left_out = self._left_out, 0
        others = {"left_out": left_out} if left_out else {}
        logger().info(f"{credential.kind} refused", address=credential.peer.host, reason=reason, **others)
