"""An engine in this process and a channel to it, for the tests of both engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2
from grpc import aio

from scorewire_proto.v1 import errors_pb2, prediction_pb2
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.encodings import methods
from scorewire_server.engine.port import ControlMethod, StreamMethod, UnaryMethod
from scorewire_server.engine.snapshot import LoadedVersion
from scorewire_server.settings import Settings
from tests.conformance.wire import PREDICT, PREDICT_STREAM, Failure, failure_from, sum_request
from tests.scorewire_server.models import snapshot_of

TYPED_PATH = "/scorewire.models.sum.v1.SumService/Predict"
REQUEST = sum_request().SerializeToString()
MESSAGE = prediction_pb2.PredictStreamRequest(correlation_id=1, request=sum_request()).SerializeToString()
# The time of a row, in nanoseconds, at which an engine scores even one row in a thread for batches.
BATCH_ROW_NS = 1e9
_TIMEOUT_SECONDS = 60


async def _echo(data: bytes, _: CallContext) -> bytes:
    if data == b"fault":
        raise ValueError("secret")
    return data


async def _count(messages: AsyncIterator[bytes], _: CallContext) -> AsyncIterator[bytes]:
    async for data in messages:
        if data == b"fault":
            raise ValueError("secret")
        yield data


# A control plane that sends back what it gets, and fails at b"fault".
CONTROL: list[ControlMethod] = [
    UnaryMethod("/test.Control/Echo", _echo),
    StreamMethod("/test.Control/Count", _count),
]


class RunningEngine:
    """An engine that was started, and a channel to it."""

    def __init__(self, engine: Any, address: str) -> None:
        self.engine = engine
        self.address = address
        self.channel = aio.insecure_channel(address)

    def unary(self, data: bytes = REQUEST, path: str = PREDICT, **options: Any) -> Any:
        options.setdefault("timeout", 20)
        method: Any = self.channel.unary_unary(path)
        return method(data, **options)

    def stream(self, path: str = PREDICT_STREAM, **options: Any) -> Any:
        options.setdefault("timeout", 20)
        return self.channel.stream_stream(path)(**options)


# Starts an engine with these settings.
Start = Callable[..., Awaitable[RunningEngine]]


@asynccontextmanager
async def starting(make: Callable[[Settings], Any], **defaults: Any) -> AsyncIterator[Start]:
    """Gives a function that starts engines, and stops them all at the end.

    Args:
        make: makes an engine from its settings.
        defaults: settings of every engine.
    """
    running: list[RunningEngine] = []

    async def start(**settings: Any) -> RunningEngine:
        engine = make(Settings(listen="127.0.0.1:0", **defaults, **settings))
        running.append(RunningEngine(engine, await engine.start()))
        return running[-1]

    yield start
    for each in running:
        await each.channel.close()
        await each.engine.stop(0)


async def failure_of(call: Awaitable[Any]) -> Failure:
    """The failure of a call that must fail."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    error = caught.value
    return failure_from(error.code(), error.details(), tuple(error.trailing_metadata()))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        while not condition():  # noqa: ASYNC110 - nothing tells when the condition holds
            await asyncio.sleep(0.001)


async def use_and_abandon(running: RunningEngine, *paths: str) -> None:
    """Make calls and streams that end in every way: answered, cancelled, and by their deadline.

    Args:
        running: an engine that serves the sum.
        paths: methods of streams.
    """
    for _ in range(20):
        await running.unary()
    for path in paths:
        for ending in ("cancel", "deadline", "end") * 5:
            stream = running.stream(path, timeout=0.05 if ending == "deadline" else 20)
            try:
                await stream.write(MESSAGE)
                await stream.read()
                if ending == "cancel":
                    stream.cancel()
                elif ending == "end":
                    await stream.done_writing()
                await stream.code()
            except (aio.AioRpcError, asyncio.CancelledError):
                continue
    calls = [running.unary() for _ in range(20)]
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def assert_counts(running: RunningEngine) -> None:
    """An engine that serves the sum counts answers, failures and rows, of unary calls and of streams."""
    await running.unary(sum_request([1.0, 2.0, float("nan"), 1.0], ["", ""], row_count=2).SerializeToString())
    for name in ("a", "b"):
        await failure_of(running.unary(sum_request(model=name).SerializeToString()))
    stream = running.stream()
    for data in (MESSAGE, b"\xff"):
        await stream.write(data)
        await stream.read()
    await stream.done_writing()
    statistics = running.engine.statistics
    unknown = code_pb2.NOT_FOUND, errors_pb2.ERROR_REASON_MODEL_NOT_FOUND
    malformed = code_pb2.INVALID_ARGUMENT, errors_pb2.ERROR_REASON_MALFORMED_MESSAGE
    assert {key: (each.answered, each.failed) for key, each in statistics.calls.items()} == {
        ("sum", "1.0.0", methods.PREDICT): (1, {}),
        ("sum", "1.0.0", methods.PREDICT_STREAM): (1, {}),
        ("", "", methods.PREDICT): (0, {unknown: 2}),
        ("", "", methods.PREDICT_STREAM): (0, {malformed: 1}),
    }
    for call in statistics.calls.values():
        assert sum(call.durations.counts) == call.answered + sum(call.failed.values())
        assert call.durations.sum_ns > 0
    assert list(statistics.versions) == [("sum", "1.0.0")]
    counted = statistics.versions["sum", "1.0.0"]
    assert counted.rows == 3
    assert counted.row_errors == {errors_pb2.ERROR_REASON_MISSING_VALUE: 1}
    for histogram in (counted.decode, counted.run, counted.encode):
        assert sum(histogram.counts) == 2
        assert histogram.sum_ns > 0


async def assert_latest_snapshot(running: RunningEngine, summing: LoadedVersion) -> None:
    """An engine without models answers each call by the snapshot that was published last."""
    assert (await failure_of(running.unary())).reason == "MODEL_NOT_FOUND"
    running.engine.publish(snapshot_of(summing))
    assert await running.unary()
    running.engine.publish(snapshot_of())
    assert (await failure_of(running.unary())).reason == "MODEL_NOT_FOUND"


async def assert_waiting_predictions(running: RunningEngine, summing: LoadedVersion) -> None:
    """Predictions for models that an engine does not have wait while the first bundles are loaded."""
    running.engine.publish(snapshot_of(), loading=True)
    predict = asyncio.ensure_future(running.unary())
    typed = asyncio.ensure_future(running.unary(b"", TYPED_PATH))
    unknown = asyncio.ensure_future(running.unary(b"", "/scorewire.models.other.v1.OtherService/Predict"))
    stream = running.stream()
    await stream.write(MESSAGE)
    # The other calls have arrived before this one, which is answered.
    control = running.stream("/test.Control/Count")
    await control.write(b"1")
    await control.read()
    with pytest.raises(aio.AioRpcError) as caught:
        await running.unary(timeout=0.05)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert not any(call.done() for call in (predict, typed, unknown))
    running.engine.publish(snapshot_of(summing))
    assert prediction_pb2.PredictResponse.FromString(await predict).version == "1.0.0"
    # The row lacks a required feature, so this failure shows that the call has reached the model.
    assert (await failure_of(typed)).reason == "INVALID_REQUEST"
    assert (await failure_of(unknown)).code == grpc.StatusCode.UNIMPLEMENTED
    assert prediction_pb2.PredictStreamResponse.FromString(await stream.read()).HasField("response")
    await stream.done_writing()
    assert await stream.code() == grpc.StatusCode.OK


async def assert_told_of_stop(running: RunningEngine) -> None:
    """Predictions that wait for bundles fail when the engine stops."""
    running.engine.publish(snapshot_of(), loading=True)
    calls = [asyncio.ensure_future(running.unary()), asyncio.ensure_future(running.unary(b"", TYPED_PATH))]
    control = running.stream("/test.Control/Count")
    await control.write(b"1")
    await control.read()
    await running.engine.stop(20)
    for call in calls:
        failure = await failure_of(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
