"""Header blocks that cost the server more than the sender."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.attacks.healthy import healthy
from tests.attacks.held import Held
from tests.conformance.wire import PREDICT, PREDICT_STREAM
from tests.http2 import (
    CONTINUATION,
    ENHANCE_YOUR_CALM,
    HEADERS,
    MAX_FRAME_BYTES,
    Connection,
    call,
    frame,
    grpc_head,
    head,
    literal,
)
from tests.processes import ServerProcess, wait_until

BOMBS = 10
CONNECTIONS = 4
# One byte of HPACK: the field that was added to the table last.
_LAST_FIELD = b"\xbe"
_KEPT_BYTES = 4000
# As many frames as one header block may have.
_MANY_FIELDS = 7 * MAX_FRAME_BYTES
# The metadata of a stream: three fields of that size, which the table holds once.
_STREAM_FIELDS = 3
# Enough for the server to end the connection, but so few bytes that it has read all of them by then.
_FEW_FIELDS = 20


def bomb(fields: int) -> bytes:
    """A header block that repeats a field of 4,000 bytes, with one byte for each repetition."""
    plain = grpc_head(PREDICT, [("x", "v" * _KEPT_BYTES)])
    at = plain.rindex(literal("x", "v" * _KEPT_BYTES))
    kept = plain[:at] + literal("x", "v" * _KEPT_BYTES, kept=True)
    return head(1, kept + _LAST_FIELD * fields)


def test_a_bomb_of_hpack_is_told_to_calm_down(server: ServerProcess) -> None:
    flooded = ("scorewire_limits_met_total", frozenset({("limit", "flood")}))
    before = server.metrics()[flooded]
    with Connection(server.address) as connection:
        connection.send(bomb(_FEW_FIELDS))
        goaway = connection.goaway()
        assert goaway is not None
        assert goaway.error == ENHANCE_YOUR_CALM
    assert server.metrics()[flooded] == before + 1


def test_calls_with_too_much_metadata_are_counted(server: ServerProcess) -> None:
    overlong = ("scorewire_limits_met_total", frozenset({("limit", "metadata_bytes")}))
    before = server.metrics()[overlong]
    with Connection(server.address) as connection:
        connection.send(call(1, PREDICT, b"", [("x", "v" * MAX_FRAME_BYTES)]))
        connection.until_end(1)
    assert server.metrics()[overlong] == before + 1


def test_bombs_of_hpack_end_their_connections_and_hold_nobody_up(server: ServerProcess, held: Held) -> None:
    data = bomb(_MANY_FIELDS)

    def throw() -> None:
        for _ in range(BOMBS):
            with Connection(server.address) as connection:
                connection.try_send(data)
                # Returns when the server has closed the connection.
                connection.goaway()

    with healthy(server.address), ThreadPoolExecutor(CONNECTIONS) as pool:
        for thrown in [pool.submit(throw) for _ in range(CONNECTIONS)]:
            thrown.result()
    held.comes_back()


def test_continuations_without_end_end_their_connection(server: ServerProcess, held: Held) -> None:
    with healthy(server.address), Connection(server.address) as connection:
        connection.send(frame(HEADERS, 0, 1, grpc_head(PREDICT)))
        while connection.try_send(frame(CONTINUATION, 0, 1) * 1000):
            pass
    held.comes_back()


def test_streams_that_stay_open_do_not_hold_their_metadata(server: ServerProcess, held: Held) -> None:
    streams = range(1, 2 * 900, 2)
    with healthy(server.address), Connection(server.address) as connection:
        connection.send(b"".join(_with_metadata(stream, PREDICT_STREAM) for stream in streams))
        open_streams = ("scorewire_streams", frozenset[tuple[str, str]]())
        wait_until(lambda: server.metrics()[open_streams] >= len(streams), "streams that begin")
        assert server.metrics()["scorewire_buffered_bytes", frozenset()] == 0
        assert held.grown_bytes() < len(streams) * _STREAM_FIELDS * _KEPT_BYTES
    held.comes_back()


def _with_metadata(stream: int, path: str) -> bytes:
    """A call with 12,000 bytes of metadata. Only the first call of a connection sends all of them."""
    field = literal("x", "v" * _KEPT_BYTES, kept=True) if stream == 1 else _LAST_FIELD
    return head(stream, grpc_head(path) + field + _LAST_FIELD * (_STREAM_FIELDS - 1))
