from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from google.rpc import code_pb2, status_pb2

from scorewire_contract.bundle import Bundle
from scorewire_loadtest import streams
from scorewire_loadtest.calls import PreparedCall, from_bundle
from scorewire_loadtest.streams import StreamTransport, encode
from scorewire_loadtest.target import Target
from scorewire_loadtest.transport import ServerError, Transport, UnaryTransport, get_model
from scorewire_proto.v1 import packed_pb2
from tests.scorewire_loadtest.fake_server import FakeServer, failure, stuck

MODES = ["unary", "stream"]


@asynccontextmanager
async def connected(
    mode: str, address: str, *, connections: int = 1, timeout_s: float = 10.0
) -> AsyncIterator[Transport]:
    target = Target(address)
    transport: Transport
    if mode == "unary":
        transport = UnaryTransport(target, connections=connections, timeout_s=timeout_s)
    else:
        transport = StreamTransport(target, connections=connections, streams=connections, timeout_s=timeout_s)
    try:
        yield transport
    finally:
        await transport.close()


def a_call(bundle: Bundle) -> PreparedCall:
    return from_bundle(bundle, rows_per_call=3)[0]


def a_large_call(bundle: Bundle) -> PreparedCall:
    """Calls so large that a stream blocks on a few of them if the server does not read."""
    call = a_call(bundle)
    request = packed_pb2.PackedPredictRequest.FromString(call.request)
    request.routing_key = "x" * 3_000_000
    return replace(call, request=request.SerializeToString())


@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_comes_back_whole(mode: str, fake_server: FakeServer) -> None:
    call = a_call(fake_server.bundle)
    async with connected(mode, fake_server.address) as transport:
        replies = [await transport.call(call) for _ in range(3)]
    for reply in replies:
        assert (reply.code, reply.reason) == ("OK", "")
        assert reply.response is not None
        assert call.expectation.problem(reply.response) == ""


@pytest.mark.parametrize("mode", MODES)
async def test_many_calls_at_a_time_each_get_their_own_answer(mode: str, fake_server: FakeServer) -> None:
    made = from_bundle(fake_server.bundle, rows_per_call=1)
    async with connected(mode, fake_server.address, connections=2) as transport:
        replies = await asyncio.gather(*(transport.call(made[i % 3]) for i in range(60)))
    for index, reply in enumerate(replies):
        assert reply.response is not None
        assert made[index % 3].expectation.problem(reply.response) == ""


@pytest.mark.parametrize("mode", MODES)
async def test_a_failure_carries_its_status_and_reason(mode: str, fake_server: FakeServer) -> None:
    fake_server.answer = lambda _: failure(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_ROWS", "send fewer")
    call = a_call(fake_server.bundle)
    async with connected(mode, fake_server.address) as transport:
        reply = await transport.call(call)
        assert (reply.code, reply.reason, reply.message) == (
            "RESOURCE_EXHAUSTED",
            "TOO_MANY_ROWS",
            "send fewer",
        )
        assert reply.response is None
        # The stream goes on.
        fake_server.answer = fake_server.score
        assert (await transport.call(call)).code == "OK"
    assert fake_server.stream_count == (1 if mode == "stream" else 0)


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_gets_no_answer_in_time_ends(mode: str, fake_server: FakeServer) -> None:
    with stuck(fake_server):
        async with connected(mode, fake_server.address, timeout_s=0.1) as transport:
            reply = await transport.call(a_call(fake_server.bundle))
    assert reply.code == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("mode", MODES)
async def test_connections_are_their_own(mode: str, fake_server: FakeServer) -> None:
    call = a_call(fake_server.bundle)
    async with connected(mode, fake_server.address, connections=3) as transport:
        for _ in range(6):
            assert (await transport.call(call)).code == "OK"
    assert len(fake_server.peers) == 3


@pytest.mark.parametrize("mode", MODES)
async def test_without_a_server_calls_fail_as_unavailable(mode: str) -> None:
    call = PreparedCall(b"", 1, None)  # type: ignore[arg-type]  # no answer will come to be checked
    async with connected(mode, "127.0.0.1:1") as transport:
        replies = [await transport.call(call) for _ in range(2)]
    assert [reply.code for reply in replies] == ["UNAVAILABLE"] * 2


async def test_a_stream_that_breaks_fails_its_calls_and_is_opened_anew(fake_server: FakeServer) -> None:
    call = a_call(fake_server.bundle)
    fake_server.answer = lambda _: status_pb2.Status(code=code_pb2.UNAVAILABLE, message="draining")
    async with connected("stream", fake_server.address) as transport:
        reply = await transport.call(call)
        assert (reply.code, reply.message) == ("UNAVAILABLE", "draining")
        fake_server.answer = fake_server.score
        assert (await transport.call(call)).code == "OK"
    assert fake_server.stream_count == 2


async def test_calls_whose_time_runs_out_behind_a_stuck_one_are_not_sent(
    fake_server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_STUCK_S", 0.1)
    call = a_large_call(fake_server.bundle)
    with stuck(fake_server):
        async with connected("stream", fake_server.address, timeout_s=0.2) as transport:
            replies = await asyncio.gather(*(transport.call(call) for _ in range(16)))
    assert {reply.code for reply in replies} == {"DEADLINE_EXCEEDED"}
    # A call that was sent after the stuck one would have opened a new stream.
    assert fake_server.stream_count == 1


async def test_calls_end_whose_stream_is_given_up_while_they_are_written(fake_server: FakeServer) -> None:
    call = a_large_call(fake_server.bundle)
    fake_server.correlation_shift = 1
    with stuck(fake_server) as (begun, release):
        async with connected("stream", fake_server.address) as transport:
            calls = asyncio.gather(*(transport.call(call) for _ in range(16)))
            assert await asyncio.to_thread(begun.wait, 30)
            release.set()
            replies = await calls
    assert replies[0].message == "an answer came out of order"
    assert {reply.code for reply in replies} <= {"OK", "CANCELLED"}
    assert all(reply.response is None for reply in replies)


async def test_an_answer_out_of_order_is_no_answer(fake_server: FakeServer) -> None:
    fake_server.correlation_shift = 1
    async with connected("stream", fake_server.address) as transport:
        reply = await transport.call(a_call(fake_server.bundle))
        assert reply.response is None
        assert reply.message == "an answer came out of order"
        fake_server.correlation_shift = 0
        assert (await transport.call(a_call(fake_server.bundle))).response is not None


@pytest.mark.parametrize("correlation_id", [1, 127, 128, 300, 2**32, 2**64 - 1])
@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_a_stream_message_is_what_protobuf_would_write(correlation_id: int, size: int) -> None:
    request = packed_pb2.PackedPredictRequest(model="m" * size)
    request.rows.row_count = 1
    wanted = packed_pb2.PackedPredictStreamRequest(correlation_id=correlation_id, request=request)
    assert encode(correlation_id, request.SerializeToString()) == wanted.SerializeToString()


async def test_the_schema_is_asked_for(fake_server: FakeServer) -> None:
    model = await get_model(Target(fake_server.address), "sum", "", timeout_s=10.0)
    assert model.schema.fingerprint == fake_server.bundle.manifest.schema.fingerprint
    with pytest.raises(ServerError, match="no schema of nix 1.0.0: NOT_FOUND: there is no model 'nix'"):
        await get_model(Target(fake_server.address), "nix", "1.0.0", timeout_s=10.0)
    with pytest.raises(ServerError, match=r"no server answers at 127.0.0.1:1: [\s\S]*scorewire serve"):
        await get_model(Target("127.0.0.1:1"), "sum", "", timeout_s=10.0)
