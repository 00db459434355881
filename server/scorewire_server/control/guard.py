"""What stands before every control method: who may call it, and the record of what it changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial

from google.protobuf.message import DecodeError, Message

from scorewire_server.control.audit import Audit, AuditedCall
from scorewire_server.control.needs import CHANGES, MESSAGES, NEEDS, Entries, Need
from scorewire_server.engine.access import AccessTable, Principal
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.interpreted.failures import permission_denied, unauthenticated
from scorewire_server.engine.port import ControlMethod, StreamMethod, UnaryMethod
from scorewire_server.errors import ControlOffError, MalformedMessageError


class Guard:
    """Guards control methods; to be used from one event loop.

    The rights of a caller are those that its principal has now, not those at the call's
    beginning: a stream is refused at its next message once a right is gone.

    Args:
        table: gives the table in force; None without --access. Then everybody may call, and methods that
            change nothing are left as they are.
        audit: records the calls of methods that change something.
        count_denied: counts a call of a principal that lacks the right.
        controllable: whether calls may change something; see --control.
    """

    def __init__(
        self,
        table: Callable[[], AccessTable] | None,
        audit: Audit,
        count_denied: Callable[[Principal], None],
        *,
        controllable: bool,
    ) -> None:
        self._table = table
        self._audit = audit
        self._count_denied = count_denied
        self._controllable = controllable

    def around(self, methods: Iterable[ControlMethod]) -> list[ControlMethod]:
        """The same methods, guarded; a method without an entry in `NEEDS` is a KeyError."""
        return [self._around(method, NEEDS[method.path]) for method in methods]

    def _around(self, method: ControlMethod, need: Need) -> ControlMethod:
        if method.path in CHANGES:
            if isinstance(method, StreamMethod):
                raise TypeError(f"{method.path} changes something, so it must not be a stream")
            return UnaryMethod(method.path, partial(self._change, method, need))
        if self._table is None or not need.credential:
            return method
        if isinstance(method, StreamMethod):
            return StreamMethod(method.path, partial(self._stream, method, need))
        return UnaryMethod(method.path, partial(self._answer, method, need))

    async def _answer(self, method: UnaryMethod, need: Need, data: bytes, context: CallContext) -> bytes:
        principal = self.caller(context)
        if principal is None:
            return await method.handler(data, context)
        model = need.names(_request(method.path, data)) if need.model else ""
        self._check(need, principal, model)
        answer = await method.handler(data, context)
        if need.entries is None:
            return answer
        return _only_own(MESSAGES[method.path].answer.FromString(answer), need, need.entries, principal)

    async def _stream(
        self, method: StreamMethod, need: Need, messages: AsyncIterator[bytes], context: CallContext
    ) -> AsyncIterator[bytes]:
        def check() -> None:
            if (principal := self.caller(context)) is not None:
                self._check(need, principal, "")

        async def checked() -> AsyncIterator[bytes]:
            async for message in messages:
                check()
                yield message

        check()
        async for answer in method.handler(checked(), context):
            yield answer

    async def _change(self, method: UnaryMethod, need: Need, data: bytes, context: CallContext) -> bytes:
        async def change(call: AuditedCall) -> bytes:
            call.request = request = _request(method.path, data)
            if (principal := self.caller(context)) is not None:
                self._check(need, principal, need.names(request))
            if not self._controllable:
                raise ControlOffError(
                    "this server refuses calls that change something: --control auto allows them with"
                    " --access, or if --listen is a loopback address"
                )
            await call.begin()
            return await method.handler(data, context)

        return await self._audit.run(context, change)

    def caller(self, context: CallContext) -> Principal | None:
        """The principal that calls, as it is now; None if the method needs no credential now.

        Raises:
            UnauthenticatedError: there is no such principal any more, or the method was open when the call
                began.
        """
        if self._table is None:
            return None
        table = self._table()
        if context.method in table.open_paths:
            return None
        principal = context.principal and table.principals.get(context.principal.name)
        if principal is None:
            raise unauthenticated()
        return principal

    def _check(self, need: Need, principal: Principal, model: str) -> None:
        """Check a right.

        Raises:
            PermissionDeniedError: the principal does not have it.
        """
        several = need.entries is not None or not need.model
        if not (need.met_for_any(principal) if several and not model else need.met_by(principal, model)):
            self._count_denied(principal)
            raise permission_denied()


def _request(path: str, data: bytes) -> Message:
    kind = MESSAGES[path].request
    try:
        return kind.FromString(data)
    except DecodeError:
        raise MalformedMessageError(f"the message does not parse as {kind.DESCRIPTOR.name}") from None


def _only_own(answer: Message, need: Need, entries: Entries, principal: Principal) -> bytes:
    """An answer with the entries of models to which a principal has the right."""
    found = getattr(answer, entries.field)
    kept = [each for each in found if need.met_by(principal, getattr(each, entries.name))]
    if len(kept) < len(found):
        kept = [type(each).FromString(each.SerializeToString()) for each in kept]
        answer.ClearField(entries.field)
        found = getattr(answer, entries.field)
        found.extend(kept)
    if entries.total and not need.met_for_all(principal):
        answer.ClearField(entries.total)
    return answer.SerializeToString()
