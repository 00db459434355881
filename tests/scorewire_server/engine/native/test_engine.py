"""The native engine in this process: limits, threads, faults, drain, and that nothing is left over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2
from grpc import aio

from scorewire_contract.service.logs import configure_logs, flush_logs
from scorewire_contract.service.start import StartError
from scorewire_proto.v1 import errors_pb2, prediction_pb2
from scorewire_server.catalog.repository import BundleFolder
from scorewire_server.engine.snapshot import LoadedVersion
from scorewire_server.engine.statistics import BUCKETS_SECONDS
from scorewire_server.errors import INTERNAL_MESSAGE
from scorewire_server.loading.loader import load
from scorewire_server.settings import Settings
from tests import bundles, http2
from tests.conformance.engines import NATIVE_MISSING
from tests.conformance.inference import INFER, infer_request, sum_tensors
from tests.conformance.wire import PREDICT as PREDICT_PATH
from tests.conformance.wire import PREDICT_STREAM as STREAM_PATH
from tests.conformance.wire import Wire, failure_from, sum_request, values
from tests.overload.offer import Connection, request_head
from tests.processes import serving
from tests.scorewire_server.engine.running import (
    BATCH_ROW_NS,
    CONTROL,
    MESSAGE,
    REQUEST,
    RunningEngine,
    Start,
    assert_counts,
    assert_latest_snapshot,
    assert_told_of_stop,
    assert_waiting_predictions,
    failure_of,
    starting,
    until,
    use_and_abandon,
)
from tests.scorewire_server.models import snapshot_of, write_slow_bundle

pytestmark = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)

FIRST_ROW_REASON = 100


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts engines, and stops them after the test."""
    from scorewire_server.engine.native.engine import NativeEngine

    async with starting(lambda settings: NativeEngine(settings, CONTROL), threads=2) as start_one:
        yield start_one


def _load(path: Path) -> LoadedVersion:
    from scorewire_server.engine.native.session import open_session

    folder = BundleFolder(path, path.parent.name, path.name)
    record = load(folder, lambda graph: open_session(graph, 1))
    assert record.loaded is not None, record.reason
    return record.loaded


@pytest.fixture(scope="module")
def summing(tmp_path_factory: pytest.TempPathFactory) -> LoadedVersion:
    """The version of `write_sum_bundle`, loaded."""
    return _load(bundles.write_sum_bundle(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> LoadedVersion:
    """The version of `write_slow_bundle`, loaded."""
    return replace(_load(write_slow_bundle(tmp_path_factory.mktemp("models"))), row_ns=BATCH_ROW_NS)


def _slow_request(rounds: float) -> bytes:
    rows = prediction_pb2.Rows(row_count=1, numbers=[rounds])
    return prediction_pb2.PredictRequest(model="slow", rows=rows).SerializeToString()


# Rounds that take a large part of a second, so that a test can act during the run.
SLOW = _slow_request(300_000)


async def _code(running: RunningEngine, data: bytes, path: str) -> grpc.StatusCode:
    """The code of a call with a short deadline, sent again if a busy machine sheds it."""
    failure = await failure_of(running.unary(data, path, timeout=0.05))
    is_shed = failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED and failure.reason == "OVERLOADED"
    return await _code(running, data, path) if is_shed else failure.code


async def test_calls_over_the_limit_are_refused_and_those_within_it_answered(
    start: Start, slow: LoadedVersion
) -> None:
    running = await start(max_in_flight=1)
    running.engine.publish(snapshot_of(slow))
    call = asyncio.ensure_future(running.unary(SLOW))
    await until(lambda: running.engine.statistics.in_flight == 1)
    failure = await failure_of(running.unary(SLOW))
    assert failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure.reason == "TOO_MANY_IN_FLIGHT"
    assert dict(failure.info.metadata) == {"limit": "1"}
    stream = running.stream()
    await stream.write(MESSAGE)
    answer = prediction_pb2.PredictStreamResponse.FromString(await stream.read())
    assert answer.error.code == code_pb2.RESOURCE_EXHAUSTED
    await stream.done_writing()
    assert values(prediction_pb2.PredictResponse.FromString(await call)) == [300_000.0]
    await until(lambda: running.engine.statistics.in_flight == 0)


async def _begin(address: str, path: str, data: bytes, count: int) -> list[Any]:
    """Calls that were sent while this event loop, which runs the control plane, is blocked."""
    with grpc.insecure_channel(address) as channel:
        calls = [channel.unary_unary(path).future(data, timeout=60) for _ in range(count)]
        # On the same connection, so that it arrives after them.
        assert channel.unary_unary(PREDICT_PATH)(REQUEST, timeout=60)
        await asyncio.to_thread(lambda: [call.exception() for call in calls])
    return calls


def _ended(calls: list[Any]) -> Counter[str]:
    """How many calls ended with OK, and with each reason."""

    def reason(call: Any) -> str:
        if call.code() == grpc.StatusCode.OK:
            return "OK"
        return failure_from(call.code(), call.details(), call.trailing_metadata()).reason

    return Counter(map(reason, calls))


async def test_calls_that_fail_take_no_place_from_those_that_do_not(
    start: Start, summing: LoadedVersion
) -> None:
    running = await start(max_in_flight=8)
    running.engine.publish(snapshot_of(summing))
    wrong = sum_request(model="unknown").SerializeToString()
    ended = _ended(await _begin(running.address, PREDICT_PATH, wrong, 100))
    assert ended == {"MODEL_NOT_FOUND": 2, "TOO_MANY_IN_FLIGHT": 98}
    await until(lambda: running.engine.statistics.in_flight == 0)
    assert (await failure_of(running.unary(wrong))).reason == "MODEL_NOT_FOUND"


async def test_tensors_that_are_left_to_the_control_plane_are_bounded(
    start: Start, summing: LoadedVersion
) -> None:
    running = await start(max_in_flight=8)
    running.engine.publish(snapshot_of(summing))
    tensors = sum_tensors() | {"x0": ("FP16", [1, 1], [1])}
    unusual = infer_request("sum", tensors).SerializeToString()
    ended = _ended(await _begin(running.address, INFER, unusual, 100))
    assert ended == {"OK": 4, "TOO_MANY_IN_FLIGHT": 96}
    await until(lambda: running.engine.statistics.in_flight == 0)
    assert await running.unary(unusual, INFER)


async def test_tensors_that_are_left_to_the_control_plane_share_the_threads_for_batches(
    start: Start, slow: LoadedVersion
) -> None:
    running = await start(batch_threads=1)
    running.engine.publish(snapshot_of(slow))
    unusual = infer_request("slow", {"rounds": ("FP16", [1, 1], [3])}).SerializeToString()
    assert await running.unary(unusual, INFER)
    call = asyncio.ensure_future(running.unary(SLOW))
    await until(lambda: running.engine.statistics.in_flight == 1)
    assert await _code(running, unusual, INFER) == grpc.StatusCode.DEADLINE_EXCEEDED
    waiting = asyncio.ensure_future(running.unary(unusual, INFER))
    await until(lambda: running.engine.statistics.in_flight == 2)
    await call
    assert await waiting


async def test_a_stop_ends_what_waits_for_a_thread(start: Start, slow: LoadedVersion) -> None:
    running = await start(batch_threads=1)
    running.engine.publish(snapshot_of(slow))
    unusual = infer_request("slow", {"rounds": ("FP16", [1, 1], [3])}).SerializeToString()
    calls = [asyncio.ensure_future(running.unary(SLOW))]
    await until(lambda: running.engine.statistics.in_flight == 1)
    calls.append(asyncio.ensure_future(running.unary(unusual, INFER)))
    await until(lambda: running.engine.statistics.in_flight == 2)
    await running.engine.stop(0.05)
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, aio.AioRpcError) for each in ended)


def test_what_the_extension_counts_has_the_names_of_the_contract() -> None:
    import scorewire_native
    from scorewire_server.engine.encodings import methods

    counted = {
        methods.PREDICT, methods.PREDICT_STREAM, methods.MODEL_INFER, methods.MODEL_STREAM_INFER,
        methods.TYPED_PREDICT, methods.TYPED_PREDICT_BATCH, methods.TYPED_PREDICT_STREAM,
    }  # fmt: skip
    assert sorted(scorewire_native.METHODS) == sorted(counted)
    rows = {name for name, number in errors_pb2.ErrorReason.items() if number >= FIRST_ROW_REASON}
    assert sorted(f"ERROR_REASON_{name}" for name in scorewire_native.ROW_REASONS) == sorted(rows)


def test_failures_of_every_reason_of_the_contract_are_counted() -> None:
    import scorewire_native

    def engine(reason: int, *without: str) -> Any:
        names = {
            "malformed",
            "too_many_in_flight",
            "too_many_failing",
            "expired",
            "overloaded",
            "over_share",
            "run_stopped",
            "draining",
            "internal",
            "unauthenticated",
            "permission_denied",
            "caller_limit",
        }
        fixed = dict.fromkeys(names - set(without), (1, reason, "", b""))
        parts: scorewire_native.EngineParts = {
            "max_rows": 1,
            "max_in_flight": 1,
            "max_message_bytes": 1024,
            "max_run_seconds": 1.0,
            "max_buffered_bytes": 1 << 20,
            "threads": 1,
            "bounds_ns": range(1, len(BUCKETS_SECONDS) + 1),
            "records": None,
            "traces": None,
            "access": None,
        }
        return scorewire_native.Engine(parts, fixed)

    for reason in errors_pb2.ErrorReason.values():
        if reason < FIRST_ROW_REASON:
            assert engine(reason)
    with pytest.raises(ValueError, match="reason 99 are not counted"):
        engine(99)
    with pytest.raises(KeyError, match="draining"):
        engine(1, "draining")


async def test_other_calls_go_on_while_a_large_batch_is_scored(
    start: Start, slow: LoadedVersion, summing: LoadedVersion
) -> None:
    running = await start()
    running.engine.publish(snapshot_of(slow, summing))
    call = asyncio.ensure_future(running.unary(SLOW))
    await until(lambda: running.engine.statistics.in_flight == 1)
    assert await running.unary(b"still here", "/test.Control/Echo") == b"still here"
    assert await running.unary()
    assert running.engine.statistics.in_flight == 1
    await call


async def test_expired_work_that_waited_for_a_thread_is_dropped(start: Start, slow: LoadedVersion) -> None:
    running = await start(batch_threads=1)
    running.engine.publish(snapshot_of(slow))
    first = asyncio.ensure_future(running.unary(SLOW))
    await until(lambda: running.engine.statistics.in_flight == 1)
    assert await _code(running, SLOW, PREDICT_PATH) == grpc.StatusCode.DEADLINE_EXCEEDED
    await first
    await until(lambda: running.engine.statistics.in_flight == 0)
    assert running.engine.statistics.versions["slow", "1.0.0"].rows == 1


async def test_time_that_a_call_waits_to_be_read_is_of_its_deadline(
    start: Start, slow: LoadedVersion
) -> None:
    running = await start()
    # Its measured cost is so low that it is scored on the thread that reads it.
    running.engine.publish(snapshot_of(replace(slow, row_ns=1.0)))
    connection = Connection(running.address)
    connection.begin(request_head(PREDICT_PATH, None), http2.message(SLOW), 0.0)
    for _ in range(3):
        connection.begin(request_head(PREDICT_PATH, 0.01), http2.message(_slow_request(3.0)), 0.0)
    ended: list[bool] = []

    def answered() -> bool:
        connection.write()
        ended.extend(answered for _, answered in connection.read())
        return len(ended) == 4

    await until(answered)
    connection.socket.close()
    assert ended.count(True) == 1
    statistics = running.engine.statistics
    assert statistics.versions["slow", "1.0.0"].rows == 1
    key = code_pb2.DEADLINE_EXCEEDED, errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED
    # Their version may have been picked before they waited.
    assert sum((Counter(each.failed) for each in statistics.calls.values()), Counter()) == {key: 3}
    # Each of them waited for the slow one, and longer than it wanted to.
    assert sum(each.durations.sum_ns for each in statistics.calls.values()) >= 3 * 10_000_000


async def test_cancelled_work_that_waited_for_a_thread_is_dropped(start: Start, slow: LoadedVersion) -> None:
    running = await start(batch_threads=1)
    running.engine.publish(snapshot_of(slow))
    first = asyncio.ensure_future(running.unary(SLOW))
    await until(lambda: running.engine.statistics.in_flight == 1)
    second = running.unary(SLOW)
    await until(lambda: running.engine.statistics.in_flight == 2)
    second.cancel()
    await first
    await until(lambda: running.engine.statistics.in_flight == 0)
    assert running.engine.statistics.versions["slow", "1.0.0"].rows == 1


async def test_an_answer_over_the_limit_of_a_message_is_refused(start: Start, summing: LoadedVersion) -> None:
    running = await start(max_message_bytes=1024)
    running.engine.publish(snapshot_of(summing))
    # With an error for each row, the answer is longer than the request.
    request = sum_request([float("nan")] * 100, [""] * 50, row_count=50).SerializeToString()
    assert len(request) < 1024
    failure = await failure_of(running.unary(request))
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_ROWS")
    assert dict(failure.info.metadata) == {"limit_bytes": "1024"}


@pytest.mark.parametrize("row_ns", [1.0, BATCH_ROW_NS])
async def test_a_fault_of_the_server_is_internal_with_a_fixed_text(
    start: Start, slow: LoadedVersion, row_ns: float, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logs("json", "info")  # anew, onto what this test reads
    running = await start()
    running.engine.publish(snapshot_of(replace(slow, row_ns=row_ns)))
    for call in (running.unary(_slow_request(-2.0)), running.unary(b"fault", "/test.Control/Echo")):
        failure = await failure_of(call)
        assert failure.code == grpc.StatusCode.INTERNAL
        assert failure.message == INTERNAL_MESSAGE
        assert failure.reason == "INTERNAL"
    assert values(prediction_pb2.PredictResponse.FromString(await running.unary(_slow_request(1.0)))) == [1.0]
    control = running.stream("/test.Control/Count")
    await control.write(b"fault")
    assert (await failure_of(control.read())).code == grpc.StatusCode.INTERNAL
    flush_logs()
    assert "fault of the server" in capfd.readouterr().err


async def test_a_failure_of_a_thread_names_its_message_of_the_stream(
    start: Start, slow: LoadedVersion
) -> None:
    running = await start()
    running.engine.publish(snapshot_of(slow))
    stream = running.stream()
    for i, rounds in ((7, 1.0), (8, -2.0), (9, 2.0)):
        request = prediction_pb2.PredictRequest.FromString(_slow_request(rounds))
        message = prediction_pb2.PredictStreamRequest(correlation_id=i, request=request)
        await stream.write(message.SerializeToString())
    await stream.done_writing()
    answers = [prediction_pb2.PredictStreamResponse.FromString(data) async for data in stream]
    assert [(each.correlation_id, each.HasField("error")) for each in answers] == [
        (7, False), (8, True), (9, False),
    ]  # fmt: skip


async def test_calls_see_the_snapshot_that_was_published_last(start: Start, summing: LoadedVersion) -> None:
    await assert_latest_snapshot(await start(), summing)


async def test_predictions_wait_while_the_first_bundles_are_loaded(
    start: Start, summing: LoadedVersion
) -> None:
    await assert_waiting_predictions(await start(), summing)


async def test_a_prediction_that_waits_for_bundles_is_told_when_the_engine_stops(start: Start) -> None:
    await assert_told_of_stop(await start())


async def test_stop_waits_for_calls_and_streams_in_flight(
    start: Start, slow: LoadedVersion, summing: LoadedVersion
) -> None:
    running = await start()
    running.engine.publish(snapshot_of(slow, summing))
    stream = running.stream()
    await stream.write(MESSAGE)
    await stream.read()
    control = running.stream("/test.Control/Count")
    await control.write(b"1")
    await control.read()
    call = asyncio.ensure_future(running.unary(SLOW))
    await until(lambda: running.engine.statistics.in_flight == 1)
    stopping = asyncio.create_task(running.engine.stop(20))
    # A control stream never ends by itself, so the engine ends it.
    assert await control.code() == grpc.StatusCode.OK
    assert values(prediction_pb2.PredictResponse.FromString(await call)) == [300_000.0]
    assert not stopping.done()
    await stream.write(MESSAGE)
    assert prediction_pb2.PredictStreamResponse.FromString(await stream.read()).HasField("response")
    await stream.done_writing()
    assert await stream.code() == grpc.StatusCode.OK
    await stopping


async def test_stop_cuts_a_stream_that_outlasts_the_grace(start: Start, summing: LoadedVersion) -> None:
    running = await start()
    running.engine.publish(snapshot_of(summing))
    stream = running.stream()
    await stream.write(MESSAGE)
    await stream.read()
    await running.engine.stop(0.05)
    failure = await failure_of(stream.read())
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


async def test_nothing_is_left_of_calls_and_cancelled_streams(start: Start, summing: LoadedVersion) -> None:
    running = await start()
    running.engine.publish(snapshot_of(replace(summing, row_ns=BATCH_ROW_NS)))

    def quiet() -> bool:
        statistics = running.engine.statistics
        return statistics.in_flight == statistics.streams == len(running.engine._calls) == 0

    await use_and_abandon(running, STREAM_PATH, "/test.Control/Count")
    await until(quiet)
    before = len(asyncio.all_tasks())
    for _ in range(3):
        await use_and_abandon(running, STREAM_PATH, "/test.Control/Count")
    await until(quiet)
    await until(lambda: len(asyncio.all_tasks()) <= before)


async def test_statistics_count_what_was_answered_and_what_failed(
    start: Start, summing: LoadedVersion
) -> None:
    running = await start()
    running.engine.publish(snapshot_of(summing))
    await assert_counts(running)


async def test_an_address_in_use_cannot_be_bound(start: Start) -> None:
    from scorewire_server.engine.native.engine import NativeEngine

    first = NativeEngine(Settings(listen="127.0.0.1:0"), [])
    address = await first.start()
    with pytest.raises(StartError, match="cannot be bound"):
        await NativeEngine(Settings(listen=address), []).start()
    await first.stop(0)


def test_one_onnxruntime_is_in_the_process(tmp_path: Path) -> None:
    models = tmp_path / "models"
    bundles.write_sum_bundle(models)
    flags = ("--engine", "native", "--threads", "2", "--pin-threads", "on")
    with serving(tmp_path, models, *flags) as server:
        wire = Wire(server.address)
        with wire.channel:
            assert values(wire.predict(sum_request()))
        maps = Path("/proc", str(server.pid), "maps")
        if not maps.exists():
            pytest.skip("this system does not tell what a process has loaded")
        loaded = {line.split()[-1] for line in maps.read_text().splitlines() if "onnxruntime" in line}
        # One copy of the library, and no telemetry of onnxruntime.
        assert [Path(path).name.split(".so")[0] for path in loaded] == ["libonnxruntime"]
