"""Who may call, in the form that the extension takes, and the answers to its questions.

The extension finds out by itself who shows an API key. It asks about other credentials,
at most a few hundred at one time, and remembers the answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import scorewire_native
from scorewire_contract.patterns import Patterns
from scorewire_contract.service.logs import log_fault, logger
from scorewire_server.engine.access import (
    AccessOptions,
    AccessTable,
    Credential,
    Grant,
    Principal,
    Rate,
    Right,
)
from scorewire_server.engine.interpreted.failures import caller_limit, too_many_in_flight, unauthenticated
from scorewire_server.engine.peer import Peer
from scorewire_server.engine.port import ControlMethod, StreamMethod
from scorewire_server.errors import CallError


def access_parts(options: AccessOptions, control: Iterable[ControlMethod]) -> scorewire_native.AccessParts:
    """What the extension treats in another way than most calls."""
    return {
        "audited": set(options.audited),
        "streams": {method.path for method in control if isinstance(method, StreamMethod)},
    }


def table_parts(table: AccessTable) -> scorewire_native.TableParts:
    """A table, in the form that the extension takes."""
    places = {name: place for place, name in enumerate(table.principals)}
    return {
        "principals": [_principal_parts(principal) for principal in table.principals.values()],
        "keys": [
            (digest, places[grant.principal.name], _seconds_left(grant))
            for digest, grant in table.keys.items()
        ],
        "failures": _rate_parts(table.failures),
        "open_paths": set(table.open_paths),
    }


def _principal_parts(principal: Principal) -> scorewire_native.PrincipalParts:
    predict = principal.rights.get(Right.PREDICT, Patterns())
    limits = principal.limits
    return {
        "name": principal.name,
        "predict": (sorted(predict.names), list(predict.prefixes)),
        "calls": None if limits.calls is None else _rate_parts(limits.calls),
        "rows": None if limits.rows is None else _rate_parts(limits.rows),
        "in_flight": limits.in_flight,
        "share": limits.share,
    }


def _rate_parts(rate: Rate) -> scorewire_native.Rate:
    return rate.per_second, rate.burst


def _seconds_left(grant: Grant) -> float | None:
    """The seconds until a credential ends, 0 or less once it has ended; None is never."""
    return None if grant.expires is None else grant.expires - time.time()


class NativeAccess:
    """Answers the extension's questions; to be used from one event loop."""

    def __init__(self, native: scorewire_native.Engine, options: AccessOptions, max_in_flight: int) -> None:
        self._native = native
        self._options = options
        self._max_in_flight = max_in_flight
        self._principals = options.table.principals
        self._tasks: set[asyncio.Task[Grant | None]] = set()
        self.use(options.table)

    def use(self, table: AccessTable) -> None:
        """Ask callers for credentials of a table."""
        self._native.use_access(table_parts(table))
        self._principals = table.principals

    def principal(self, name: str) -> Principal | None:
        """The principal that the extension has admitted; None if the table has just lost it."""
        return self._principals.get(name)

    def ask(self, number: int, question: scorewire_native.Verification) -> None:
        """Answer whether a credential is valid, later."""
        kind, value, peer = question
        verify = self._verified(Credential(kind, value, Peer(*peer)))
        task = asyncio.get_running_loop().create_task(verify)
        self._tasks.add(task)

        def done(task: asyncio.Task[Grant | None]) -> None:
            # Here, since a task that is cancelled before it begins runs no code.
            self._tasks.discard(task)
            grant = None if task.cancelled() else task.result()
            found = None if grant is None else (grant.principal.name, _seconds_left(grant))
            self._native.verified(number, found)

        task.add_done_callback(done)

    async def _verified(self, credential: Credential) -> Grant | None:
        try:
            return await self._options.verify(credential)
        except Exception as error:
            log_fault("verify", error)
            return None

    def refused(self, refusal: scorewire_native.Refusal) -> None:
        """Tell that a call of an audited path was refused."""
        path, peer, name, failure, left_out = refusal
        principal = None if name is None else self.principal(name) or Principal(name)
        self._options.refused(path, Peer(*peer), principal, self._error(failure))
        if left_out:
            logger().warning("more refused calls came at once and are not told one by one", calls=left_out)

    def _error(self, failure: scorewire_native.RefusalFailure) -> CallError:
        match failure:
            case "unauthenticated":
                return unauthenticated()
            case "too_many_in_flight":
                return too_many_in_flight(self._max_in_flight)
            case "caller_limit":
                return caller_limit(0)

    async def close(self) -> None:
        """Cancel the verifications that are under way; for an engine that has stopped."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
