"""A server that stops loses no call that it has accepted."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from scorewire_contract.service.stopping import HUNG_EXIT_CODE
from scorewire_proto.v1 import prediction_pb2
from tests import http2
from tests.bundles import expected_value, write_sum_bundle
from tests.conformance.engines import ENGINES, NATIVE_MISSING
from tests.processes import TIMEOUT_SECONDS, ServerProcess, serving, wait_until
from tests.scorewire_server.models import write_slow_bundle

PREDICT = "/scorewire.v1.PredictionService/Predict"
UNARY_CLIENTS = 4
# The last stream id in the first GOAWAY.
NO_LAST_STREAM = 2**31 - 1
# The most messages of a stream that wait for responses.
STREAM_WINDOW = 8
# The exit code after a second signal.
INTERRUPTED_EXIT_CODE = 130


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_sum_bundle(folder)
    return folder


def _request(x0: float) -> prediction_pb2.PredictRequest:
    rows = prediction_pb2.Rows(row_count=1, numbers=[x0, 1.0], texts=["de"])
    return prediction_pb2.PredictRequest(model="sum", rows=rows)


def _is_right(response: prediction_pb2.PredictResponse, x0: float) -> bool:
    return list(response.outputs[0].numbers) == [expected_value([x0, 1.0], "de")]


def _predict(channel: grpc.Channel) -> Callable[..., prediction_pb2.PredictResponse]:
    """Makes calls of Predict, without retries."""
    return channel.unary_unary(
        PREDICT,
        request_serializer=prediction_pb2.PredictRequest.SerializeToString,
        response_deserializer=prediction_pb2.PredictResponse.FromString,
    )


def _predict_stream(channel: grpc.Channel) -> Callable[..., Iterator[prediction_pb2.PredictStreamResponse]]:
    return channel.stream_stream(
        "/scorewire.v1.PredictionService/PredictStream",
        request_serializer=prediction_pb2.PredictStreamRequest.SerializeToString,
        response_deserializer=prediction_pb2.PredictStreamResponse.FromString,
    )


def _health(channel: grpc.Channel) -> int:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    return int(check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS).status)


def _channel(address: str) -> grpc.Channel:
    """A channel with its own connection, and without retries."""
    return grpc.insecure_channel(address, [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)])


class Load:
    """Clients that make calls continuously until health becomes NOT_SERVING."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._not_serving = threading.Event()
        self._lock = threading.Lock()
        self.succeeded = {"unary": 0, "stream": 0}
        self.failures: list[str] = []
        self.ended_streams = 0
        targets = [self._watch, self._stream, *[self._unary] * UNARY_CLIENTS]
        self._threads = [threading.Thread(target=self._run, args=(target,)) for target in targets]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"

    def _run(self, target: Callable[[grpc.Channel], None]) -> None:
        try:
            with _channel(self._address) as channel:
                target(channel)
        except (grpc.RpcError, AssertionError) as error:
            self.failures.append(f"{target.__name__}: {error!r}")
        finally:
            # A client that fails must not keep the others running.
            self._not_serving.set()

    def _count(self, kind: str, right: bool) -> None:
        with self._lock:
            if right:
                self.succeeded[kind] += 1
            else:
                self.failures.append(f"{kind}: a wrong score")

    def _watch(self, channel: grpc.Channel) -> None:
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        for answer in watch(health_pb2.HealthCheckRequest()):
            if answer.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                self._not_serving.set()

    def _unary(self, channel: grpc.Channel) -> None:
        predict = _predict(channel)
        x0 = 0.0
        while not self._not_serving.is_set():
            self._count("unary", _is_right(predict(_request(x0), timeout=TIMEOUT_SECONDS), x0))
            x0 += 1.0

    def _stream(self, channel: grpc.Channel) -> None:
        window = threading.Semaphore(STREAM_WINDOW)
        sent = 0

        def requests() -> Iterator[prediction_pb2.PredictStreamRequest]:
            nonlocal sent
            while not self._not_serving.is_set() and window.acquire(timeout=TIMEOUT_SECONDS):
                sent += 1
                yield prediction_pb2.PredictStreamRequest(correlation_id=sent, request=_request(sent))

        answered = 0
        for answer in _predict_stream(channel)(requests()):
            answered += 1
            self._count("stream", answer.correlation_id == answered and _is_right(answer.response, answered))
            window.release()
        assert answered == sent
        self.ended_streams += 1


def test_drain_under_load_fails_no_call(models: Path, tmp_path: Path) -> None:
    # Long enough for the clients to notice, also on a busy machine.
    with serving(tmp_path, models, "--drain-seconds", "5") as server:
        load = Load(server.address)
        load.start()
        wait_until(
            lambda: min(load.succeeded.values()) >= 100 or bool(load.failures), "the load to have begun"
        )
        server.signal(signal.SIGTERM)
        load.join()
        assert server.wait() == 0
    assert load.failures == []
    assert load.ended_streams == 1
    assert [line["event"] for line in server.log()][-2:] == ["draining", "stopped"]


def test_calls_are_taken_during_the_pause(models: Path, tmp_path: Path) -> None:
    # So long that only a second signal ends the server.
    with serving(tmp_path, models, "--drain-seconds", "600") as server, _channel(server.address) as channel:
        server.signal(signal.SIGINT)
        server.logged("draining")
        assert _health(channel) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert _is_right(_predict(channel)(_request(3.0), timeout=TIMEOUT_SECONDS), 3.0)
        server.signal()
        assert server.wait() == INTERRUPTED_EXIT_CODE


def _is_the_servers(error: grpc.RpcError) -> bool:
    """Whether the server sent a failure, as opposed to a broken connection."""
    assert isinstance(error, grpc.Call)
    return any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())


def test_without_a_pause_a_call_succeeds_or_finds_no_connection(models: Path, tmp_path: Path) -> None:
    codes: list[grpc.StatusCode] = []
    refused: list[grpc.RpcError] = []
    counts = [0] * UNARY_CLIENTS

    def send_until_refused(client: int) -> None:
        with _channel(server.address) as channel:
            predict = _predict(channel)
            try:
                while _is_right(predict(_request(counts[client]), timeout=TIMEOUT_SECONDS), counts[client]):
                    counts[client] += 1
            except grpc.RpcError as error:
                codes.append(error.code())
                if _is_the_servers(error):
                    refused.append(error)

    with serving(tmp_path, models) as server:
        threads = [threading.Thread(target=send_until_refused, args=(i,)) for i in range(UNARY_CLIENTS)]
        for thread in threads:
            thread.start()
        wait_until(lambda: min(counts) >= 50 or bool(codes), "the load to have begun")
        server.signal()
        for thread in threads:
            thread.join(TIMEOUT_SECONDS)
        assert server.wait() == 0
    assert codes == [grpc.StatusCode.UNAVAILABLE] * UNARY_CLIENTS
    assert refused == []


@pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)
def test_a_call_that_crosses_the_end_of_its_connection_is_answered(models: Path, tmp_path: Path) -> None:
    data = _request(3.0).SerializeToString()
    with (
        serving(tmp_path, models, "--engine", "native") as server,
        http2.Connection(server.address) as connection,
    ):
        connection.send(http2.call(1, PREDICT, data))
        connection.until_end(1)
        server.signal()
        frames = connection.frames()
        first = next(one for one in frames if one.kind == http2.GOAWAY)
        assert _last_stream(first) == NO_LAST_STREAM
        ping = next(one for one in frames if one.kind == http2.PING)
        # The client has not read the GOAWAY yet.
        connection.send(http2.call(3, PREDICT, data))
        assert [one.kind for one in connection.until_end(3)].count(http2.DATA) == 1
        connection.send(http2.frame(http2.PING, http2.ACK, 0, ping.payload))
        (last,) = [one for one in connection.frames() if one.kind == http2.GOAWAY]
        assert _last_stream(last) == 3
        assert server.wait() == 0


def _last_stream(goaway: http2.Frame) -> int:
    return int.from_bytes(goaway.payload[:4])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_that_never_ends_does_not_keep_the_process(tmp_path: Path, engine: str) -> None:
    write_slow_bundle(tmp_path / "models")
    flags = ("--engine", engine, "--grace-seconds", "0.2", "--max-run-seconds", "3600")
    with (
        serving(tmp_path, tmp_path / "models", *flags) as server,
        _channel(server.address) as channel,
    ):
        rows = prediction_pb2.Rows(row_count=1, numbers=[1e9])
        endless = prediction_pb2.PredictRequest(model="slow", rows=rows)
        call = channel.unary_unary(PREDICT).future(endless.SerializeToString())
        wait_until(
            lambda: server.metrics()["scorewire_in_flight", frozenset()] == 1, "the call to be in flight"
        )
        server.signal()
        # The engine stopped the run, or the process ended.
        assert server.wait() == {"native": 0, "reference": HUNG_EXIT_CODE}[engine]
        assert call.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    ended = "the server did not stop in time: its process is ended"
    assert bool(server.log(ended)) == (engine == "reference")


class OpenStream:
    """A PredictStream that sends one message at a time."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._requests: queue.SimpleQueue[prediction_pb2.PredictStreamRequest | None] = queue.SimpleQueue()
        self._answers = _predict_stream(channel)(iter(self._requests.get, None))

    def predict(self, x0: float) -> bool:
        """Whether the next response is right."""
        self._requests.put(prediction_pb2.PredictStreamRequest(request=_request(x0)))
        return _is_right(next(self._answers).response, x0)

    def end(self) -> list[prediction_pb2.PredictStreamResponse]:
        """Half-close the stream, and return the rest of the responses."""
        self._requests.put(None)
        return list(self._answers)


def _wait_until_new_calls_are_refused(server: ServerProcess) -> set[grpc.StatusCode]:
    codes: set[grpc.StatusCode] = set()

    def is_refused() -> bool:
        with _channel(server.address) as channel:
            try:
                _predict(channel)(_request(0.0), timeout=TIMEOUT_SECONDS)
            except grpc.RpcError as error:
                codes.add(error.code())
        return bool(codes)

    wait_until(is_refused, "new calls to be refused")
    return codes


def test_a_stream_that_is_open_goes_on_while_new_calls_are_refused(models: Path, tmp_path: Path) -> None:
    with serving(tmp_path, models) as server, _channel(server.address) as channel:
        stream = OpenStream(channel)
        assert stream.predict(1.0)
        server.signal()
        assert _wait_until_new_calls_are_refused(server) == {grpc.StatusCode.UNAVAILABLE}
        assert stream.predict(2.0)
        assert stream.end() == []
        assert server.wait() == 0


def test_a_stream_that_does_not_end_is_ended_after_the_grace(models: Path, tmp_path: Path) -> None:
    with (
        serving(tmp_path, models, "--grace-seconds", "0.2") as server,
        _channel(server.address) as channel,
    ):
        stream = OpenStream(channel)
        assert stream.predict(1.0)
        server.signal()
        assert server.wait() == 0
        with pytest.raises(grpc.RpcError) as ended:
            stream.end()
        assert ended.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


def test_a_second_signal_stops_at_once(models: Path, tmp_path: Path) -> None:
    waits = ("--drain-seconds", "600", "--grace-seconds", "600")
    with serving(tmp_path, models, *waits) as server, _channel(server.address) as channel:
        stream = OpenStream(channel)
        assert stream.predict(1.0)
        server.signal()
        server.logged("draining")
        server.signal()
        assert server.wait() == INTERRUPTED_EXIT_CODE
    assert server.log("stopped") == []
