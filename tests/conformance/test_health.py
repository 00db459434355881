"""grpc.health.v1."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from grpc_health.v1 import health_pb2

from tests.conformance.engines import MAX_WATCHES
from tests.conformance.typed import described, reflect
from tests.conformance.wire import Failure, Wire, failure_of
from tests.processes import wait_until

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
LIST = "/grpc.health.v1.Health/List"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
STATES = {
    "": SERVING,
    "scorewire.v1.PredictionService": SERVING,
    "inference.GRPCInferenceService": SERVING,
    "scorewire.v1.ModelService": SERVING,
    "grpc.health.v1.Health": SERVING,
    "grpc.reflection.v1.ServerReflection": SERVING,
    "grpc.reflection.v1alpha.ServerReflection": SERVING,
    "scorewire.models.sum.v1.SumService": SERVING,
    "scorewire.models.sum.v2.SumService": SERVING,
    "sum": SERVING,
    "classes": SERVING,
    "broken": NOT_SERVING,
}


def _request(service: str) -> bytes:
    return bytes(health_pb2.HealthCheckRequest(service=service).SerializeToString())


def _state(data: bytes) -> int:
    return int(health_pb2.HealthCheckResponse.FromString(data).status)


@pytest.mark.parametrize(("service", "state"), STATES.items())
def test_check_tells_the_state_of_services_and_models(wire: Wire, service: str, state: int) -> None:
    assert _state(wire.call(CHECK, _request(service))) == state


@pytest.mark.parametrize(("service", "state"), STATES.items())
def test_watch_begins_with_the_state(wire: Wire, service: str, state: int) -> None:
    call = wire.server_stream(WATCH)(_request(service), timeout=60)
    assert _state(next(call)) == state
    call.cancel()


def test_an_unknown_service_is_not_found_by_check_and_unknown_to_watch(wire: Wire) -> None:
    assert wire.failure(CHECK, _request("nobody")).code == grpc.StatusCode.NOT_FOUND
    call = wire.server_stream(WATCH)(_request("nobody"), timeout=60)
    assert _state(next(call)) == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    call.cancel()


def test_list_tells_the_state_of_every_service_that_reflection_lists(wire: Wire) -> None:
    answer = message_factory.GetMessageClass(
        described(wire, "grpc.health.v1.Health").FindMessageTypeByName("grpc.health.v1.HealthListResponse")
    ).FromString(wire.call(LIST, b""))
    states = {name: state.status for name, state in answer.statuses.items()}
    assert states.items() >= STATES.items()
    listed = {each.name for each in reflect(wire, list_services="").list_services_response.service}
    assert states.keys() >= listed
    assert {name for name in states if "." in name} == listed
    assert {name: _state(wire.call(CHECK, _request(name))) for name in states} == states
    assert wire.failure(LIST, b"\xff").reason == "MALFORMED_MESSAGE"


def test_bytes_that_are_no_request_are_malformed(wire: Wire) -> None:
    assert wire.failure(CHECK, b"\xff").reason == "MALFORMED_MESSAGE"
    with pytest.raises(grpc.RpcError) as caught:
        next(wire.server_stream(WATCH)(b"\xff", timeout=60))
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("end", ["cancelled", "disconnected"])
def test_watches_are_bounded_and_their_end_makes_room(wire: Wire, end: str) -> None:
    def failure_of_watch(wire: Wire, watches: list[Any]) -> Failure | None:
        watches.append(wire.server_stream(WATCH)(_request(""), timeout=60))
        try:
            assert _state(next(watches[-1])) == SERVING
        except grpc.RpcError as error:
            return failure_of(error)
        return None

    def there_is_room() -> bool:
        tried: list[Any] = []
        room = failure_of_watch(wire, tried) is None
        tried[0].cancel()
        return room

    for _ in range(3):
        # Watches of other tests may not have ended yet.
        wait_until(there_is_room, "room for a watch")
        watcher = Wire(wire.address)
        with watcher.channel:
            watches: list[Any] = []
            failures = [failure_of_watch(watcher, watches) for _ in range(MAX_WATCHES + 1)]
            failure = failures[-1]
            assert failure is not None
            assert (failure.code, failure.reason) == (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "TOO_MANY_IN_FLIGHT",
            )
            assert _state(wire.call(CHECK, _request(""))) == SERVING
            with pytest.raises(grpc.RpcError, match="RESOURCE_EXHAUSTED"):
                reflect(wire, list_services="")
            for call in watches if end == "cancelled" else ():
                call.cancel()
