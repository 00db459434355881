"""Finds out who calls: reads the credential of a call and finds its grant.

API keys are found by their SHA-256 in the table. Tokens and certificates are verified
by `AccessOptions.verify`, each once; their grants are remembered by the SHA-256 of the
whole credential until they expire or the table changes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from scorewire_contract.service.logs import log_fault
from scorewire_server.engine.access import (
    AUTHORIZATION,
    AccessOptions,
    AccessTable,
    Credential,
    Grant,
    bearer_token,
)
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.interpreted.failures import too_many_in_flight, unauthenticated
from scorewire_server.engine.reference.failure_limit import FailureLimit
from scorewire_server.engine.statistics import CREDENTIAL_CAUSES

# Credentials of new calls that are verified at one time.
_MAX_QUESTIONS = 256
# Beyond that, the grants are forgotten that were verified first. A flood of invalid credentials makes none
# forgotten, since those have no grant.
_MAX_REMEMBERED = 1 << 16
_DOTS_OF_JWT = 2

_Key: TypeAlias = "tuple[str, bytes]"


class _RefusedError(Exception):
    """A call is refused for its credential, for one of `CREDENTIAL_CAUSES`."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class _Remembered:
    grant: Grant
    epoch: int


class Authentication:
    """Finds the grants of credentials; to be used from one event loop.

    Args:
        access: the table and the verifier.
        max_in_flight: the limit that calls are told of which come while too many credentials are verified.

    Attributes:
        refused: refused calls and ended streams, by `CREDENTIAL_CAUSES`.
    """

    def __init__(self, access: AccessOptions, max_in_flight: int) -> None:
        self.refused = dict.fromkeys(CREDENTIAL_CAUSES, 0)
        self._verify = access.verify
        self._max_in_flight = max_in_flight
        # Grants and answers count for one epoch only.
        self._epoch = 0
        self._failures = FailureLimit(access.table.failures)
        self._remembered: dict[_Key, _Remembered] = {}
        self._questions: dict[_Key, asyncio.Task[Grant | None]] = {}
        self.use_access(access.table)

    def use_access(self, table: AccessTable) -> None:
        """Find grants by a new table, from this call on."""
        self._table = table
        self._failures.use(table.failures)
        # Each token and certificate is verified again when it is next shown.
        self._epoch += 1

    async def close(self) -> None:
        """Verify nothing any more."""
        questions = list(self._questions.values())
        for each in questions:
            each.cancel()
        await asyncio.gather(*questions, return_exceptions=True)

    async def grant(self, context: CallContext, *, again: bool = False) -> Grant | None:
        """The grant of a call; None for a method that needs no credential.

        Args:
            context: the call.
            again: whether the credential of the call was valid before. Then it is verified however many
                others are.

        Raises:
            UnauthenticatedError: the call shows no valid credential.
            TooManyInFlightError: too many credentials are verified at this time.
        """
        try:
            while True:
                epoch = self._epoch
                if context.method in self._table.open_paths:
                    return None
                grant = await self._grant(_read(context), again=again)
                # The table may have changed before this task went on.
                if epoch == self._epoch:
                    return grant
        except _RefusedError as error:
            self.refused[error.cause] += 1
            if error.cause == "busy":
                raise too_many_in_flight(self._max_in_flight) from None
            raise unauthenticated() from None

    async def _grant(self, credential: Credential, *, again: bool) -> Grant:
        digest = sha256(credential.value).digest()
        if credential.kind == "token":
            # A caller cannot choose the digest of what it shows, so the time of this tells nothing of a key.
            if (grant := self._table.keys.get(digest)) is not None:
                return _in_time(grant)
            if not _is_jwt(credential.value):
                raise _RefusedError("unknown")
        name = credential.kind, digest
        remembered = self._remembered.get(name)
        if remembered is not None and remembered.grant.expired:
            del self._remembered[name]
            if again:
                raise _RefusedError("expired")
            remembered = None
        if remembered is not None and remembered.epoch == self._epoch:
            return remembered.grant
        question = self._questions.get(name)
        if question is None:
            question = self._ask(name, credential, trusted=again or remembered is not None, again=again)
        # Others may wait for the same answer.
        verified = await asyncio.shield(question)
        if verified is None:
            raise _RefusedError(credential.kind)
        return _in_time(verified)

    def _ask(
        self, name: _Key, credential: Credential, *, trusted: bool, again: bool
    ) -> asyncio.Task[Grant | None]:
        if len(self._questions) >= _MAX_QUESTIONS and not again:
            raise _RefusedError("busy")
        if not trusted and not self._failures.take(credential.peer.host):
            raise _RefusedError("address")
        question = asyncio.create_task(self._answer(name, credential, counted=not trusted))
        self._questions[name] = question
        return question

    async def _answer(self, name: _Key, credential: Credential, *, counted: bool) -> Grant | None:
        """Verify a credential by the table as it is in the end, and remember its grant."""
        try:
            epoch = -1
            while epoch != self._epoch:
                epoch = self._epoch
                verified = await self._verify(credential)
            self._remembered.pop(name, None)
            principal = None if verified is None else self._table.principals.get(verified.principal.name)
            if verified is None or principal is None:
                return None
            if counted:
                self._failures.give_back(credential.peer.host)
            grant = Grant(principal, verified.expires)
            self._remembered[name] = _Remembered(grant, epoch)
            if len(self._remembered) > _MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            return grant
        except Exception as error:
            log_fault("verify", error)
            return None
        finally:
            del self._questions[name]


def may_ask(context: CallContext) -> bool:
    """Whether somebody has to be asked about the credential of a call, which may take seconds."""
    try:
        credential = _read(context)
    except _RefusedError:
        return False
    return credential.kind == "certificate" or _is_jwt(credential.value)


def _is_jwt(token: bytes) -> bool:
    return token.count(b".") == _DOTS_OF_JWT


def _read(context: CallContext) -> Credential:
    """The credential of a call: the token in its metadata, or else the certificate of its connection."""
    values = [value for name, value in context.metadata if name == AUTHORIZATION]
    certificate = context.peer.certificate
    if not values:
        if certificate is None:
            raise _RefusedError("missing")
        return Credential("certificate", certificate, context.peer)
    token = bearer_token([value.encode() if isinstance(value, str) else value for value in values])
    if token is None:
        raise _RefusedError("malformed")
    return Credential("token", token, context.peer)


def _in_time(grant: Grant) -> Grant:
    if grant.expired:
        raise _RefusedError("expired")
    return grant
