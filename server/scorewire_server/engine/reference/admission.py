"""The gate of every call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic_ns, time

from scorewire_contract.service.logs import logger
from scorewire_contract.typed import model_of
from scorewire_server.engine.access import AccessOptions, AccessTable, Grant, Principal, Rate, Right
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.interpreted.failures import expired, permission_denied, unauthenticated
from scorewire_server.engine.interpreted.limits import CallerLimits, Gcra
from scorewire_server.engine.peer import Peer
from scorewire_server.engine.reference.authentication import Authentication, may_ask
from scorewire_server.engine.reference.open_streams import OpenStream
from scorewire_server.errors import CallError, TooManyInFlightError, UnauthenticatedError

# How many streams at one time find out again who calls.
_CHECKS = 64
# How often the control plane learns of a refused call.
_TOLD = Rate(100, 64)
# The longer a timer runs, the more it may differ from the clock.
_LONGEST_TIMER_SECONDS = 600.0


class Admission:
    """Lets calls in, or refuses them; to be used from one event loop.

    Args:
        access: how to find out who calls; None if everybody may call.
        max_in_flight: the limit that calls are told of while too many credentials are verified.
        callers: counts the calls of each principal; None if calls have no principals.
    """

    def __init__(
        self, access: AccessOptions | None, max_in_flight: int, callers: CallerLimits | None = None
    ) -> None:
        self._access = access
        self._callers = callers
        self._authentication = None if access is None else Authentication(access, max_in_flight)
        self._revoked: Callable[[bytes], bool] | None = None
        self._told = Gcra()
        self._untold = 0
        self._streams: set[OpenStream] = set()
        # Tasks that find out again who has all streams, and those for one stream each.
        self._rounds: list[asyncio.Task[None]] = []
        self._checks: set[asyncio.Task[None]] = set()

    @property
    def refused(self) -> dict[str, int]:
        """Refused calls and ended streams by `CREDENTIAL_CAUSES`; none if everybody may call."""
        return {} if self._authentication is None else self._authentication.refused

    def use_access(self, table: AccessTable) -> None:
        """Find out who calls by a new table; also who has the streams that are open."""
        if self._authentication is not None:
            self._authentication.use_access(table)
            self._check_streams(self._authentication)

    def use_revocations(self, revoked: Callable[[bytes], bool] | None) -> None:
        """Refuse the calls of clients whose certificates, in DER, are revoked."""
        self._revoked = revoked

    async def close(self) -> None:
        """Verify nothing any more."""
        tasks = [*self._rounds, *self._checks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._authentication is not None:
            await self._authentication.close()

    async def admit(self, context: CallContext, *, again: bool = False) -> Grant | None:
        """Let a call in, or refuse it.

        Every call of the reference engine passes here before its first message is read:
        predictions and control calls, unary calls and streams. A unary call passes again
        when its request has ended, which may be long after it began. Every check of a call's
        method, metadata, peer or deadline belongs here. The limit of messages in flight
        does not, since each message of a stream counts: the predictor has it.

        Returns:
            The grant of the caller; None for a method that needs no credential, and if everybody may call.

        Raises:
            DeadlineExceededError: the deadline has passed.
            UnauthenticatedError: the call shows no valid credential.
            PermissionDeniedError: the caller may not know whether there is such a method.
            TooManyInFlightError: too many credentials are verified at this time.
        """
        try:
            self._refuse_revoked(context.peer)
            grant = None
            if self._authentication is not None:
                grant = await self._authentication.grant(context, again=again)
        except (UnauthenticatedError, TooManyInFlightError) as error:
            self.tell(context, error)
            raise
        if grant is not None:
            self._check_typed(context.method, grant.principal)
        # Not before, since the words of this failure tell whether there is such a method.
        if context.expired:
            raise expired()
        return grant

    def tell(self, context: CallContext, error: CallError) -> None:
        """Tell the control plane of a call that was refused, if it wants to know."""
        if self._access is None or context.method not in self._access.audited:
            return
        if self._told.take(_TOLD, monotonic_ns()):
            self._untold += 1
            return
        self._access.refused(context.method, context.peer, context.principal, error)
        if self._untold:
            logger().warning(
                "more refused calls came at once and are not told one by one", calls=self._untold
            )
            self._untold = 0

    @contextmanager
    def opened(self, context: CallContext, grant: Grant | None) -> Iterator[OpenStream]:
        """Know of an admitted stream for the time of a block, and end it once its credential ends."""
        stream = OpenStream(context)
        self._streams.add(stream)
        self._watch(stream, grant)
        try:
            yield stream
        finally:
            self._streams.discard(stream)
            stream.watch(None)

    def _refuse_revoked(self, peer: Peer) -> None:
        """Refuse a client whose certificate is revoked, which grpc does not find out in the handshake."""
        if self._revoked is None or peer.certificate is None or not self._revoked(peer.certificate):
            return
        if self._authentication is not None:
            self._authentication.refused["certificate"] += 1
        raise unauthenticated()

    def _check_typed(self, path: str, principal: Principal) -> None:
        """Refuse the methods of typed services of models that a principal may not predict with.

        Others find the right out once they have read a message. But a typed service is there
        only if its model is, so this refuses methods that do not exist, too.
        """
        model = model_of(path)
        if model is not None and not principal.may(Right.PREDICT, model):
            if self._callers is not None:
                self._callers.deny(principal)
            raise permission_denied()

    def _check_streams(self, authentication: Authentication) -> None:
        """Find out again who has the open streams, some at one time."""
        # API keys first, of which nobody is asked: a removed one must not wait for keys of issuers.
        streams = iter(sorted(self._streams, key=lambda stream: may_ask(stream.context)))

        async def check_next() -> None:
            for stream in streams:
                await self._check(stream, authentication)
                # Most checks wait for nothing.
                await asyncio.sleep(0)

        for former in self._rounds:
            former.cancel()
        self._rounds = [asyncio.create_task(check_next()) for _ in range(min(_CHECKS, len(self._streams)))]

    async def _check(self, stream: OpenStream, authentication: Authentication) -> None:
        """Find out again who has a stream, and end it if nobody has."""
        if stream not in self._streams:
            return
        try:
            grant = await authentication.grant(stream.context, again=True)
        except CallError as error:
            stream.end(error)
            return
        if stream in self._streams:
            principal = None if grant is None else grant.principal
            stream.context = replace(stream.context, principal=principal)
            self._watch(stream, grant)

    def _watch(self, stream: OpenStream, grant: Grant | None) -> None:
        """Have a stream checked when its credential expires."""
        authentication = self._authentication
        if authentication is None or grant is None or grant.expires is None:
            stream.watch(None)
            return

        def check() -> None:
            task = asyncio.create_task(self._check(stream, authentication))
            self._checks.add(task)
            task.add_done_callback(self._checks.discard)

        seconds = min(max(grant.expires - time(), 0), _LONGEST_TIMER_SECONDS)
        stream.watch(asyncio.get_running_loop().call_later(seconds, check))
