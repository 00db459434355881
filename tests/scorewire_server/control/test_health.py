from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from grpc_health.v1 import health_pb2

from scorewire_contract.bundle import Bundle
from scorewire_proto.v1 import models_pb2
from scorewire_server.control.descriptors import MODELS, SERVICES
from scorewire_server.control.health import MAX_LISTED, Health
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.encodings.methods import INFERENCE, PREDICTION
from scorewire_server.engine.port import StreamMethod, UnaryMethod
from scorewire_server.engine.snapshot import Snapshot, VersionRecord
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.errors import MalformedMessageError, ModelNotFoundError, TooManyRowsError
from tests.scorewire_server.models import loaded_version, snapshot_of, zeros

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


async def _check(health: Health, service: str) -> int:
    answer = await _unary(health, "Check")(health_pb2.HealthCheckRequest(service=service).SerializeToString())
    return int(health_pb2.HealthCheckResponse.FromString(answer).status)


def _unary(health: Health, name: str) -> Callable[[bytes], Awaitable[bytes]]:
    methods = [each for each in health.methods() if isinstance(each, UnaryMethod)]
    handler = next(each.handler for each in methods if each.path.endswith(f"/{name}"))
    return lambda data: handler(data, CallContext(name))


def _watch(health: Health, service: str) -> AsyncIterator[bytes]:
    async def one() -> AsyncIterator[bytes]:
        yield health_pb2.HealthCheckRequest(service=service).SerializeToString()

    (method,) = [each for each in health.methods() if isinstance(each, StreamMethod)]
    return method.handler(one(), CallContext(method.path))


async def _next(watch: AsyncIterator[bytes]) -> int:
    async with asyncio.timeout(60):
        return int(health_pb2.HealthCheckResponse.FromString(await anext(watch)).status)


async def test_a_server_serves_once_all_is_loaded_and_a_model_serves(sum_bundle: Bundle) -> None:
    health = Health()
    for service in ("", PREDICTION):
        assert await _check(health, service) == NOT_SERVING
    assert await _check(health, MODELS) == SERVING
    snapshot = snapshot_of(loaded_version(sum_bundle, zeros))
    health.update(snapshot, loading=True)
    assert await _check(health, "") == NOT_SERVING
    assert await _check(health, "sum") == SERVING
    health.update(snapshot, loading=False)
    for service in ("", PREDICTION, MODELS, "sum"):
        assert await _check(health, service) == SERVING
    health.update(build_snapshot(()), loading=False)
    assert await _check(health, "") == NOT_SERVING
    with pytest.raises(ModelNotFoundError):
        await _check(health, "sum")


async def test_draining_is_for_good(sum_bundle: Bundle) -> None:
    health = Health()
    snapshot = snapshot_of(loaded_version(sum_bundle, zeros))
    health.update(snapshot, loading=False)
    health.drain()
    health.update(snapshot, loading=False)
    for service in ("", PREDICTION, MODELS, "sum"):
        assert await _check(health, service) == NOT_SERVING
    assert not health.serving


async def test_every_service_has_a_state_and_typed_ones_come_and_go(sum_bundle: Bundle) -> None:
    health = Health()
    for service in SERVICES:
        assert await _check(health, service) == (
            NOT_SERVING if service in (PREDICTION, INFERENCE) else SERVING
        )
    typed = "scorewire.models.sum.v1.SumService"
    watch = _watch(health, typed)
    assert await _next(watch) == UNKNOWN
    health.update(snapshot_of(loaded_version(sum_bundle, zeros)), loading=True)
    assert await _check(health, typed) == await _next(watch) == SERVING
    health.update(build_snapshot(()), loading=False)
    assert await _next(watch) == UNKNOWN
    with pytest.raises(ModelNotFoundError):
        await _check(health, typed)


async def test_a_list_of_more_services_than_the_limit_is_refused() -> None:
    health = Health()
    states = len(SERVICES) + 1

    def models(count: int) -> Snapshot:
        return build_snapshot(
            VersionRecord(f"model-{number}", "1.0.0", models_pb2.VERSION_STATE_REFUSED)
            for number in range(count)
        )

    health.update(models(MAX_LISTED - states), loading=False)
    assert (await _unary(health, "List")(b"")).count(b"model-") == MAX_LISTED - states
    health.update(models(MAX_LISTED - states + 1), loading=False)
    with pytest.raises(TooManyRowsError, match=str(MAX_LISTED)):
        await _unary(health, "List")(b"")


async def test_a_list_has_no_models_where_not_everybody_may_learn_of_them(sum_bundle: Bundle) -> None:
    for lists_models in (True, False):
        health = Health(lists_models=lists_models)
        health.update(snapshot_of(loaded_version(sum_bundle, zeros)), loading=False)
        answer = await _unary(health, "List")(b"")
        assert (b"sum" in answer, b"SumService" in answer) == (lists_models, lists_models)
        assert all(name.encode() in answer for name in SERVICES)
        # Probes know which model they ask for.
        assert await _check(health, "sum") == SERVING


async def test_all_who_watch_are_told_of_each_change_and_of_no_other(sum_bundle: Bundle) -> None:
    health = Health()
    watches = [_watch(health, "sum") for _ in range(3)]
    for watch in watches:
        assert await _next(watch) == UNKNOWN
    waiting = [asyncio.ensure_future(_next(watch)) for watch in watches]
    health.update(build_snapshot(()), loading=True)
    await asyncio.sleep(0)
    assert not any(future.done() for future in waiting)
    health.update(snapshot_of(loaded_version(sum_bundle, zeros)), loading=True)
    assert await asyncio.gather(*waiting) == [SERVING] * 3
    health.drain()
    for watch in watches:
        assert await _next(watch) == NOT_SERVING


async def test_a_change_between_two_looks_is_not_lost(sum_bundle: Bundle) -> None:
    health = Health()
    watch = _watch(health, "")
    assert await _next(watch) == NOT_SERVING
    health.update(snapshot_of(loaded_version(sum_bundle, zeros)), loading=False)
    assert await _next(watch) == SERVING


async def test_a_watch_without_a_request_fails() -> None:
    async def none() -> AsyncIterator[bytes]:
        for data in list[bytes]():
            yield data

    (method,) = [each for each in Health().methods() if isinstance(each, StreamMethod)]
    with pytest.raises(MalformedMessageError):
        await anext(method.handler(none(), CallContext(method.path)))
