from __future__ import annotations

import asyncio
import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scorewire import (
    TLS,
    AsyncClient,
    CircuitBreaker,
    Client,
    Code,
    DeadlineExceededError,
    Hedging,
    InvalidRowsError,
    ResourceExhaustedError,
    Retries,
    TokenError,
    TokenFile,
    UnauthenticatedError,
)
from scorewire._metadata import MAX_BYTES
from scorewire.testing import FakeServer
from tests.fake_models import CHURN, SUM

KEY = "scorewire_3f9a1c2b_" + 64 * "5"
OTHER = "scorewire_00000000_" + 64 * "6"
ROW = {"x": 1.0, "y": 2.0}


@pytest.fixture
def guarded() -> Iterator[FakeServer]:
    """A server that takes the key only."""
    with FakeServer(CHURN, SUM, api_keys=[KEY]) as fake:
        yield fake


def shown(server: FakeServer, method: str = "Predict") -> list[str]:
    """What the calls of a method showed."""
    return [str(dict(call.metadata).get("authorization")) for call in server.calls if call.method == method]


def sequence(*tokens: str) -> Callable[[], str]:
    """Gives these tokens, and then the last one again and again."""
    given = itertools.chain(tokens, itertools.repeat(tokens[-1]))
    return lambda: next(given)


METHODS = [
    ("predict", ("sum", ROW)),
    ("predict", ("sum", [ROW, ROW])),
    ("predict_stream", ("sum", [ROW, [ROW]])),
    ("models", ()),
    ("model", ("sum",)),
    ("wait_ready", ("sum",)),
]


@pytest.mark.parametrize(("method", "arguments"), METHODS)
@pytest.mark.parametrize("settings", [{"api_key": KEY}, {"token": lambda: KEY}])
def test_each_method_shows_the_credential(
    connect: Any, guarded: FakeServer, method: str, arguments: tuple[Any, ...], settings: dict[str, Any]
) -> None:
    getattr(connect(guarded.address, **settings), method)(*arguments)
    assert {call.metadata for call in guarded.calls} == {(("authorization", f"Bearer {KEY}"),)}


@pytest.mark.parametrize(("method", "arguments"), METHODS)
@pytest.mark.parametrize("settings", [{}, {"api_key": OTHER}, {"token": lambda: OTHER}])
def test_a_refused_credential_is_an_error_at_once(
    connect: Any, guarded: FakeServer, method: str, arguments: tuple[Any, ...], settings: dict[str, Any]
) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        getattr(connect(guarded.address, **settings), method)(*arguments)
    assert (caught.value.code, caught.value.reason) == (Code.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert OTHER not in repr(caught.value)
    assert not guarded.calls


def test_health_needs_no_credential(connect: Any, guarded: FakeServer) -> None:
    assert connect(guarded.address).health()
    connect(guarded.address).wait_ready()


def test_a_credential_of_the_call_takes_the_place_of_the_clients(connect: Any, guarded: FakeServer) -> None:
    own = {"authorization": f"Bearer {KEY}", "tenant": "a"}
    for settings in ({"api_key": OTHER}, {"token": lambda: OTHER}):
        client = connect(guarded.address, **settings)
        client.predict("sum", ROW, metadata=own)
        client.predict_stream("sum", [ROW], metadata=own)
    assert {call.metadata for call in guarded.calls} == {tuple(own.items())}


def test_other_metadata_comes_with_the_clients_credential(connect: Any, guarded: FakeServer) -> None:
    connect(guarded.address, api_key=KEY).predict("sum", ROW, metadata={"tenant": "a"})
    assert dict(guarded.calls[-1].metadata) == {"tenant": "a", "authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"api_key": ""}, "api_key is empty"),
        ({"api_key": f"Bearer {KEY}"}, "begins with 'Bearer '"),
        ({"api_key": f"{KEY}\n"}, "an end of line"),
        ({"api_key": f"{KEY}é"}, "not printable ASCII"),
        ({"api_key": KEY.encode()}, "not a str, but bytes"),
        ({"api_key": "k" * MAX_BYTES}, "longer than"),
        ({"api_key": KEY, "token": lambda: KEY}, "give one of them"),
        ({"token": KEY}, "api_key takes a token that stays the same"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_settings_that_are_wrong_are_refused_without_telling_them(
    kind: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        kind("127.0.0.1:1", **settings)
    assert KEY not in str(caught.value)


def test_a_token_is_asked_for_at_each_attempt(connect: Any, guarded: FakeServer) -> None:
    guarded.api_keys = frozenset({"a", "b", "c"})
    client = connect(guarded.address, token=sequence("a", "b", "c"))
    guarded.fail(Code.UNAVAILABLE)
    client.predict("sum", ROW)
    assert shown(guarded, "GetModel") == ["Bearer a"]
    assert shown(guarded) == ["Bearer b", "Bearer c"]


def test_copies_of_a_hedged_attempt_have_one_token(connect: Any, guarded: FakeServer) -> None:
    guarded.api_keys = frozenset({"a", "b", "c", "d"})
    client = connect(guarded.address, token=sequence("a", "b", "c", "d"), hedging=Hedging(delay=0.05))
    guarded.delay = 0.3
    client.predict("sum", ROW)
    assert set(shown(guarded)) == {"Bearer b"}


def test_a_fresh_token_takes_the_place_of_one_that_is_refused_once(connect: Any, guarded: FakeServer) -> None:
    guarded.api_keys = frozenset({"new"})
    assert connect(guarded.address, token=sequence("old", "new")).predict("sum", ROW).score == 3
    with pytest.raises(UnauthenticatedError):
        connect(guarded.address, token=sequence("old", "older", "new")).predict("sum", ROW)


def test_a_token_that_is_refused_is_not_sent_again(connect: Any, guarded: FakeServer) -> None:
    asked = []

    def token() -> str:
        asked.append(1)
        return OTHER

    with pytest.raises(UnauthenticatedError):
        connect(guarded.address, token=token).models()
    assert len(asked) == 2


def test_a_long_stream_takes_a_fresh_token_whenever_its_own_has_ended(
    connect: Any, guarded: FakeServer
) -> None:
    numbers = itertools.count()
    valid = ["t0"]

    def batches() -> Iterator[Any]:
        for number in range(6):
            if number in {2, 4}:
                # The token of the stream ends, as by its time.
                valid[0] = f"t{number}"
                guarded.api_keys = frozenset(valid)
            yield [{"x": float(number), "y": 0.0}]

    guarded.api_keys = frozenset(valid)
    client = connect(guarded.address, token=lambda: (next(numbers), valid[0])[1])
    answers = client.predict_stream("sum", batches(), look_ahead=1)
    assert [answer.scores.tolist() for answer in answers] == [[float(number)] for number in range(6)]
    assert set(shown(guarded, "PredictStream")) == {"Bearer t0", "Bearer t2", "Bearer t4"}


def test_a_stream_whose_token_is_revoked_ends(connect: Any, guarded: FakeServer) -> None:
    def batches() -> Iterator[Any]:
        yield [ROW]
        guarded.api_keys = frozenset({OTHER})
        yield [ROW]

    for settings in ({"token": lambda: KEY}, {"api_key": KEY}):
        guarded.api_keys = frozenset({KEY})
        client = connect(guarded.address, **settings)
        with pytest.raises(UnauthenticatedError):
            client.predict_stream("sum", batches(), look_ahead=1)


class SecretError(Exception):
    """An error whose text has a secret."""


def fails() -> str:
    raise SecretError(KEY)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (fails, "token= raised SecretError; nothing was sent"),
        (lambda: None, "not a str, but NoneType"),
        (lambda: "", "is empty"),
        (lambda: f"{KEY} {KEY}", "has a space"),
        (lambda: f"bearer {KEY}", "leave that out"),
    ],
)
@pytest.mark.parametrize("method", [("models",), ("predict_stream", "sum", [[ROW]])])
def test_a_token_that_cannot_be_had_fails_the_call_and_nothing_is_sent(
    connect: Any, server: FakeServer, token: Any, message: str, method: tuple[Any, ...]
) -> None:
    client = connect(server.address, token=token)
    with pytest.raises(TokenError, match=message) as caught:
        getattr(client, method[0])(*method[1:])
    assert KEY not in str(caught.value)
    assert not server.calls
    assert isinstance(caught.value.__cause__, SecretError) == (token is fails)


def test_a_stream_that_is_open_fails_clearly_without_another_token(connect: Any, guarded: FakeServer) -> None:
    def batches() -> Iterator[Any]:
        yield [ROW]
        guarded.api_keys = frozenset({OTHER})
        given.append(1)
        yield [ROW]

    given: list[int] = []

    def token() -> str:
        if given:
            raise SecretError
        return KEY

    with pytest.raises(TokenError):
        connect(guarded.address, token=token).predict_stream("sum", batches(), look_ahead=1)


def test_a_token_that_cannot_be_had_says_nothing_of_the_server(connect: Any, server: FakeServer) -> None:
    breaker = CircuitBreaker(consecutive_failures=1)
    client = connect(server.address, token=fails, breaker=breaker)
    with pytest.raises(TokenError):
        client.models()
    assert breaker.state == "closed"


def test_an_async_function_gives_the_token(guarded: FakeServer) -> None:
    async def token() -> str:
        await asyncio.sleep(0)
        return KEY

    async def main() -> None:
        async with AsyncClient(guarded.address, token=token) as client:
            assert (await client.predict("sum", ROW)).score == 3
            answers = [each async for each in client.predict_stream("sum", [ROW])]
            assert len(answers) == 1

    asyncio.run(main())


def test_a_token_that_does_not_come_ends_the_call_at_its_deadline(guarded: FakeServer) -> None:
    async def token() -> str:
        await asyncio.Event().wait()
        return KEY

    async def main() -> None:
        async with AsyncClient(guarded.address, token=token) as client:
            with pytest.raises(DeadlineExceededError, match="no token in time"):
                await client.models(timeout=0.05)
            call = asyncio.create_task(client.models())
            await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(main())


def test_the_blocking_client_takes_no_async_function(guarded: FakeServer) -> None:
    async def token() -> str:
        return KEY

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the coroutine is not awaited
        with Client(guarded.address, token=token) as client, pytest.raises(TokenError, match="coroutine"):
            client.models()


# What callers may know of each other.


def test_a_schema_that_one_caller_fetched_is_not_told_to_another_one(
    connect: Any, guarded: FakeServer
) -> None:
    client = connect(guarded.address)
    ours, theirs = {"authorization": f"Bearer {KEY}"}, {"authorization": f"Bearer {OTHER}"}
    client.predict("churn", {"age": 4, "country": "pe"}, metadata=ours)
    for metadata in (theirs, None):
        # Neither that the rows do not fit, nor what would fit.
        with pytest.raises(UnauthenticatedError):
            client.predict("churn", {"years": 4}, metadata=metadata)
        with pytest.raises(UnauthenticatedError):
            client.predict_stream("churn", [{"years": 4}], metadata=metadata)
    with pytest.raises(InvalidRowsError):
        client.predict("churn", {"years": 4}, metadata=ours)


def test_each_caller_fetches_a_schema_once_and_all_share_it(connect: Any, guarded: FakeServer) -> None:
    guarded.api_keys = frozenset({"a", "b"})
    client = connect(guarded.address)
    for _ in range(2):
        for key in ("a", "b"):
            client.predict("sum", ROW, metadata={"authorization": f"Bearer {key}"})
    assert shown(guarded, "GetModel") == ["Bearer a", "Bearer b"]
    assert len(set(map(id, client.client._flows._codecs.values()))) == 1


# Limits of a caller.


def limit(server: FakeServer, *, times: int = 1, seconds: float | None = 0.01, **options: Any) -> None:
    server.fail(
        Code.RESOURCE_EXHAUSTED,
        "the caller has no calls left",
        reason="CALLER_LIMIT",
        retry_after=seconds,
        times=times,
        **options,
    )


def test_a_call_beyond_a_limit_of_the_caller_is_made_again_when_the_server_says(
    connect: Any, server: FakeServer
) -> None:
    limit(server, times=2)
    client = connect(server.address)
    assert client.predict("sum", ROW).score == 3
    limit(server, times=3)
    with pytest.raises(ResourceExhaustedError) as caught:
        client.predict("sum", ROW)
    assert (caught.value.reason, caught.value.retry_after) == ("CALLER_LIMIT", 0.01)


def test_waiting_for_a_limit_takes_nothing_from_the_budget_for_outages(
    connect: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scorewire._attempts.pause_before_retry", lambda _: 0.0)
    client = connect(server.address, retries=Retries(budget=0))
    for _ in range(30):
        limit(server, seconds=0.001)
        client.predict("sum", ROW)
    assert len(shown(server)) == 60


@pytest.mark.parametrize(
    ("seconds", "settings"), [(60.0, {}), (None, {}), (0.01, {"retries": Retries(limits=False)})]
)
def test_a_call_does_not_wait_for_a_limit(
    connect: Any, server: FakeServer, seconds: float | None, settings: dict[str, Any]
) -> None:
    client = connect(server.address, **settings)
    limit(server, seconds=seconds)
    with pytest.raises(ResourceExhaustedError):
        client.predict("sum", ROW)
    assert len(shown(server)) == 1


@pytest.mark.parametrize("on_error", ["raise", "yield"])
def test_a_stream_slows_down_to_the_limit_of_its_caller(
    connect: Any, server: FakeServer, on_error: str
) -> None:
    limit(server, times=20, seconds=0.002)
    client = connect(server.address, retries=Retries(limits=False))
    batches = [[{"x": float(number), "y": 0.0}] for number in range(10)]
    answers = client.predict_stream("sum", batches, on_error=on_error)
    assert [answer.scores.tolist() for answer in answers] == [[float(number)] for number in range(10)]


def test_a_message_of_a_stream_waits_for_a_limit_within_its_timeout(connect: Any, server: FakeServer) -> None:
    limit(server, seconds=60.0)
    answers = connect(server.address).predict_stream(
        "sum", [[ROW], [ROW]], timeout=5.0, look_ahead=1, on_error="yield"
    )
    assert isinstance(answers[0], ResourceExhaustedError)
    assert answers[1].scores.tolist() == [3]


def test_a_stream_that_a_limit_refuses_is_opened_again(connect: Any, server: FakeServer) -> None:
    limit(server, method="PredictStream")
    assert len(connect(server.address).predict_stream("sum", [[ROW]])) == 1


def test_waiting_for_a_model_goes_on_after_a_limit(connect: Any, server: FakeServer) -> None:
    limit(server, method="ListModels", times=2)
    connect(server.address).wait_ready("sum", timeout=30)
    server.fail(Code.RESOURCE_EXHAUSTED, method="ListModels", reason="TOO_MANY_IN_FLIGHT")
    with pytest.raises(ResourceExhaustedError):
        connect(server.address).wait_ready("sum", timeout=30)


# Without TLS, and in texts.


@pytest.mark.parametrize(
    "address", ["scores:8500", "10.0.0.1", "dns:///scores:1", "127.0.0.1:1,scores:2", "[2001:db8::1]:80"]
)
@pytest.mark.parametrize("settings", [{"api_key": KEY}, {"token": lambda: KEY}])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_credential_without_tls_to_another_machine_is_warned_of(
    kind: Any, address: str, settings: dict[str, Any]
) -> None:
    with pytest.warns(UserWarning, match="connect with TLS") as caught:
        kind(address, **settings)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert KEY not in str(caught[0].message)


@pytest.mark.parametrize(
    ("address", "settings"),
    [
        ("127.0.0.1:1", {"api_key": KEY}),
        ("localhost:1", {"api_key": KEY}),
        ("[::1]:1", {"api_key": KEY}),
        ("ipv6:[::ffff:127.0.0.1]:1", {"api_key": KEY}),
        ("unix:/tmp/s", {"api_key": KEY}),
        ("scores:1", {}),
        ("scores:1", {"api_key": KEY, "tls": True}),
    ],
)
def test_other_connections_are_not_warned_of(address: str, settings: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Client(address, **settings)


def test_no_text_of_an_object_has_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    client = Client("127.0.0.1:1", api_key=KEY)
    tls = TLS(certificate_chain=b"CHAIN", private_key=b"PRIVATE")
    shown = [repr(each) for each in (client, client._credentials, TokenFile(file), tls)]
    assert not any(KEY in text or "PRIVATE" in text for text in shown)


# Files.


def test_a_file_gives_the_token_that_it_has_now(connect: Any, guarded: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    guarded.api_keys = frozenset({"first", "second"})
    client = connect(guarded.address, token=TokenFile(file))
    client.predict("sum", ROW)
    after = tmp_path / "after"
    after.write_text("second\n")
    after.replace(file)
    client.predict("sum", ROW)
    assert shown(guarded) == ["Bearer first", "Bearer second"]


def test_a_link_to_a_file_is_followed_when_it_turns(tmp_path: Path) -> None:
    # As Kubernetes changes the files of a volume.
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(name)
    link = tmp_path / "data"
    link.symlink_to("a")
    (tmp_path / "token").symlink_to("data/token")
    file = TokenFile(tmp_path / "token")
    assert file() == "a"
    (tmp_path / "new").symlink_to("b")
    (tmp_path / "new").replace(link)
    assert file() == "b"


def test_a_file_that_goes_or_is_spoilt_leaves_the_token_before(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("good")
    file = TokenFile(path)
    path.write_text("")
    os.utime(path, ns=(1, 1))
    assert file() == "good"
    path.unlink()
    assert file() == "good"
    path.write_text("better")
    assert file() == "better"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        ("", "is empty"),
        ("two words", "has a space"),
        ("\xe9", "not printable ASCII"),
        ("x" * 20_000, "longer than"),
    ],
)
def test_a_file_without_a_token_is_refused_at_once(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TokenError, match=message):
        TokenFile(path)
