"""Both engines let in who shows a valid credential, and end streams whose credential is valid no more."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from scorewire_server.catalog.repository import BundleFolder
from scorewire_server.engine.access import (
    AccessTable,
    Grant,
    Patterns,
    Principal,
    PrincipalLimits,
    Rate,
    Right,
)
from scorewire_server.engine.factory import choose_engine
from scorewire_server.engine.snapshot import LoadedVersion
from scorewire_server.errors import CallerLimitError, TooManyInFlightError, UnauthenticatedError
from scorewire_server.loading.loader import load
from scorewire_server.settings import Settings
from tests import bundles
from tests.certificates import ClientAuthority, make_certificates
from tests.conformance.callers import (
    BANK,
    ECHO,
    EXPIRED_KEY,
    KEY,
    OPEN,
    OPEN_STREAM,
    OTHER_KEY,
    SHOP,
    STREAM,
    Control,
    bearer,
    code_of,
    ended,
    exchange,
    refusals,
    table,
)
from tests.conformance.wire import PREDICT, PREDICT_STREAM, Wire
from tests.conformance.wire import failure_of as wire_failure
from tests.scorewire_server.engine.running import (
    MESSAGE,
    REQUEST,
    TYPED_PATH,
    RunningEngine,
    failure_of,
    until,
)
from tests.scorewire_server.models import snapshot_of

UNKNOWN_PATH = "/test.Nothing/Here"
MAX_QUESTIONS = 256


@pytest.fixture(scope="module")
def summing(engine: str, tmp_path_factory: pytest.TempPathFactory) -> LoadedVersion:
    """The version of `write_sum_bundle`, loaded."""
    path = bundles.write_sum_bundle(tmp_path_factory.mktemp("models"))
    kind = choose_engine(engine)
    record = load(BundleFolder(path, path.parent.name, path.name), lambda graph: kind.open_session(graph, 1))
    assert record.loaded is not None, record.reason
    return record.loaded


@pytest.fixture
def control() -> Control:
    """What the engine of the test asks."""
    return Control()


Start = Callable[..., Awaitable[RunningEngine]]


@pytest.fixture
async def start(engine: str, control: Control, summing: LoadedVersion) -> AsyncIterator[Start]:
    """Starts engines that ask who calls and serve the sum, and stops them after the test."""
    running: list[RunningEngine] = []

    async def start_one(first: AccessTable | None = None, **settings: Any) -> RunningEngine:
        made = choose_engine(engine).make(
            Settings(listen="127.0.0.1:0", **settings),
            control.methods(),
            access=control.options(first or table(), frozenset({ECHO})),
        )
        made.publish(snapshot_of(summing))
        running.append(RunningEngine(made, await made.start()))
        return running[-1]

    yield start_one
    for each in running:
        await each.channel.close()
        await each.engine.stop(0)


REFUSED: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "none": ("missing", ()),
    "other scheme": ("malformed", bearer(KEY, "Basic")),
    "no scheme": ("malformed", (("authorization", KEY),)),
    "too long": ("malformed", bearer("x" * 8193)),
    "twice": ("malformed", bearer(KEY) * 2),
    "a valid one and another": ("malformed", (*bearer(KEY), ("authorization", "Basic x"))),
    "unknown": ("unknown", bearer(KEY[:-1] + "0")),
    "beginning of one": ("unknown", bearer(KEY[:-1])),
    "continued": ("unknown", bearer(KEY + "1")),
    "other case": ("unknown", bearer(KEY.upper())),
    "two spaces": ("unknown", bearer(" " + KEY)),
    "three dots": ("unknown", bearer("a.b.c.d")),
    "long": ("unknown", bearer("x" * 8192)),
    "expired": ("expired", bearer(EXPIRED_KEY)),
    "invalid token": ("token", bearer("a.b.c")),
    "other header": ("missing", (("proxy-authorization", f"Bearer {KEY}"),)),
}


async def test_what_is_no_valid_credential_is_refused_with_the_same_bytes(start: Start) -> None:
    running = await start(max_metadata_bytes=1 << 16)
    seen = set()
    for path in (PREDICT, TYPED_PATH, ECHO, UNKNOWN_PATH):
        for name, (_, metadata) in REFUSED.items():
            call = running.unary(path=path, metadata=metadata)
            failure = await failure_of(call)
            assert (failure.code, failure.reason) == (
                grpc.StatusCode.UNAUTHENTICATED,
                "UNAUTHENTICATED",
            ), (path, name)
            initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
            seen.add((failure.message, tuple(initial or ()), tuple(trailing or ())))
    assert len(seen) == 1
    counts = Counter(cause for cause, _ in REFUSED.values())
    assert refusals(running) == {cause: 4 * count for cause, count in counts.items()}


async def test_the_paths_of_typed_services_do_not_tell_which_models_of_others_there_are(start: Start) -> None:
    game = Principal("game", {Right.PREDICT: Patterns(prefixes=("game-",))})
    running = await start(
        AccessTable(principals={"game": game}, keys={sha256(KEY.encode()).digest(): Grant(game)})
    )
    seen = set()
    for path in (TYPED_PATH, TYPED_PATH + "Nothing", "/scorewire.models.other.v1.OtherService/PredictStream"):
        for data in (b"", MESSAGE, b"\xff"):
            call = running.unary(data, path, metadata=bearer(KEY))
            failure = await failure_of(call)
            assert failure.reason == "PERMISSION_DENIED", path
            seen.add(
                (
                    failure.message,
                    tuple(await call.initial_metadata() or ()),
                    tuple(await call.trailing_metadata() or ()),
                )
            )
    assert len(seen) == 1
    for path in ("/scorewire.models.gameTime.v1.GameTimeService/Predict", UNKNOWN_PATH):
        code = await code_of(running.unary(path=path, metadata=bearer(KEY)))
        assert code == grpc.StatusCode.UNIMPLEMENTED, path
    assert running.engine.statistics.principals["game"].refused["denied"] == 9


async def test_a_valid_key_lets_calls_in_whatever_the_case_of_its_scheme(start: Start) -> None:
    running = await start()
    for scheme in ("Bearer", "bearer", "BEARER"):
        metadata = bearer(KEY, scheme)
        assert await running.unary(metadata=metadata)
        assert await running.unary(path=ECHO, metadata=metadata) == b"shop"
    for path in (PREDICT_STREAM, STREAM):
        stream = running.stream(path, metadata=bearer(KEY))
        for _ in range(3):
            answer = await exchange(stream)
            assert answer == b"shop" if path == STREAM else answer
        await stream.done_writing()
        assert await stream.code() == grpc.StatusCode.OK
    # The row lacks a feature, so this failure shows that the call has reached the model.
    assert (
        await failure_of(running.unary(b"", TYPED_PATH, metadata=bearer(KEY)))
    ).reason == "INVALID_REQUEST"
    assert refusals(running) == {}


async def test_calls_of_one_connection_have_the_principals_that_they_show(start: Start) -> None:
    running = await start()
    for _ in range(3):
        for key, name in ((KEY, b"shop"), (OTHER_KEY, b"bank")):
            assert await running.unary(path=ECHO, metadata=bearer(key)) == name
        assert await code_of(running.unary(path=ECHO)) == grpc.StatusCode.UNAUTHENTICATED


async def test_open_paths_need_no_credential_and_have_no_principal(start: Start) -> None:
    running = await start()
    for metadata in ((), bearer(KEY), bearer("no key"), bearer("a.b.c")):
        assert await running.unary(path=OPEN, metadata=metadata) == b"nobody"
    stream = running.stream(OPEN_STREAM)
    assert await exchange(stream, b"") == b"nobody"
    running.engine.use_access(table({OTHER_KEY: Grant(BANK)}))
    assert await exchange(stream, b"") == b"nobody"
    await stream.done_writing()
    assert await stream.code() == grpc.StatusCode.OK
    assert refusals(running) == {}


@pytest.mark.parametrize("loading", [False, True])
async def test_who_has_no_credential_does_not_learn_which_methods_there_are(
    start: Start, summing: LoadedVersion, loading: bool
) -> None:
    running = await start()
    running.engine.publish(snapshot_of(*(() if loading else (summing,))), loading=loading)
    paths = (UNKNOWN_PATH, TYPED_PATH, ECHO, "/scorewire.models.other.v1.OtherService/Predict")
    for path in paths:
        assert await code_of(running.unary(path=path)) == grpc.StatusCode.UNAUTHENTICATED
    # grpc refuses what it cannot inflate before its server sees the call.
    compressed = [running.unary(path=path, compression=grpc.Compression.Deflate) for path in paths]
    assert len({await code_of(call) for call in compressed}) == 1
    running.engine.publish(snapshot_of(summing))
    code = await code_of(running.unary(path=UNKNOWN_PATH, metadata=bearer(KEY)))
    assert code == grpc.StatusCode.UNIMPLEMENTED


async def test_a_key_that_the_table_loses_is_refused_at_once(start: Start) -> None:
    running = await start()
    for _ in range(3):
        assert await running.unary(metadata=bearer(KEY))
        running.engine.use_access(table({OTHER_KEY: Grant(BANK)}))
        assert await code_of(running.unary(metadata=bearer(KEY))) == grpc.StatusCode.UNAUTHENTICATED
        assert await running.unary(metadata=bearer(OTHER_KEY))
        running.engine.use_access(table({KEY: Grant(SHOP)}))
        assert await code_of(running.unary(metadata=bearer(OTHER_KEY))) == grpc.StatusCode.UNAUTHENTICATED
    assert refusals(running) == {"unknown": 6}


async def test_a_key_that_gets_another_principal_has_it_at_once(start: Start) -> None:
    running = await start()
    assert await running.unary(path=ECHO, metadata=bearer(KEY)) == b"shop"
    running.engine.use_access(table({KEY: Grant(BANK)}))
    assert await running.unary(path=ECHO, metadata=bearer(KEY)) == b"bank"


@pytest.mark.parametrize("path", [PREDICT_STREAM, STREAM])
async def test_idle_streams_end_with_their_key_and_others_go_on(start: Start, path: str) -> None:
    running = await start()
    lost, kept = (running.stream(path, metadata=bearer(key), timeout=60) for key in (KEY, OTHER_KEY))
    for stream in (lost, kept):
        assert await exchange(stream)
    running.engine.use_access(table({OTHER_KEY: Grant(BANK)}))
    assert await ended(lost) == grpc.StatusCode.UNAUTHENTICATED
    for _ in range(3):
        assert await exchange(kept)
    running.engine.use_access(table({OTHER_KEY: Grant(BANK)}))
    assert await exchange(kept)
    await kept.done_writing()
    assert await kept.code() == grpc.StatusCode.OK
    assert refusals(running) == {"unknown": 1}
    await until(lambda: running.engine.statistics.streams == 0)


@pytest.mark.parametrize("path", [PREDICT_STREAM, STREAM])
async def test_busy_streams_end_with_their_key(start: Start, path: str) -> None:
    running = await start()
    answers = 0

    def call() -> grpc.StatusCode:
        # grpc's client for asyncio fails when it writes to a stream that has ended.
        nonlocal answers
        with Wire(running.address).channel as channel:
            stream: Any = channel.stream_stream(path)
            try:
                for _ in stream(itertools.repeat(MESSAGE), metadata=bearer(KEY), timeout=60):
                    answers += 1
            except grpc.RpcError as error:
                return wire_failure(error).code
        return grpc.StatusCode.OK

    ended = asyncio.ensure_future(asyncio.to_thread(call))
    await until(lambda: answers > 100)
    running.engine.use_access(table({OTHER_KEY: Grant(BANK)}))
    assert await ended == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("path", [PREDICT_STREAM, STREAM])
async def test_a_stream_ends_when_its_key_expires(start: Start, path: str) -> None:
    running = await start(table({KEY: Grant(SHOP, time.time() + 5), OTHER_KEY: Grant(BANK)}))
    stream = running.stream(path, metadata=bearer(KEY), timeout=60)
    assert await exchange(stream)
    assert await ended(stream) == grpc.StatusCode.UNAUTHENTICATED
    assert await code_of(running.unary(metadata=bearer(KEY))) == grpc.StatusCode.UNAUTHENTICATED
    assert refusals(running) == {"expired": 2}


async def test_a_token_is_verified_once_for_all_connections_and_again_for_another_table(
    start: Start, control: Control
) -> None:
    running = await start()
    control.grants[b"a.b.c"] = Grant(BANK)
    metadata = bearer("a.b.c")
    stream = running.stream(STREAM, metadata=metadata)
    assert await exchange(stream) == b"bank"
    for rounds in (1, 2, 3):
        for _ in range(5):
            options = [("grpc.use_local_subchannel_pool", 1)]
            async with aio.insecure_channel(running.address, options=options) as channel:
                echo: Any = channel.unary_unary(ECHO)
                assert [await echo(b"", metadata=metadata, timeout=20) for _ in range(3)] == 3 * [b"bank"]
        assert control.tokens() == rounds * [b"a.b.c"]
        assert control.asked[0].kind == "token"
        assert control.asked[0].peer.host == "127.0.0.1"
        running.engine.use_access(table())
        # The stream is checked again, too, and its question is that of all calls.
        await until(lambda rounds=rounds: len(control.asked) == rounds + 1)  # type: ignore[misc]
    del control.grants[b"a.b.c"]
    running.engine.use_access(table())
    assert await ended(stream) == grpc.StatusCode.UNAUTHENTICATED
    assert await code_of(running.unary(metadata=metadata)) == grpc.StatusCode.UNAUTHENTICATED


async def test_a_principal_that_the_table_lacks_is_nobody(start: Start, control: Control) -> None:
    running = await start()
    control.grants[b"a.b.c"] = Grant(Principal("unknown"))
    assert await code_of(running.unary(metadata=bearer("a.b.c"))) == grpc.StatusCode.UNAUTHENTICATED
    assert refusals(running) == {"token": 1}


async def test_calls_that_come_together_share_one_question(start: Start, control: Control) -> None:
    running = await start()
    # Only on a connection that is there already do calls go out in order.
    assert await running.unary(metadata=bearer(KEY))
    control.grants[b"a.b.c"] = Grant(SHOP)
    control.may_answer.clear()
    valid, invalid = (
        [
            asyncio.ensure_future(running.unary(path=path, metadata=bearer(token)))
            for path in 20 * [PREDICT, ECHO]
        ]
        for token in ("a.b.c", "x.y.z")
    )
    await until(lambda: len(control.asked) >= 2)
    # Keys are not held up; and when this is answered, the server has seen all calls before it.
    assert await running.unary(metadata=bearer(KEY))
    assert not any(call.done() for call in (*valid, *invalid))
    control.may_answer.set()
    assert all(await asyncio.gather(*valid))
    failed = await asyncio.gather(*map(failure_of, invalid))
    assert {failure.code for failure in failed} == {grpc.StatusCode.UNAUTHENTICATED}
    assert sorted(control.tokens()) == [b"a.b.c", b"x.y.z"]
    assert refusals(running) == {"token": 40}


async def test_an_answer_by_an_older_table_is_asked_for_again(start: Start, control: Control) -> None:
    running = await start()
    control.grants[b"a.b.c"] = Grant(SHOP)
    control.may_answer.clear()
    call = asyncio.ensure_future(running.unary(path=ECHO, metadata=bearer("a.b.c")))
    await until(lambda: len(control.asked) == 1)
    running.engine.use_access(table())
    control.may_answer.set()
    assert await call == b"shop"
    assert control.tokens() == 2 * [b"a.b.c"]


async def test_open_questions_are_bounded(start: Start, control: Control) -> None:
    running = await start(max_streams=1000)
    control.may_answer.clear()
    tokens = [f"{number}.b.c" for number in range(MAX_QUESTIONS + 20)]
    control.grants = {token.encode(): Grant(SHOP) for token in tokens}
    calls = [asyncio.ensure_future(running.unary(metadata=bearer(token), timeout=60)) for token in tokens]
    await until(lambda: refusals(running) == {"busy": 20})
    await until(lambda: len(control.asked) == MAX_QUESTIONS)
    control.may_answer.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    errors = [each for each in results if isinstance(each, aio.AioRpcError)]
    assert len(errors) == 20
    assert {error.code() for error in errors} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    # There are places again.
    assert await running.unary(metadata=bearer(tokens[-1]))


async def test_failures_of_an_address_are_limited_before_anything_is_verified(
    start: Start, control: Control
) -> None:
    running = await start(table(burst=3))
    control.grants[b"a.b.c"] = Grant(SHOP)
    assert await running.unary(metadata=bearer("a.b.c"))
    for number in range(6):
        code = await code_of(running.unary(metadata=bearer(f"x.y.{number}")))
        assert code == grpc.StatusCode.UNAUTHENTICATED
    assert control.tokens() == [b"a.b.c", b"x.y.0", b"x.y.1", b"x.y.2"]
    assert refusals(running) == {"token": 3, "address": 3}
    control.grants[b"new.b.c"] = Grant(SHOP)
    assert await code_of(running.unary(metadata=bearer("new.b.c"))) == grpc.StatusCode.UNAUTHENTICATED
    # With another limit the address begins anew.
    running.engine.use_access(table(burst=4))
    assert await running.unary(metadata=bearer("new.b.c"))
    for number in range(5):
        await code_of(running.unary(metadata=bearer(f"z.y.{number}")))
    assert [token for token in control.tokens() if token.startswith(b"z.")] == [
        f"z.y.{number}".encode() for number in range(4)
    ]
    # What was valid before may be verified again, and keys are no matter of the limit.
    running.engine.use_access(table(burst=4))
    assert await running.unary(metadata=bearer("a.b.c"))
    assert await running.unary(metadata=bearer(KEY))
    # Once it has failed, it is like any other.
    del control.grants[b"a.b.c"]
    running.engine.use_access(table(burst=4))
    asked = len(control.asked)
    for _ in range(3):
        assert await code_of(running.unary(metadata=bearer("a.b.c"))) == grpc.StatusCode.UNAUTHENTICATED
    assert len(control.asked) == asked + 1


async def test_a_token_is_verified_again_once_its_grant_has_expired(start: Start, control: Control) -> None:
    running = await start()
    control.grants[b"a.b.c"] = Grant(SHOP, time.time() + 5)
    stream = running.stream(metadata=bearer("a.b.c"), timeout=60)
    assert await exchange(stream)
    assert await ended(stream) == grpc.StatusCode.UNAUTHENTICATED
    control.grants[b"a.b.c"] = Grant(SHOP)
    assert await running.unary(metadata=bearer("a.b.c"))
    assert control.tokens() == 2 * [b"a.b.c"]


async def test_a_caller_that_does_not_wait_leaves_an_answer_for_the_others(
    start: Start, control: Control
) -> None:
    running = await start()
    control.grants[b"a.b.c"] = Grant(SHOP)
    control.may_answer.clear()
    for number, path in enumerate((PREDICT, ECHO)):
        call = running.unary(path=path, metadata=bearer("a.b.c"), timeout=0.2)
        with pytest.raises(aio.AioRpcError) as caught:
            await call
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED, number
    control.may_answer.set()
    assert await running.unary(metadata=bearer("a.b.c"))
    assert control.tokens() == [b"a.b.c"]


async def test_refused_calls_of_audited_paths_are_told(start: Start, control: Control) -> None:
    running = await start()
    for path in (ECHO, PREDICT, UNKNOWN_PATH, OPEN):
        for metadata in ((), bearer("no key")):
            if path != OPEN:
                assert (
                    await code_of(running.unary(path=path, metadata=metadata))
                    == grpc.StatusCode.UNAUTHENTICATED
                )
    await until(lambda: len(control.refused) == 2)
    assert {path for path, *_ in control.refused} == {ECHO}
    assert {peer.host for _, peer, *_ in control.refused} == {"127.0.0.1"}
    assert [principal for _, _, principal, _ in control.refused] == [None, None]
    assert {type(error) for *_, error in control.refused} == {UnauthenticatedError}


@pytest.mark.parametrize(
    "limits", [PrincipalLimits(calls=Rate(1e-3, 1)), PrincipalLimits(in_flight=1)], ids=["calls", "in flight"]
)
async def test_calls_of_audited_paths_that_a_limit_refuses_are_told(
    start: Start, control: Control, limits: PrincipalLimits
) -> None:
    shop = replace(SHOP, limits=limits)
    running = await start(replace(table({KEY: Grant(shop)}), principals={"shop": shop}))
    stream = running.stream(STREAM, metadata=bearer(KEY), timeout=60)
    assert await exchange(stream) == b"shop"
    for path in (ECHO, PREDICT):
        code = await code_of(running.unary(path=path, metadata=bearer(KEY)))
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    await until(lambda: len(control.refused) == 1)
    ((path, peer, principal, error),) = control.refused
    assert (path, peer.host, principal, type(error)) == (ECHO, "127.0.0.1", shop, CallerLimitError)


async def test_calls_of_audited_paths_that_come_while_too_many_are_verified_are_told(
    start: Start, control: Control
) -> None:
    running = await start(max_streams=1000)
    control.may_answer.clear()
    calls = [
        asyncio.ensure_future(running.unary(metadata=bearer(f"{number}.b.c"), timeout=60))
        for number in range(MAX_QUESTIONS)
    ]
    await until(lambda: len(control.asked) == MAX_QUESTIONS)
    code = await code_of(running.unary(path=ECHO, metadata=bearer("one.b.more")))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    await until(lambda: len(control.refused) == 1)
    assert isinstance(control.refused[0][3], TooManyInFlightError)
    control.may_answer.set()
    await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("path", [PREDICT, ECHO])
@pytest.mark.parametrize("whole", [False, True], ids=["before its message", "before its end"])
async def test_a_key_that_is_lost_while_the_request_is_not_complete_is_refused(
    start: Start, control: Control, path: str, whole: bool
) -> None:
    running = await start()
    # Only on a connection that is there already do calls go out in order.
    assert await running.unary(metadata=bearer(KEY))
    method: Any = running.channel.stream_unary(path)
    late = [method(metadata=bearer(key), timeout=60) for key in (KEY, OTHER_KEY)]
    if whole:
        for call in late:
            await call.write(REQUEST)
    # The server has seen the calls before it sees a later one of their connection.
    assert await running.unary(metadata=bearer(KEY))
    running.engine.use_access(table({OTHER_KEY: Grant(BANK)}))
    for call in late:
        if not whole:
            with suppress(aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(REQUEST)
        with suppress(aio.AioRpcError, asyncio.InvalidStateError):
            await call.done_writing()
    assert await code_of(late[0]) == grpc.StatusCode.UNAUTHENTICATED
    assert await late[1]
    assert refusals(running) == {"unknown": 1}
    audited = [ECHO] if path == ECHO else []
    await until(lambda: [told for told, *_ in control.refused] == audited)


async def test_refused_predictions_count_as_calls_without_a_version(start: Start) -> None:
    running = await start()
    for metadata in ((), bearer("no key"), bearer("a.b.c")):
        await failure_of(running.unary(metadata=metadata))
        stream = running.stream(metadata=metadata)
        assert await ended(stream) == grpc.StatusCode.UNAUTHENTICATED
    failed = {key: each.failed for key, each in running.engine.statistics.calls.items() if each.failed}
    counted = {key.method: sum(counts.values()) for key, counts in failed.items()}
    assert counted == {"Predict": 3, "PredictStream": 3}
    assert {(key.model, key.version) for key in failed} == {("", "")}


async def test_a_certificate_counts_where_there_is_no_entry(
    start: Start, control: Control, tmp_path: Path, engine: str
) -> None:
    made, authority = make_certificates(tmp_path), ClientAuthority(tmp_path)
    files = {"tls_cert": made.server, "tls_key": made.server_key, "tls_client_ca": authority.file}
    running = await start(**files)
    shop, other = authority.issue("shop"), authority.issue("other")
    for shown, lets_in in ((shop, True), (other, False), (None, False)):
        # grpc in Python cannot ask for a certificate without requiring one.
        if shown is None and engine == "reference":
            continue
        pair = (None, None) if shown is None else (shown.key.read_bytes(), shown.chain.read_bytes())
        credentials = grpc.ssl_channel_credentials(made.authority.read_bytes(), *pair)
        async with aio.secure_channel(
            f"localhost:{running.address.rpartition(':')[2]}", credentials
        ) as channel:
            echo: Any = channel.unary_unary(ECHO)
            for _ in range(2):
                if shown is not None and lets_in and not control.grants:
                    # The first question shows what the certificate looks like.
                    await failure_of(echo(b"", timeout=20))
                    (asked,) = control.asked
                    assert (asked.kind, asked.peer.certificate) == ("certificate", asked.value)
                    control.grants[asked.value] = Grant(SHOP)
                if lets_in:
                    assert await echo(b"", timeout=20) == b"shop"
                else:
                    assert await code_of(echo(b"", timeout=20)) == grpc.StatusCode.UNAUTHENTICATED
            assert await echo(b"", timeout=20, metadata=bearer(OTHER_KEY)) == b"bank"
            wrong = echo(b"", timeout=20, metadata=bearer("no key"))
            assert await code_of(wrong) == grpc.StatusCode.UNAUTHENTICATED
    # Twice that of the shop, and the other's twice.
    assert len(control.asked) == 4


async def test_nothing_is_left_of_calls_that_ended_in_any_way(start: Start, control: Control) -> None:
    running = await start()
    control.grants[b"a.b.c"] = Grant(SHOP)
    await running.unary(metadata=bearer("a.b.c"))
    tasks = len(asyncio.all_tasks())
    for number in range(20):
        streams = [running.stream(path, metadata=bearer("a.b.c")) for path in (PREDICT_STREAM, STREAM)]
        for stream in streams:
            await exchange(stream)
        control.may_answer.clear()
        asked = len(control.asked)
        calls = [
            running.unary(path=path, metadata=bearer(f"{number}.{each}.{token}"))
            for path in (PREDICT, ECHO)
            for each in range(5)
            for token in ("c", "d" * 6000)
        ]
        await until(lambda asked=asked: len(control.asked) > asked)  # type: ignore[misc]
        for call in (*calls[::2], *streams):
            call.cancel()
        control.may_answer.set()
        await asyncio.gather(*calls, return_exceptions=True)
        running.engine.use_access(table())
    statistics = running.engine.statistics
    await until(lambda: running.engine.statistics.streams == 0)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert statistics.in_flight == 0
    if statistics.transport is not None:
        await until(lambda: running.engine.statistics.transport.buffered_bytes == 0)
