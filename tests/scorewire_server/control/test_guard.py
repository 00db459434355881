"""Who may call which control method: every method with every kind of principal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from google.protobuf.message import Message

from scorewire_contract.patterns import Patterns
from scorewire_proto.v1 import models_pb2 as pb
from scorewire_server.control.audit import Audit
from scorewire_server.control.guard import Guard
from scorewire_server.control.needs import NEEDS
from scorewire_server.engine.access import AccessTable, Principal, Right
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.port import ControlMethod, StreamMethod, UnaryMethod
from scorewire_server.errors import (
    CallError,
    ControlOffError,
    MalformedMessageError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from tests.scorewire_server.control.rights import (
    ABOUT_A_MODEL,
    ABOUT_MODELS,
    ABOUT_NO_MODEL,
    ANY,
    CONTROL,
    EVERYBODY,
    HEALTH,
    MISSING,
    MODELS,
    OBSERVE,
    OF_ONE_MODEL,
    OPEN,
    OTHER,
    OWN,
    PREDICT,
    REFLECTION,
)


class Guarded:
    """Methods of every path behind a guard, whose handlers tell that they were called."""

    def __init__(self, *, access: bool = True, controllable: bool = True) -> None:
        principals = {who.principal.name: who.principal for who in EVERYBODY}
        self.table = AccessTable(principals=principals, keys={})
        self.called: list[str] = []
        # The principals whose calls were counted as denied.
        self.denied: list[Principal | None] = []
        self.guard = Guard(
            (lambda: self.table) if access else None,
            Audit(None),
            self.denied.append,
            controllable=controllable,
        )
        self.plain = {method.path: method for method in self._methods()}
        self.methods = {method.path: method for method in self.guard.around(self.plain.values())}

    async def call(
        self, path: str, request: Message | bytes = b"", principal: Principal | None = None
    ) -> bytes:
        """The answer of a method; of a stream, the last one."""
        method, context = self.methods[path], CallContext(path, principal=principal)
        data = request if isinstance(request, bytes) else request.SerializeToString()
        if isinstance(method, UnaryMethod):
            return await method.handler(data, context)

        async def messages() -> AsyncIterator[bytes]:
            yield data

        return [answer async for answer in method.handler(messages(), context)][-1]

    async def outcome(self, path: str, request: Message | bytes, principal: Principal | None) -> str:
        self.called.clear()
        self.denied.clear()
        try:
            await self.call(path, request, principal)
        except CallError as error:
            assert self.called == []
            expected = [principal] if isinstance(error, PermissionDeniedError) else []
            assert self.denied == expected
            return type(error).__name__
        assert self.denied == []
        assert self.called == [path]
        return "answered"

    def _methods(self) -> Iterator[ControlMethod]:
        for path, need in NEEDS.items():
            if need.right is not PREDICT:
                yield (
                    StreamMethod(path, self._stream)
                    if path in (*REFLECTION, f"{HEALTH}/Watch")
                    else (UnaryMethod(path, self._unary))
                )

    async def _unary(self, _: bytes, context: CallContext) -> bytes:
        self.called.append(context.method)
        if context.method in ABOUT_MODELS:
            return ABOUT_MODELS[context.method][1].SerializeToString()
        return b"answer"

    async def _stream(self, messages: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        async for message in messages:
            self.called.append(context.method)
            yield message


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


def test_the_tables_of_this_test_have_each_control_method() -> None:
    here = [*OPEN, *ABOUT_NO_MODEL, *ABOUT_A_MODEL, *ABOUT_MODELS]
    assert len(here) == len(set(here))
    assert set(here) == {path for path, need in NEEDS.items() if need.right is not PREDICT}


@pytest.mark.parametrize("path", sorted(OPEN))
async def test_health_needs_nothing(guarded: Guarded, path: str) -> None:
    assert guarded.methods[path] is guarded.plain[path]


@pytest.mark.parametrize("path", sorted(ABOUT_NO_MODEL))
async def test_what_is_about_no_model_needs_any_right(guarded: Guarded, path: str) -> None:
    assert await guarded.outcome(path, b"", None) == "UnauthenticatedError"
    for who in EVERYBODY:
        # A right to models that do not exist is a right, too.
        expected = "PermissionDeniedError" if who.right is None else "answered"
        assert await guarded.outcome(path, b"", who.principal) == expected, who.principal.name


@pytest.mark.parametrize("path", sorted(ABOUT_A_MODEL))
@pytest.mark.parametrize("model", [OWN, OTHER, MISSING, ""])
async def test_what_is_about_a_model_needs_a_right_to_it(guarded: Guarded, path: str, model: str) -> None:
    rights, request = ABOUT_A_MODEL[path]
    # The name in the other field counts where the first one is empty.
    meant = OTHER if path.endswith("RepositoryModelLoad") and not model else model
    assert await guarded.outcome(path, request(model), None) == "UnauthenticatedError"
    for who in EVERYBODY:
        expected = "answered" if who.may(rights, meant) else "PermissionDeniedError"
        assert await guarded.outcome(path, request(model), who.principal) == expected, who.principal.name


@pytest.mark.parametrize("path", sorted(ABOUT_MODELS))
async def test_lists_have_the_models_to_which_a_caller_has_a_right(guarded: Guarded, path: str) -> None:
    rights, whole, names = ABOUT_MODELS[path]
    assert await guarded.outcome(path, b"", None) == "UnauthenticatedError"
    for who in EVERYBODY:
        if who.right not in rights:
            assert await guarded.outcome(path, b"", who.principal) == "PermissionDeniedError"
            continue
        answer = type(whole).FromString(await guarded.call(path, b"", who.principal))
        assert names(answer) == [name for name in names(whole) if name in who.models], who.principal.name
        if path.endswith("GetStatistics"):
            assert answer.HasField("records") == (who.principal.name == "observe-all")


@pytest.mark.parametrize("path", sorted(OF_ONE_MODEL))
@pytest.mark.parametrize("model", [OWN, OTHER, MISSING])
async def test_statistics_of_a_model_need_the_right_to_observe_it(
    guarded: Guarded, path: str, model: str
) -> None:
    request = OF_ONE_MODEL[path](model)
    assert await guarded.outcome(path, request, None) == "UnauthenticatedError"
    for who in EVERYBODY:
        expected = "answered" if who.may((OBSERVE,), model) else "PermissionDeniedError"
        assert await guarded.outcome(path, request, who.principal) == expected, who.principal.name


@pytest.mark.parametrize("path", [*sorted(OF_ONE_MODEL), *REFLECTION])
async def test_what_the_access_file_opens_needs_no_credential_and_is_whole(
    guarded: Guarded, path: str
) -> None:
    assert await guarded.outcome(path, b"", None) == "UnauthenticatedError"
    guarded.table = replace(guarded.table, open_paths=frozenset({path}))
    assert await guarded.outcome(path, b"", None) == "answered"
    if path in ABOUT_MODELS:
        assert await guarded.call(path) == ABOUT_MODELS[path][1].SerializeToString()
    guarded.table = replace(guarded.table, open_paths=frozenset())
    assert await guarded.outcome(path, b"", None) == "UnauthenticatedError"


@pytest.mark.parametrize("path", [*sorted(ABOUT_A_MODEL), *sorted(OF_ONE_MODEL)])
async def test_a_request_that_cannot_be_read_is_refused(guarded: Guarded, path: str) -> None:
    everything = Principal("everything", dict.fromkeys(Right, Patterns(prefixes=("",))))
    guarded.table = replace(guarded.table, principals={"everything": everything})
    assert await guarded.outcome(path, b"\xff", everything) == "MalformedMessageError"
    assert await guarded.outcome(path, b"\xff", None) in ("MalformedMessageError", "UnauthenticatedError")


async def test_refusals_have_the_same_words_for_models_that_exist_and_others(guarded: Guarded) -> None:
    principal = guarded.table.principals["predict-other"]
    words = set()
    for model in (OWN, MISSING):
        with pytest.raises(PermissionDeniedError) as refused:
            await guarded.call(f"{MODELS}/SetAlias", pb.SetAliasRequest(model=model), principal)
        words.add((str(refused.value), tuple(refused.value.metadata), refused.value.violations))
    assert len(words) == 1


async def test_a_right_that_is_taken_away_counts_no_more_in_an_open_stream(guarded: Guarded) -> None:
    principal, path = guarded.table.principals["observe-own"], REFLECTION[0]
    method = guarded.methods[path]
    assert isinstance(method, StreamMethod)

    async def messages() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"%d" % number

    answers = method.handler(messages(), CallContext(path, principal=principal))
    assert await anext(answers) == b"0"
    # Another right of the same name counts at once.
    changed = Principal(principal.name, {CONTROL: Patterns(frozenset({OTHER}))})
    guarded.table = replace(guarded.table, principals={principal.name: changed})
    assert await anext(answers) == b"1"
    guarded.table = replace(guarded.table, principals={principal.name: Principal(principal.name)})
    with pytest.raises(PermissionDeniedError):
        await anext(answers)


async def test_a_principal_that_is_gone_is_refused_in_an_open_stream(guarded: Guarded) -> None:
    principal, path = guarded.table.principals["observe-own"], REFLECTION[1]
    method = guarded.methods[path]
    assert isinstance(method, StreamMethod)

    async def messages() -> AsyncIterator[bytes]:
        yield b"first"
        guarded.table = replace(guarded.table, principals={})
        yield b"second"

    answers = method.handler(messages(), CallContext(path, principal=principal))
    assert await anext(answers) == b"first"
    with pytest.raises(UnauthenticatedError):
        await anext(answers)


async def test_without_access_everybody_may_call_and_only_changes_are_looked_at() -> None:
    guarded = Guarded(access=False)
    for path, plain in guarded.plain.items():
        changes = NEEDS[path].right is CONTROL
        assert (guarded.methods[path] is plain) != changes, path
        if changes:
            assert await guarded.outcome(path, b"", None) == "answered"


@pytest.mark.parametrize("path", sorted(path for path, (rights, _) in ABOUT_A_MODEL.items() if rights != ANY))
async def test_control_that_is_off_is_told_to_those_who_may_control(path: str) -> None:
    request = ABOUT_A_MODEL[path][1](OWN)
    with_access = Guarded(controllable=False)
    principals = with_access.table.principals
    assert await with_access.outcome(path, request, principals["control-own"]) == ControlOffError.__name__
    assert await with_access.outcome(path, request, principals["predict-own"]) == "PermissionDeniedError"
    without = Guarded(access=False, controllable=False)
    assert await without.outcome(path, request, None) == ControlOffError.__name__
    assert await without.outcome(path, b"\xff", None) == MalformedMessageError.__name__


def test_a_method_without_an_entry_is_an_error(guarded: Guarded) -> None:
    method = guarded.plain[f"{MODELS}/GetServer"]
    with pytest.raises(KeyError):
        guarded.guard.around([replace(method, path=f"{MODELS}/New")])


def test_a_stream_that_changes_something_is_an_error(guarded: Guarded) -> None:
    stream = guarded.plain[REFLECTION[0]]
    with pytest.raises(TypeError, match="must not be a stream"):
        guarded.guard.around([replace(stream, path=f"{MODELS}/SetAlias")])
