"""The reference engine in this process: limits, threads, drain, and that nothing is left over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2

from scorewire_contract.bundle import Bundle
from scorewire_contract.service.start import StartError
from scorewire_proto.v1 import prediction_pb2
from scorewire_server.engine.context import CallContext, deadline_in
from scorewire_server.engine.encodings.methods import METHODS
from scorewire_server.engine.reference.engine import ReferenceEngine
from scorewire_server.errors import INTERNAL_MESSAGE
from scorewire_server.settings import Settings
from tests.conformance.wire import PREDICT_STREAM, sum_request, values
from tests.scorewire_server.engine.running import (
    BATCH_ROW_NS,
    CONTROL,
    MESSAGE,
    REQUEST,
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
from tests.scorewire_server.models import Gate, loaded_version, snapshot_of, zeros


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts engines, and stops them after the test."""
    async with starting(lambda settings: ReferenceEngine(settings, CONTROL)) as start_one:
        yield start_one


async def _entered(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.entered.acquire, timeout=60)


async def test_calls_over_the_limit_are_refused_and_those_within_it_answered(
    start: Start, sum_bundle: Bundle
) -> None:
    gate = Gate()
    running = await start(max_in_flight=2)
    running.engine.publish(snapshot_of(loaded_version(sum_bundle, gate.run, row_ns=BATCH_ROW_NS)))
    calls = [asyncio.ensure_future(running.unary()) for _ in range(2)]
    await _entered(gate)
    await _entered(gate)
    assert running.engine.statistics.in_flight == 2
    failure = await failure_of(running.unary())
    assert failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure.reason == "TOO_MANY_IN_FLIGHT"
    assert dict(failure.info.metadata) == {"limit": "2"}
    stream = running.stream()
    await stream.write(MESSAGE)
    answer = prediction_pb2.PredictStreamResponse.FromString(await stream.read())
    assert answer.error.code == code_pb2.RESOURCE_EXHAUSTED
    await stream.done_writing()
    gate.open.set()
    await asyncio.gather(*calls)
    assert running.engine.statistics.in_flight == 0


async def test_the_loop_goes_on_while_a_large_batch_is_scored(start: Start, sum_bundle: Bundle) -> None:
    gate = Gate()
    running = await start()
    running.engine.publish(snapshot_of(loaded_version(sum_bundle, gate.run, row_ns=BATCH_ROW_NS)))
    call = asyncio.ensure_future(running.unary())
    await _entered(gate)
    assert await running.unary(b"still here", "/test.Control/Echo") == b"still here"
    gate.open.set()
    assert values(prediction_pb2.PredictResponse.FromString(await call)) == [0.0]


async def test_expired_work_that_waited_for_a_thread_is_dropped(start: Start, sum_bundle: Bundle) -> None:
    gate = Gate()
    running = await start(batch_threads=1)
    running.engine.publish(snapshot_of(loaded_version(sum_bundle, gate.run, row_ns=BATCH_ROW_NS)))
    first = asyncio.ensure_future(running.unary())
    await _entered(gate)
    failure = await failure_of(running.unary(timeout=0.3))
    assert failure.code == grpc.StatusCode.DEADLINE_EXCEEDED
    gate.open.set()
    await first
    await until(lambda: running.engine.statistics.in_flight == 0)
    assert gate.runs == 1


@pytest.mark.parametrize("seconds_left", [0.0, -1.0])
async def test_an_expired_call_is_dropped_before_the_model_runs(
    start: Start, sum_bundle: Bundle, seconds_left: float
) -> None:
    gate = Gate()
    running = await start()
    running.engine.publish(snapshot_of(loaded_version(sum_bundle, gate.run)))
    predictor = running.engine._predictor  # the wire cannot carry a call that is sure to have expired
    predict, predict_stream = METHODS[:2]
    context = CallContext(predict.path, deadline=deadline_in(seconds_left))
    with pytest.raises(Exception, match="deadline passed") as caught:
        await predictor.answer(predict, context, REQUEST)
    assert type(caught.value).__name__ == "DeadlineExceededError"
    answer = prediction_pb2.PredictStreamResponse.FromString(
        await predictor.answer(predict_stream, context, MESSAGE)
    )
    assert (answer.correlation_id, answer.error.code) == (1, code_pb2.DEADLINE_EXCEEDED)
    assert gate.runs == 0


async def test_an_answer_over_the_limit_of_a_message_is_refused(start: Start, sum_bundle: Bundle) -> None:
    running = await start(max_message_bytes=1024)
    running.engine.publish(snapshot_of(loaded_version(sum_bundle, zeros)))
    # With an error for each row, the answer is longer than the request.
    request = sum_request([float("nan")] * 100, [""] * 50, row_count=50).SerializeToString()
    assert len(request) < 1024
    failure = await failure_of(running.unary(request))
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_ROWS")


async def test_a_fault_of_the_server_is_internal_with_a_fixed_text(start: Start, sum_bundle: Bundle) -> None:
    def fault(*_: object) -> Any:
        raise KeyError("secret")

    running = await start()
    running.engine.publish(snapshot_of(loaded_version(sum_bundle, fault)))
    for call in (
        running.unary(),
        running.unary(b"fault", "/test.Control/Echo"),
    ):
        failure = await failure_of(call)
        assert failure.code == grpc.StatusCode.INTERNAL
        assert failure.message == INTERNAL_MESSAGE
        assert failure.reason == "INTERNAL"
    stream = running.stream()
    for _ in range(2):
        await stream.write(MESSAGE)
        answer = prediction_pb2.PredictStreamResponse.FromString(await stream.read())
        assert answer.error.code == code_pb2.INTERNAL
        assert answer.error.message == INTERNAL_MESSAGE
    await stream.done_writing()
    control = running.stream("/test.Control/Count")
    await control.write(b"fault")
    assert (await failure_of(control.read())).code == grpc.StatusCode.INTERNAL


async def test_calls_see_the_snapshot_that_was_published_last(start: Start, sum_bundle: Bundle) -> None:
    await assert_latest_snapshot(await start(), loaded_version(sum_bundle, zeros))


async def test_predictions_wait_while_the_first_bundles_are_loaded(start: Start, sum_bundle: Bundle) -> None:
    await assert_waiting_predictions(await start(), loaded_version(sum_bundle, zeros))


async def test_a_prediction_that_waits_for_bundles_is_told_when_the_engine_stops(start: Start) -> None:
    await assert_told_of_stop(await start())


async def test_stop_waits_for_calls_and_streams_in_flight(start: Start, sum_bundle: Bundle) -> None:
    gate = Gate()
    running = await start()
    running.engine.publish(snapshot_of(loaded_version(sum_bundle, gate.run, row_ns=BATCH_ROW_NS)))
    call = asyncio.ensure_future(running.unary())
    stream = running.stream()
    await stream.write(MESSAGE)
    await _entered(gate)
    await _entered(gate)
    control = running.stream("/test.Control/Count")
    await control.write(b"1")
    await control.read()
    stopping = asyncio.create_task(running.engine.stop(20))
    # A control stream never ends by itself, so the engine ends it.
    assert await control.code() == grpc.StatusCode.OK
    assert not stopping.done()
    gate.open.set()
    assert values(prediction_pb2.PredictResponse.FromString(await call)) == [0.0]
    assert prediction_pb2.PredictStreamResponse.FromString(await stream.read()).HasField("response")
    await stream.done_writing()
    assert await stream.code() == grpc.StatusCode.OK
    await stopping


async def test_stop_cuts_a_stream_that_outlasts_the_grace(start: Start, sum_bundle: Bundle) -> None:
    running = await start()
    running.engine.publish(snapshot_of(loaded_version(sum_bundle, zeros)))
    stream = running.stream()
    await stream.write(MESSAGE)
    await stream.read()
    await running.engine.stop(0.05)
    failure = await failure_of(stream.read())
    assert failure.code == grpc.StatusCode.UNAVAILABLE


async def test_nothing_is_left_of_calls_and_cancelled_streams(start: Start, sum_bundle: Bundle) -> None:
    running = await start()
    running.engine.publish(snapshot_of(loaded_version(sum_bundle, zeros, row_ns=BATCH_ROW_NS)))
    statistics = running.engine.statistics

    await use_and_abandon(running, PREDICT_STREAM)
    await until(lambda: statistics.in_flight == statistics.streams == 0)
    before = len(asyncio.all_tasks())
    for _ in range(3):
        await use_and_abandon(running, PREDICT_STREAM)
    await until(lambda: statistics.in_flight == statistics.streams == 0)
    await until(lambda: len(asyncio.all_tasks()) <= before)


async def test_statistics_count_what_was_answered_and_what_failed(start: Start, sum_bundle: Bundle) -> None:
    running = await start()
    running.engine.publish(snapshot_of(loaded_version(sum_bundle, zeros)))
    await assert_counts(running)


async def test_an_address_in_use_cannot_be_bound() -> None:
    first = ReferenceEngine(Settings(listen="127.0.0.1:0"), [])
    address = await first.start()
    with pytest.raises(StartError, match="cannot be bound"):
        await ReferenceEngine(Settings(listen=address), []).start()
    await first.stop(0)
