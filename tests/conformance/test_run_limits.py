"""Runs that do not end are stopped at the deadline or the server's limit, and delay no other calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import grpc
import pytest
from grpc_health.v1 import health_pb2

from scorewire_proto.v1 import prediction_pb2
from tests import bundles
from tests.conformance.engines import ENGINES
from tests.conformance.inference import INFER, infer_request
from tests.conformance.wire import PREDICT, Failure, Wire, failure_of, sum_request, values
from tests.processes import ServerProcess, serving, wait_until
from tests.scorewire_server.models import write_slow_bundle

HEALTH = "/grpc.health.v1.Health/Check"
# A number of iterations that takes many minutes.
ENDLESS = 1e9

T = TypeVar("T")


@pytest.fixture(scope="module", params=ENGINES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server with one thread for batches, and a model whose row gives its number of iterations."""
    folder = tmp_path_factory.mktemp("limits")
    write_slow_bundle(folder / "models")
    bundles.write_sum_bundle(folder / "models")
    flags = ("--engine", request.param, "--batch-threads", "1", "--max-run-seconds", "0.4")
    with serving(folder, folder / "models", *flags) as running:
        yield running


def counting(rounds: float) -> bytes:
    rows = prediction_pb2.Rows(row_count=1, numbers=[rounds])
    return prediction_pb2.PredictRequest(model="slow", rows=rows).SerializeToString()


def answered(call: Callable[[], T]) -> T:
    """The response to a call, which is repeated if a busy machine took longer than the limit."""
    answers: list[T] = []

    def is_answered() -> bool:
        try:
            answers.append(call())
        except grpc.RpcError as error:
            if failure_of(error).reason != "RUN_STOPPED":
                raise
        return bool(answers)

    wait_until(is_answered, "a short run that ends by itself")
    return answers[0]


def count(wire: Wire, rounds: float) -> list[float]:
    data = answered(lambda: wire.call(PREDICT, counting(rounds), timeout=60))
    return values(prediction_pb2.PredictResponse.FromString(data))


def failure(call: Any) -> Failure:
    error = call.exception()
    assert isinstance(error, grpc.RpcError)
    return failure_of(error)


def test_a_run_without_a_deadline_is_stopped_at_the_limit(wire: Wire) -> None:
    found = wire.failure(PREDICT, counting(ENDLESS), timeout=None)
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RUN_STOPPED")
    assert dict(found.info.metadata) == {"limit_seconds": "0.4"}
    assert count(wire, 3) == [3]


def test_a_run_is_stopped_at_the_deadline_and_frees_its_thread(wire: Wire) -> None:
    def fail() -> grpc.StatusCode:
        found = wire.failure(PREDICT, counting(ENDLESS), timeout=0.1)
        # A busy machine may have read the call too late to begin it.
        is_shed = found.code == grpc.StatusCode.RESOURCE_EXHAUSTED and found.reason == "OVERLOADED"
        return fail() if is_shed else found.code

    assert fail() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert count(wire, 3) == [3]


def test_tensors_that_are_read_in_python_are_stopped_alike(wire: Wire) -> None:
    # No engine decodes this datatype on its hot path.
    request = infer_request("slow", {"rounds": ("FP16", [1, 1], [3])})
    assert answered(lambda: wire.call(INFER, request.SerializeToString()))
    forever = infer_request("slow", {"rounds": ("FP64", [1, 1], [ENDLESS])})
    forever.parameters["binary_data_output"].bool_param = False
    found = wire.failure(INFER, forever.SerializeToString(), timeout=None)
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RUN_STOPPED")


def test_runs_that_do_not_end_are_in_nobodys_way(server: ServerProcess, wire: Wire) -> None:
    calls = [wire.unary(PREDICT).future(counting(ENDLESS), timeout=None) for _ in range(6)]
    # The calls that wait for the thread are stopped one after the other.
    while not all(call.done() for call in calls):
        answer = health_pb2.HealthCheckResponse.FromString(wire.call(HEALTH, b""))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert values(answered(lambda: wire.predict(sum_request())))
    assert {failure(call).reason for call in calls} == {"RUN_STOPPED"}
    assert count(wire, 3) == [3]


def test_stopped_runs_are_counted(server: ServerProcess, wire: Wire) -> None:
    called = {"model": "slow", "version": "1.0.0", "method": "Predict"}
    failed = {**called, "code": "RESOURCE_EXHAUSTED", "reason": "RUN_STOPPED"}

    def counted(name: str, labels: dict[str, str]) -> float:
        return server.metrics().get((name, frozenset(labels.items())), 0)

    before = counted("scorewire_errors_total", failed), counted("scorewire_call_seconds_sum", called)
    assert wire.failure(PREDICT, counting(ENDLESS), timeout=None).reason == "RUN_STOPPED"
    assert counted("scorewire_errors_total", failed) == before[0] + 1
    assert counted("scorewire_call_seconds_sum", called) >= before[1] + 0.4


def _tensors() -> bytes:
    # Tensors in the fields of the response are written in Python by both engines.
    tensors = infer_request("slow", {"rounds": ("FP64", [1, 1], [ENDLESS])})
    tensors.parameters["binary_data_output"].bool_param = False
    return tensors.SerializeToString()


def _message() -> bytes:
    request = prediction_pb2.PredictRequest.FromString(counting(ENDLESS))
    return prediction_pb2.PredictStreamRequest(request=request).SerializeToString()


LATE: dict[str, Callable[[Wire], object]] = {
    "Predict": lambda wire: wire.call(PREDICT, counting(ENDLESS), timeout=0.1),
    "ModelInfer": lambda wire: wire.call(INFER, _tensors(), timeout=0.1),
    "PredictStream": lambda wire: list(wire.stream([_message()], timeout=0.1)),
}


@pytest.mark.parametrize("method", LATE)
def test_a_deadline_that_passes_in_a_run_is_counted_once(
    server: ServerProcess, wire: Wire, method: str
) -> None:

    def counted(**labels: str) -> float:
        wanted = {"method": method, "code": "DEADLINE_EXCEEDED", **labels}.items()
        found = server.metrics().items()
        return sum(count for (name, its), count in found if name == "scorewire_calls_total" and wanted <= its)

    version = {"model": "slow", "version": "1.0.0"}
    before, of_version, calls = counted(), counted(**version), 0

    def is_counted() -> bool:
        nonlocal calls
        # A busy machine may read a call too late to begin its run.
        calls += 1
        with suppress(grpc.RpcError):
            LATE[method](wire)
        return counted(**version) > of_version

    wait_until(is_counted, "a call whose deadline passed in its run to be counted")
    assert counted() <= before + calls
