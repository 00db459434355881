"""Splits, shadows and the counts by route, on both engines."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.rpc import code_pb2
from grpc import aio

from scorewire_proto.v1 import errors_pb2, models_pb2, prediction_pb2
from scorewire_server.catalog.repository import BundleFolder
from scorewire_server.engine.factory import EngineKind, choose_engine
from scorewire_server.engine.snapshot import LoadedVersion, Routing, Shadow, Snapshot, VersionRecord
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.engine.statistics import RouteKey, RouteStatistics
from scorewire_server.loading.loader import load
from scorewire_server.settings import Settings
from tests import bundles
from tests.conformance.engines import ENGINES, NATIVE_MISSING
from tests.conformance.wire import PREDICT, PREDICT_STREAM, sum_request, values
from tests.scorewire_server import models as models_of_tests
from tests.scorewire_server.engine.running import failure_of

VERSIONS = ("1.0.0", "1.1.0", "1.2.0")
# Nanoseconds per row at which even one row is scored in a thread.
DEAR_NS = 1e9
# How many times an engine is stopped, so that it stops at many points of a thread's way to a run.
STOPS = 20
STOP_SECONDS = 60
CYCLES, WARM_CYCLES = 140, 20


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions of one model whose scores tell them apart: the sum, and 0, 100 or 200."""
    folder = tmp_path_factory.mktemp("models")
    for place, version in enumerate(VERSIONS):
        bundles.write_sum_bundle(folder, version=version, offset=100.0 * place)
    return folder


class Running:
    """A running engine, a channel to it, and the versions that it may serve."""

    def __init__(self, kind: EngineKind, engine: Any, channel: aio.Channel, models: Path) -> None:
        self.engine = engine
        self._kind = kind
        self._channel = channel
        self._models = models
        self.loaded = {version: self.load(version) for version in VERSIONS}

    def load(self, version: str) -> LoadedVersion:
        record = load(
            BundleFolder(self._models / "sum" / version, "sum", version),
            partial(self._kind.open_session, threads=1),
        )
        assert record.loaded is not None, record.reason
        return record.loaded

    def publish(self, *loaded: LoadedVersion, routing: Routing | None = None) -> Snapshot:
        snapshot = build_snapshot(
            [
                VersionRecord(each.model, each.version, models_pb2.VERSION_STATE_SERVING, loaded=each)
                for each in loaded
            ],
            {"sum": routing or Routing()},
        )
        self.engine.publish(snapshot)
        return snapshot

    async def predict(self, **fields: Any) -> prediction_pb2.PredictResponse:
        request = sum_request([1.0, 2.0], ["de"], **fields)
        method: Any = self._channel.unary_unary(PREDICT)
        return prediction_pb2.PredictResponse.FromString(
            await method(request.SerializeToString(), timeout=60)
        )

    async def stream(
        self, *requests: prediction_pb2.PredictRequest, seconds: float = 60
    ) -> list[prediction_pb2.PredictResponse]:
        stream: Any = self._channel.stream_stream(PREDICT_STREAM)(timeout=seconds)
        answers = []
        for request in requests:
            message = prediction_pb2.PredictStreamRequest(request=request)
            await stream.write(message.SerializeToString())
            answer = prediction_pb2.PredictStreamResponse.FromString(await stream.read())
            answers.append(answer.response)
        await stream.done_writing()
        return answers

    def counted(self, version: str, route: str = "", *, shadow: bool = False) -> RouteStatistics:
        """The counts so far, which may still be empty."""
        key = RouteKey("sum", version, route, shadow)
        found: RouteStatistics = self.engine.statistics.routes.get(key, RouteStatistics())
        return found


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(models: Path) -> AsyncIterator[Start]:
    running: list[tuple[Any, aio.Channel]] = []

    async def start_one(name: str, **settings: Any) -> Running:
        kind = choose_engine(name)
        engine = kind.make(Settings(listen="127.0.0.1:0", threads=2, **settings), [])
        channel = aio.insecure_channel(await engine.start())
        running.append((engine, channel))
        return Running(kind, engine, channel, models)

    yield start_one
    for engine, channel in running:
        await channel.close()
        await engine.stop(0)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - engines have no events for what they count
            await asyncio.sleep(0.01)


def _offset(version: str) -> float:
    return 100.0 * VERSIONS.index(version)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_key_gets_the_version_that_the_hash_says_and_its_score(start: Start, engine: str) -> None:
    running = await start(engine)
    routing = Routing(split=(("1.0.0", 60), ("1.1.0", 30), ("1.2.0", 10)))
    route = running.publish(*running.loaded.values(), routing=routing).route("sum", "")
    keys = [*(f"user-{i}" for i in range(300)), "ключ", "鍵", "a\0b", "x" * 5000]
    answers = [await running.predict(routing_key=key) for key in keys]
    assert [answer.version for answer in answers] == [route.pick(key).version for key in keys]
    for answer in answers:
        assert values(answer) == [bundles.expected_value([1.0, 2.0], "de", _offset(answer.version))]
    assert Counter(answer.version for answer in answers).keys() == set(VERSIONS)
    # On a stream each message has a key of its own.
    requests = [sum_request([1.0, 2.0], ["de"], routing_key=key) for key in keys[:40]]
    assert [answer.version for answer in await running.stream(*requests)] == [
        route.pick(key).version for key in keys[:40]
    ]


@pytest.mark.parametrize("engine", ENGINES)
async def test_without_a_key_calls_are_shared_out_at_random(start: Start, engine: str) -> None:
    running = await start(engine)
    running.publish(*running.loaded.values(), routing=Routing(split=(("1.0.0", 50), ("1.1.0", 50))))
    found = Counter([(await running.predict()).version for _ in range(200)])
    # Fails by chance less than once in 10^9 runs.
    assert min(found["1.0.0"], found["1.1.0"]) > 55
    assert (await running.predict(version="1.2.0")).version == "1.2.0"


@pytest.mark.parametrize("engine", ENGINES)
async def test_calls_count_on_the_route_that_they_took(start: Start, engine: str) -> None:
    running = await start(engine)
    routing = Routing(split=(("1.0.0", 1),), aliases={"next": "1.1.0"})
    running.publish(*running.loaded.values(), routing=routing)
    for _ in range(3):
        await running.predict()
    await running.predict(version="1.1.0")
    await running.predict(version="next")
    await running.predict(version="next", schema_fingerprint=running.loaded["1.1.0"].fingerprint)
    with pytest.raises(aio.AioRpcError, match="'sum' 1.1.0"):
        await running.predict(version="next", schema_fingerprint="another")
    for version, route, calls in (("1.0.0", "", 3), ("1.1.0", "1.1.0", 1), ("1.1.0", "next", 2)):
        counted = running.counted(version, route)
        assert (counted.calls, counted.rows, counted.latency.count) == (calls, calls, calls)
        (bucket,) = counted.scores.buckets()
        score = bundles.expected_value([1.0, 2.0], "de", _offset(version))
        assert bucket.inner <= score < bucket.outer
        assert bucket.count == calls
    assert running.counted("1.1.0", "next").failed == {
        (code_pb2.FAILED_PRECONDITION, errors_pb2.ERROR_REASON_SCHEMA_MISMATCH): 1
    }
    assert running.counted("1.0.0").failed == {}


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_batch_in_a_thread_counts_every_row_and_every_refused_one(start: Start, engine: str) -> None:
    running = await start(engine)
    running.publish(replace(running.loaded["1.0.0"], row_ns=DEAR_NS))
    count = 40
    numbers = [float("nan") if i == 0 else float(i) for i in range(2 * count)]
    request = sum_request(numbers, ["de"] * count, row_count=count)
    await running.stream(request)
    counted = running.counted("1.0.0")
    assert (counted.calls, counted.rows) == (1, count)
    assert counted.row_errors == {errors_pb2.ERROR_REASON_MISSING_VALUE: 1}
    assert counted.scores.count == count - 1


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_shadow_scores_copies_and_the_caller_sees_the_other_version(
    start: Start, engine: str
) -> None:
    running = await start(engine)
    routing = Routing(split=(("1.0.0", 1),), shadow=Shadow("1.2.0", 1.0))
    running.publish(*running.loaded.values(), routing=routing)
    for i in range(20):
        assert (await running.predict()).version == "1.0.0"
        await _until(lambda i=i: running.counted("1.2.0", shadow=True).calls == i + 1)  # type: ignore[misc] # its own i
    assert (await running.predict(version="1.1.0")).version == "1.1.0"
    counted = running.counted("1.2.0", shadow=True)
    (bucket,) = counted.scores.buckets()
    assert bucket.inner <= bundles.expected_value([1.0, 2.0], "de", 200.0) < bucket.outer
    assert (counted.calls, counted.rows, counted.dropped, bucket.count) == (20, 20, 0, 20)
    # Copies are not counted as calls.
    calls = {key.version: each.answered for key, each in running.engine.statistics.calls.items()}
    assert calls == {"1.0.0": 20, "1.1.0": 1, "1.2.0": 0}


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_share_of_the_calls_is_copied(start: Start, engine: str) -> None:
    running = await start(engine)
    routing = Routing(split=(("1.0.0", 1),), shadow=Shadow("1.1.0", 0.5))
    running.publish(*running.loaded.values(), routing=routing)
    for _ in range(200):
        await running.predict()

    def copied() -> int:
        counted = running.counted("1.1.0", shadow=True)
        return counted.calls + counted.dropped

    await _until(lambda: copied() > 55)
    assert copied() < 145


def publish_slow_shadow(running: Running, folder: Path) -> Snapshot:
    """Let the quick version 2.0.0 answer, and the slow 1.0.0 get copies; it counts up to a row's number."""
    slow = models_of_tests.write_slow_bundle(folder)
    versions = []
    for path in (slow, models_of_tests.write_quick_bundle(folder, slow)):
        folder = BundleFolder(path, path.parent.name, path.name)
        loaded = load(folder, partial(running._kind.open_session, threads=1)).loaded
        assert loaded is not None
        # So cheap that no row goes to a thread.
        versions.append(replace(loaded, row_ns=1.0))
    routing = Routing(split=(("2.0.0", 1),), shadow=Shadow("1.0.0", 1.0))
    serving = models_pb2.VERSION_STATE_SERVING
    records = [VersionRecord("slow", each.version, serving, loaded=each) for each in versions]
    snapshot = build_snapshot(records, {"slow": routing})
    running.engine.publish(snapshot)
    return snapshot


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_slow_shadow_holds_up_neither_callers_nor_the_stop(
    start: Start, engine: str, tmp_path: Path
) -> None:
    running = await start(engine)
    publish_slow_shadow(running, tmp_path)
    request = prediction_pb2.PredictRequest(model="slow")
    request.rows.row_count = 1
    request.rows.numbers.append(2e5)
    method: Any = running._channel.unary_unary(PREDICT)
    calls = 100
    for _ in range(calls):
        answer = prediction_pb2.PredictResponse.FromString(
            await method(request.SerializeToString(), timeout=60)
        )
        assert (answer.version, values(answer)) == ("2.0.0", [2e5])
    counted = running.engine.statistics.routes[RouteKey("slow", "1.0.0", "", True)]
    # Some copies wait, further ones are dropped, and a stop drops those that wait.
    assert counted.dropped > 0
    await running.engine.stop(0)
    counted = running.engine.statistics.routes[RouteKey("slow", "1.0.0", "", True)]
    assert counted.calls + counted.dropped < calls


@pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)
async def test_a_stop_ends_a_copy_that_is_about_to_be_scored(start: Start, tmp_path: Path) -> None:
    request = prediction_pb2.PredictRequest(model="slow")
    request.rows.row_count = 1
    # The count takes many minutes.
    request.rows.numbers.append(1e9)
    for place in range(STOPS):
        running = await start("native", max_run_seconds=2 * STOP_SECONDS)
        publish_slow_shadow(running, tmp_path / str(place))
        method: Any = running._channel.unary_unary(PREDICT)
        await method(request.SerializeToString(), timeout=60)
        # The thread for copies was just woken, or is anywhere on its way to the run.
        async with asyncio.timeout(STOP_SECONDS):
            await running.engine.stop(0)


@pytest.mark.parametrize("engine", ENGINES)
async def test_copies_that_wait_for_a_shadow_that_was_unset_are_dropped(
    start: Start, engine: str, tmp_path: Path
) -> None:
    running = await start(engine)
    snapshot = publish_slow_shadow(running, tmp_path)
    request = prediction_pb2.PredictRequest(model="slow")
    request.rows.row_count = 1
    request.rows.numbers.append(5e5)
    method: Any = running._channel.unary_unary(PREDICT)
    calls = 20
    for _ in range(calls):
        await method(request.SerializeToString(), timeout=60)
    records = [record for model in snapshot.models.values() for record in model.versions]
    running.engine.publish(build_snapshot(records, {"slow": Routing(split=(("2.0.0", 1),))}))
    key = RouteKey("slow", "1.0.0", "", True)

    def counted() -> RouteStatistics:
        found: RouteStatistics = running.engine.statistics.routes.get(key, RouteStatistics())
        return found

    await _until(lambda: counted().calls + counted().dropped == calls)
    assert counted().dropped > counted().calls
    shadow = next(record.loaded for record in records if record.version == "1.0.0")
    running.engine.publish(build_snapshot([record for record in records if record.version != "1.0.0"]))
    await _until(lambda: not running.engine.in_use(shadow))


@pytest.mark.parametrize("engine", ENGINES)
async def test_copies_that_wait_are_bounded_by_their_bytes(start: Start, engine: str, tmp_path: Path) -> None:
    running = await start(engine)
    publish_slow_shadow(running, tmp_path)
    # Eight of these fill the queue, and one is being scored.
    request = prediction_pb2.PredictRequest(model="slow", routing_key="x" * ((8 << 20) - 100))
    request.rows.row_count = 1
    request.rows.numbers.append(2e6)
    method: Any = running._channel.unary_unary(PREDICT)
    for _ in range(12):
        data = await method(request.SerializeToString(), timeout=60)
        assert values(prediction_pb2.PredictResponse.FromString(data)) == [2e6]
    counted = running.engine.statistics.routes[RouteKey("slow", "1.0.0", "", True)]
    assert counted.dropped > 0


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_shadow_that_fails_hurts_no_caller(start: Start, engine: str, tmp_path: Path) -> None:
    running = await start(engine)
    publish_slow_shadow(running, tmp_path)
    request = prediction_pb2.PredictRequest(model="slow")
    request.rows.row_count = 1
    # A negative number makes the slow version fail.
    request.rows.numbers.append(-2.0)
    method: Any = running._channel.unary_unary(PREDICT)
    key = RouteKey("slow", "1.0.0", "", True)

    def failed() -> int:
        return sum(running.engine.statistics.routes.get(key, RouteStatistics()).failed.values())

    for call in range(5):
        data = await method(request.SerializeToString(), timeout=60)
        assert values(prediction_pb2.PredictResponse.FromString(data)) == [-2.0]
        await _until(lambda call=call: failed() == call + 1)  # type: ignore[misc] # its own call
    counted = running.engine.statistics.routes[key]
    assert counted.failed == {(code_pb2.INTERNAL, errors_pb2.ERROR_REASON_INTERNAL): 5}
    assert (counted.calls, counted.dropped) == (0, 0)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_version_that_is_being_loaded_is_loading(start: Start, engine: str) -> None:
    running = await start(engine)
    loading = VersionRecord("sum", "2.0.0", models_pb2.VERSION_STATE_LOADING)
    running.engine.publish(build_snapshot([loading]))
    told = {}
    for version in ("", "2.0.0"):
        failed = await failure_of(running.predict(version=version))
        assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "VERSION_UNAVAILABLE")
        told[version] = failed.message
    assert told == {
        "": "no release of model 'sum' serves yet: version '2.0.0' is LOADING; try again soon",
        "2.0.0": "version '2.0.0' of model 'sum' does not serve yet: it is LOADING; try again soon",
    }


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_message_whose_deadline_passes_while_models_load_is_counted(
    start: Start, engine: str
) -> None:
    running = await start(engine)
    running.engine.publish(build_snapshot([]), loading=True)
    for _ in range(20):
        # Once in a while, the caller gives up before the server does, which counts as no call.
        with pytest.raises(aio.AioRpcError, match="DEADLINE_EXCEEDED"):
            await running.stream(sum_request(), seconds=0.1)
        if counted := running.engine.statistics.calls:
            break
    (failed,) = (each.failed for each in counted.values())
    assert {code for code, _ in failed} == {code_pb2.DEADLINE_EXCEEDED}


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_version_that_serves_again_counts_on(start: Start, engine: str) -> None:
    running = await start(engine)
    first, second = running.loaded["1.0.0"], running.loaded["1.1.0"]
    for calls in (1, 2, 3):
        running.publish(first, second)
        told = running.engine.statistics.calls
        assert told["sum", "1.1.0", "Predict"].answered == calls - 1
        await running.predict(version="1.1.0")
        statistics = running.engine.statistics
        assert statistics.calls["sum", "1.1.0", "Predict"].answered == calls
        assert statistics.versions["sum", "1.1.0"].rows == calls
        assert running.counted("1.1.0", "1.1.0").calls == 1
        running.publish(first)
        assert not {key.version for key in running.engine.statistics.calls} & {"1.1.0"}


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_version_that_is_gone_is_forgotten_and_frees_what_it_held(start: Start, engine: str) -> None:
    running = await start(engine)
    first = running.loaded["1.0.0"]
    process, resident = psutil.Process(), 0
    forgotten = []
    for cycle in range(CYCLES):
        later = running.load("1.1.0")
        forgotten.append(weakref.ref(later))
        running.publish(first, later, routing=Routing(aliases={"next": "1.1.0"}))
        await running.predict(version="next")
        assert running.counted("1.1.0", "next").calls == 1
        running.publish(first)
        await running.predict()
        await _until(lambda later=later: not running.engine.in_use(later))  # type: ignore[misc] # its own version
        statistics = running.engine.statistics
        assert {key.version for key in statistics.routes} == {"1.0.0"}
        assert set(statistics.versions) == {("sum", "1.0.0")}
        assert {key.version for key in statistics.calls} == {"1.0.0"}
        del later
        if cycle == WARM_CYCLES:
            gc.collect()
            resident = process.memory_info().rss
    gc.collect()
    assert running.counted("1.0.0").calls == CYCLES
    assert not any(version() for version in forgotten)
    # A third of the memory that sessions of the native engine would take.
    assert process.memory_info().rss < resident + (8 << 20)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_version_is_in_use_until_its_last_call_ends(
    start: Start, engine: str, tmp_path: Path
) -> None:
    running = await start(engine)
    path = models_of_tests.write_slow_bundle(tmp_path)
    record = load(
        BundleFolder(path, path.parent.name, path.name), partial(running._kind.open_session, threads=1)
    )
    assert record.loaded is not None, record.reason
    slow = replace(record.loaded, row_ns=DEAR_NS)
    snapshot = build_snapshot([replace(record, loaded=slow)])
    running.engine.publish(snapshot)
    request = prediction_pb2.PredictRequest(model=slow.model)
    request.rows.row_count = 1
    request.rows.numbers.append(2e6)
    method: Any = running._channel.unary_unary(PREDICT)
    call = method(request.SerializeToString(), timeout=60)
    await _until(lambda: running.engine.statistics.in_flight == 1)
    running.engine.publish(build_snapshot(()))
    assert running.engine.in_use(slow)
    await call
    await _until(lambda: not running.engine.in_use(slow))
