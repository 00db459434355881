from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorewire import AsyncClient, Client, Code, NotFoundError, UnimplementedError
from scorewire._metadata import MAX_BYTES, MAX_PAIRS, check_metadata
from scorewire.testing import FakeServer

TRACE = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
SECRET = "Bearer do-not-show"  # noqa: S105 - not a real one
ROW = {"x": 1.0, "y": 2.0}


def test_metadata_is_sent_with_every_call_of_a_method(client: Any, server: FakeServer) -> None:
    pairs = (("authorization", "Bearer a"), ("tenant", "a"), ("tenant", "b"), ("key-bin", b"\x00\xff"))
    client.predict("sum", ROW, metadata=pairs)
    assert [(call.method, call.metadata) for call in server.calls] == [
        ("GetModel", pairs),
        ("Predict", pairs),
    ]
    # The schema is remembered; what one caller sent is not sent for the next one.
    client.predict("sum", ROW)
    assert server.calls[-1].metadata == ()


@pytest.mark.parametrize(
    ("method", "arguments", "received"),
    [
        ("predict", ("sum", [ROW, ROW]), {"GetModel", "Predict"}),
        ("predict_stream", ("sum", [[ROW], [ROW]]), {"GetModel", "PredictStream"}),
        ("models", (), {"ListModels"}),
        ("model", ("sum",), {"GetModel"}),
        ("server", (), {"GetServer"}),
        ("health", (), {"Check"}),
        ("wait_ready", ("sum",), {"ListModels"}),
    ],
)
def test_each_method_sends_metadata(
    client: Any, server: FakeServer, method: str, arguments: tuple[Any, ...], received: set[str]
) -> None:
    getattr(client, method)(*arguments, metadata=TRACE)
    assert {call.method for call in server.calls} == received
    assert {call.metadata for call in server.calls} == {tuple(TRACE.items())}


def test_rows_beyond_the_limit_and_a_new_schema_keep_the_metadata(client: Any, server: FakeServer) -> None:
    server.max_rows = 2
    client.predict("sum", [ROW] * 5, metadata=TRACE)
    server.fail(Code.FAILED_PRECONDITION, reason="SCHEMA_MISMATCH")
    client.predict("sum", ROW, metadata=TRACE)
    assert len(server.calls) == 1 + 3 + 3
    assert all(call.metadata == tuple(TRACE.items()) for call in server.calls)


def test_a_retry_and_a_stream_that_is_opened_again_keep_the_metadata(client: Any, server: FakeServer) -> None:
    server.fail(Code.UNAVAILABLE)
    client.predict("sum", ROW, metadata=TRACE)
    server.fail(Code.UNAVAILABLE, method="PredictStream")
    client.predict_stream("sum", [ROW], metadata=TRACE)
    assert {call.metadata for call in server.calls} == {tuple(TRACE.items())}


CONTROL = [
    ("load_version", ("sum", "1.0.0")),
    ("unload_version", ("sum", "1.0.0")),
    ("set_alias", ("sum", "stable", "1.0.0")),
    ("delete_alias", ("sum", "stable")),
    ("set_split", ("sum", {"1.0.0": 1})),
    ("set_shadow", ("sum", None)),
    ("roll_back", ("sum",)),
    ("statistics", ("sum",)),
    ("record_ledger", ()),
]


@pytest.mark.parametrize(("method", "arguments"), CONTROL, ids=[name for name, _ in CONTROL])
def test_the_other_methods_take_metadata_too(
    server: FakeServer, method: str, arguments: tuple[Any, ...]
) -> None:
    """The fake server has none of them; tests/conformance calls them on real servers."""
    with Client(server.address) as client, pytest.raises(UnimplementedError):
        getattr(client, method)(*arguments, metadata=TRACE)
    with Client(server.address) as client, pytest.raises(ValueError, match="gRPC's own"):
        getattr(client, method)(*arguments, metadata={"grpc-timeout": "1S"})

    async def call() -> None:
        async with AsyncClient(server.address) as client:
            with pytest.raises(UnimplementedError):
                await getattr(client, method)(*arguments, metadata=TRACE)
            with pytest.raises(ValueError, match="gRPC's own"):
                await getattr(client, method)(*arguments, metadata={"grpc-timeout": "1S"})

    asyncio.run(call())


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"Authorization": SECRET}, "a metadata key has the characters a-z"),
        ({"": SECRET}, "a metadata key has the characters a-z"),
        ({"a key": SECRET}, "a metadata key has the characters a-z"),
        ({"kéy": SECRET}, "a metadata key has the characters a-z"),
        ({":path": SECRET}, "a metadata key has the characters a-z"),
        ({1: SECRET}, "unlike int"),
        ({"grpc-timeout": SECRET}, "'grpc-timeout' is gRPC's own"),
        ({"grpc-status-details-bin": b"x"}, "is gRPC's own"),
        ({"user-agent": SECRET}, "'user-agent' is gRPC's own"),
        ({"authorization": SECRET + "\n"}, "'authorization' has printable ASCII"),
        ({"authorization": SECRET + "\r\nevil: 1"}, "'authorization' has printable ASCII"),
        ({"authorization": " " + SECRET}, "no space at either end"),
        ({"authorization": "Bearer é"}, "printable ASCII"),
        ({"authorization": SECRET.encode()}, "is a str, not bytes"),
        ({"authorization": None}, "is a str, not NoneType"),
        ({"key-bin": SECRET}, "its value is bytes"),
        ({"key": "x" * MAX_BYTES}, "metadata is larger than"),
        ([("key", "x")] * (MAX_PAIRS + 1), "more than 64 pairs"),
        ([("key", "a", "b")], "a list of pairs of a key and a value"),
        (["ab"], "a list of pairs of a key and a value"),
        ([None], "a list of pairs of a key and a value"),
        ("authorization", "a dict or a list of pairs, not str"),
        (b"authorization", "a dict or a list of pairs, not bytes"),
        (7, "a dict or a list of pairs, not int"),
    ],
    ids=range(24),
)
def test_metadata_that_is_not_legal_is_refused_before_anything_is_sent(
    client: Any, server: FakeServer, metadata: Any, words: str
) -> None:
    for call in (
        lambda: client.predict("sum", ROW, metadata=metadata),
        lambda: client.predict_stream("sum", [ROW], metadata=metadata),
        lambda: client.models(metadata=metadata),
    ):
        with pytest.raises(ValueError, match=words) as raised:
            call()
        assert "do-not-show" not in str(raised.value)
    assert server.calls == []


def test_a_stream_with_illegal_metadata_fails_before_it_is_iterated(server: FakeServer) -> None:
    with Client(server.address) as client, pytest.raises(ValueError, match="gRPC's own"):
        client.predict_stream("sum", [ROW], metadata={"te": "x"})


KEYS = st.text(alphabet="abcz019_.-", min_size=1, max_size=20).filter(
    lambda key: not key.startswith("grpc-") and not key.endswith("-bin") and key not in {"te", "host"}
)
VALUES = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40).map(str.strip)


@pytest.fixture(scope="module")
def shared() -> Any:
    with FakeServer() as fake, Client(fake.address) as client:
        yield fake, client


@given(pairs=st.lists(st.tuples(KEYS, VALUES) | st.tuples(KEYS.map("{}-bin".format), st.binary(max_size=40))))
def test_all_legal_metadata_arrives_as_it_was_sent(shared: Any, pairs: list[Any]) -> None:
    server, client = shared
    if len(pairs) > MAX_PAIRS:
        pairs = pairs[:MAX_PAIRS]
    client.models(metadata=pairs)
    # gRPC keeps the order of the values of a key, and not of different keys.
    arrived = server.calls[-1].metadata
    for key in {key for key, _ in pairs}:
        assert [v for k, v in arrived if k == key] == [v for k, v in pairs if k == key]
    assert len(arrived) == len(pairs)


def test_a_mapping_and_its_pairs_are_the_same() -> None:
    assert check_metadata(TRACE) == check_metadata(list(TRACE.items())) == tuple(TRACE.items())
    assert check_metadata(None) == check_metadata({}) == check_metadata([]) == ()


def test_errors_of_calls_do_not_show_metadata(client: Any) -> None:
    with pytest.raises(NotFoundError) as raised:
        client.predict("other", ROW, metadata={"authorization": SECRET})
    assert "do-not-show" not in str(raised.value)
