"""Calls through Envoy without a pause, while the servers behind it are killed and restarted."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc

from scorewire_proto.v1 import prediction_pb2
from tests.bundles import expected_value
from tests.conformance.wire import PREDICT
from tests.deploy.envoy.proxy import Envoy
from tests.go.rolling import Restarted
from tests.processes import TIMEOUT_SECONDS, wait_until

CALLERS = 4


def one_row(*numbers: float, country: str = "de") -> prediction_pb2.PredictRequest:
    """A request for the model `sum` with one row."""
    rows = prediction_pb2.Rows(row_count=1, numbers=numbers, texts=[country])
    return prediction_pb2.PredictRequest(model="sum", rows=rows)


class Load:
    """Callers that call without a pause and without retries of their own."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._ends = threading.Event()
        self.answered = 0
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]

    def _call(self) -> None:
        request = one_row(1.0, 2.5).SerializeToString()
        # A connection for each caller, and no retries by gRPC itself.
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self._address, options=options) as channel:
            predict: Any = channel.unary_unary(PREDICT)
            while not self._ends.is_set():
                try:
                    answer = prediction_pb2.PredictResponse.FromString(
                        predict(request, timeout=TIMEOUT_SECONDS, wait_for_ready=True)
                    )
                    good = list(answer.outputs[0].numbers) == [expected_value((1.0, 2.5), "de")]
                    failure = "" if good else str(answer)
                except grpc.RpcError as error:
                    failure = f"{error.code().name}: {error.details()}"
                with self._lock:
                    self.answered += not failure
                    if failure:
                        self.failures.append(failure)

    def wait_for_more(self, calls: int) -> None:
        """Wait until so many more calls are answered, or one has failed."""
        wanted = self.answered + calls
        wait_until(lambda: self.answered >= wanted or bool(self.failures), "answers")

    @contextmanager
    def running(self) -> Iterator[Load]:
        """The callers call while the block runs."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._ends.set()
            for thread in self._threads:
                thread.join()


def replace_all(servers: Sequence[Restarted], envoy: Envoy, load: Load, *, rounds: int, calls: int) -> None:
    """End servers in turn, one by SIGKILL and the next by SIGTERM, and start each again.

    Args:
        servers: both servers behind Envoy.
        envoy: the proxy.
        load: the calls, which go on meanwhile.
        rounds: how many times each server is ended.
        calls: calls that must be answered while a server is away.
    """
    for number in range(rounds * len(servers)):
        for each in servers:
            each.wait_until_called()
        server = servers[number % len(servers)]
        if number % 2:
            server.stop()
        else:
            server.kill()
        load.wait_for_more(calls)
        server.start()
        envoy.wait_until_well(len(servers))
