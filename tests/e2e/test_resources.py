"""The resources of a server return to their former level, whatever its callers did."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import grpc
import psutil
import pytest

from scorewire_proto.v1 import prediction_pb2
from tests.bundles import expected_value, write_sum_bundle
from tests.conformance.wire import PREDICT, PREDICT_STREAM, TIMEOUT_SECONDS, Wire, sum_request, values
from tests.processes import ServerProcess, serving, wait_until
from tests.tree_bundles import Trees, write_trees_bundle

# Allocators keep some memory: up to 8 MB here, and no more with more
# calls. Leaked requests would add up to 30 MB or more in each test.
GROWTH_BYTES = 16 << 20
# A batch that is scored in a thread; its request has 66 KB.
BATCH_ROWS = 2000
BATCH = sum_request([1.0, 2.0] * BATCH_ROWS, ["de"] * BATCH_ROWS, row_count=BATCH_ROWS).SerializeToString()
ROW = sum_request().SerializeToString()
TREES = Trees()


def _explained(rows: int) -> bytes:
    request = prediction_pb2.PredictRequest(model="trees", rows=prediction_pb2.Rows(row_count=rows))
    request.rows.numbers.extend(TREES.rows(rows).ravel().tolist())
    request.explain.SetInParent()
    return request.SerializeToString()


EXPLAINED_BATCH, EXPLAINED_ROW = _explained(BATCH_ROWS), _explained(1)
STREAM_ROW = prediction_pb2.PredictStreamRequest(request=sum_request()).SerializeToString()


@dataclass(frozen=True)
class Held:
    """The resources of a process."""

    memory_bytes: int
    file_handles: int
    threads: int


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("resources")
    write_sum_bundle(folder / "models")
    write_trees_bundle(folder / "models", TREES)
    # One thread for batches, so that the number of threads is known after the first batch.
    with serving(folder, folder / "models", "--batch-threads", "1") as running:
        yield running


@pytest.fixture(scope="module")
def before(server: ServerProcess) -> Held:
    """The server's resources after it has done everything that the tests do."""
    for behave in BEHAVIOURS.values():
        behave(server.address, 100)
    return _settled(server)


def _held(server: ServerProcess) -> Held:
    process = psutil.Process(server.pid)
    with process.oneshot():
        return Held(process.memory_info().rss, process.num_fds(), process.num_threads())


def _settled(server: ServerProcess) -> Held:
    """The server's resources after it has noticed that all clients have left."""
    process = psutil.Process(server.pid)

    def is_idle() -> bool:
        found = server.metrics()
        return found["scorewire_in_flight", frozenset()] == found["scorewire_streams", frozenset()] == 0

    def only_listens() -> bool:
        # A connection that the client has closed counts until the server closes it, too.
        return all(connection.status == psutil.CONN_LISTEN for connection in process.net_connections("tcp"))

    wait_until(is_idle, "the server to be idle")
    wait_until(only_listens, "the server to have closed its connections")
    return _held(server)


def _call(address: str, calls: int) -> None:
    wire = Wire(address)
    with wire.channel:
        predict = wire.unary(PREDICT)
        for i in range(calls):
            predict(BATCH if i % 4 == 0 else ROW, timeout=TIMEOUT_SECONDS)


def _cancel_calls(address: str, calls: int) -> None:
    wire = Wire(address)
    with wire.channel:
        predict = wire.unary(PREDICT)
        for i in range(calls):
            call = predict.future(BATCH if i % 2 else ROW, timeout=TIMEOUT_SECONDS)
            # Some calls after their end, some in flight, some before they are sent.
            if i % 10 == 0:
                call.result()
            call.cancel()


def _cancel_streams(address: str, calls: int) -> None:
    wire = Wire(address)
    with wire.channel:
        predict_stream = wire.both_stream(PREDICT_STREAM)
        for i in range(calls):
            messages = itertools.repeat(STREAM_ROW) if i % 2 else itertools.repeat(STREAM_ROW, 5)
            call = predict_stream(messages, timeout=TIMEOUT_SECONDS)
            if i % 3:
                next(call)
            call.cancel()
            with suppress(grpc.RpcError):
                list(call)


def _fail(address: str, calls: int) -> None:
    wire = Wire(address)
    with wire.channel:
        for i in range(calls):
            failure = wire.failure(PREDICT, b"\xff" if i % 2 else BATCH[:-1])
            assert failure.reason == "MALFORMED_MESSAGE"


def _explain(address: str, calls: int) -> None:
    wire = Wire(address)
    with wire.channel:
        predict = wire.unary(PREDICT)
        for i in range(calls):
            predict(EXPLAINED_BATCH if i % 4 == 0 else EXPLAINED_ROW, timeout=TIMEOUT_SECONDS)


def _connect(address: str, calls: int) -> None:
    for _ in range(calls):
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            predict: Callable[..., bytes] = channel.unary_unary(PREDICT)
            predict(ROW, timeout=TIMEOUT_SECONDS)


BEHAVIOURS = {
    "calls": _call,
    "explained calls": _explain,
    "cancelled calls": _cancel_calls,
    "cancelled streams": _cancel_streams,
    "failed calls": _fail,
    "connections": _connect,
}


@pytest.mark.parametrize(
    ("behaviour", "calls"),
    [
        ("calls", 2000),
        ("explained calls", 2000),
        ("cancelled calls", 1000),
        ("cancelled streams", 1000),
        ("failed calls", 1000),
        ("connections", 200),
    ],
)
def test_the_server_holds_no_more_than_before(
    server: ServerProcess, before: Held, behaviour: str, calls: int
) -> None:
    BEHAVIOURS[behaviour](server.address, calls)
    assert _settled(server).memory_bytes <= before.memory_bytes + GROWTH_BYTES

    def is_back() -> bool:
        now = _held(server)
        return now.file_handles <= before.file_handles and now.threads <= before.threads

    wait_until(is_back, "the server to hold no more than before")
    wire = Wire(server.address)
    with wire.channel:
        assert values(wire.predict(sum_request())) == [expected_value([1.0, 2.0], "de")]


def test_what_a_caller_does_not_read_is_not_piled_up(server: ServerProcess, before: Held) -> None:
    count = 500
    request = prediction_pb2.PredictRequest.FromString(BATCH)
    sent = 0

    def messages() -> Iterator[bytes]:
        nonlocal sent
        for sent in range(1, count + 1):
            yield prediction_pb2.PredictStreamRequest(
                correlation_id=sent, request=request
            ).SerializeToString()

    history: deque[int] = deque(maxlen=25)

    def stands_still() -> bool:
        history.append(sent)
        return len(history) == history.maxlen and history[0] == sent

    wire = Wire(server.address)
    with wire.channel:
        answers = wire.stream(messages())
        next(answers)
        wait_until(stands_still, "the caller to be held up")
        assert sent < count
        assert psutil.Process(server.pid).memory_info().rss <= before.memory_bytes + GROWTH_BYTES
        read = [prediction_pb2.PredictStreamResponse.FromString(answer).correlation_id for answer in answers]
    assert read == list(range(2, count + 1))
