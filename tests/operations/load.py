"""Puts an open-loop load on a server whose versions change, and checks every response."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from grpc import aio

from scorewire_proto.v1 import models_pb2, prediction_pb2
from tests.bundles import expected_value

MODEL = "sum"
PREDICT = "/scorewire.v1.PredictionService/Predict"
STREAM = "/scorewire.v1.PredictionService/PredictStream"
_TIMEOUT_SECONDS = 60
_NUMBERS, _COUNTRY = [1.0, 2.0], "de"


def offset_of(version: str) -> float:
    """The offset of a version's bundle, so that a score tells which version gave it."""
    major, minor, patch = (int(part) for part in version.partition("-")[0].split("."))
    return 1e6 * major + 1e3 * minor + patch


@dataclass(slots=True)
class Seen:
    """Counts of responses; `wrong` has responses whose score is not that of the version they name."""

    versions: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[str, float]] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """The number of calls and messages that ended."""
        return sum(self.versions.values()) + sum(self.failed.values())

    def take(self, answer: prediction_pb2.PredictResponse) -> None:
        """Check a response."""
        (score,) = answer.outputs[0].numbers
        if score != expected_value(_NUMBERS, _COUNTRY, offset_of(answer.version)):
            self.wrong.append((answer.version, score))
        self.versions[answer.version] += 1


class Operator:
    """Calls ModelService; each method by its name, such as `await operator.SetAlias(model=..., ...)`."""

    def __init__(self, channel: aio.Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        message: Any = getattr(models_pb2, f"{name}Request")
        response: Any = getattr(models_pb2, f"{name}Response")
        method: Any = self._channel.unary_unary(f"/scorewire.v1.ModelService/{name}")

        async def call(**fields: Any) -> Any:
            data = message(**fields).SerializeToString()
            return response.FromString(await method(data, timeout=_TIMEOUT_SECONDS))

        return call

    async def status(self) -> models_pb2.ModelStatus:
        """Get the model's status."""
        listed = await self.ListModels()
        return next((each for each in listed.models if each.name == MODEL), models_pb2.ModelStatus())

    async def until_default(self, version: str) -> None:
        """Wait until a version is the default version."""
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            while (await self.status()).default_version != version:  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.02)

    async def until_state(self, version: str, state: models_pb2.VersionState.ValueType | None) -> str:
        """Wait until a version is in a state, or is gone; returns the reason in its status."""
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            while True:
                told = {each.version: each for each in (await self.status()).versions}
                found = told.get(version)
                if (found.state if found is not None else None) == state:
                    return found.reason if found is not None else ""
                await asyncio.sleep(0.02)


@asynccontextmanager
async def under_load(address: str, *, rate: float) -> AsyncIterator[tuple[Operator, Seen]]:
    """An operator of a server under load: so many calls per second, and as many messages on a stream.

    Calls are sent when they are due, whether or not earlier calls have been answered.
    """
    seen = Seen()
    async with aio.insecure_channel(address) as calls, aio.insecure_channel(address) as control:
        stop = asyncio.Event()
        callers = [
            asyncio.create_task(_call(calls, rate, seen, stop)),
            asyncio.create_task(_stream(calls, rate, seen, stop)),
        ]
        try:
            yield Operator(control), seen
        finally:
            stop.set()
            await asyncio.gather(*callers)


def request(number: int) -> prediction_pb2.PredictRequest:
    """Make the call of one user of many."""
    message = prediction_pb2.PredictRequest(model=MODEL, routing_key=f"user-{number}")
    message.rows.row_count = 1
    message.rows.numbers.extend(_NUMBERS)
    message.rows.texts.append(_COUNTRY)
    return message


async def _due(rate: float, stop: asyncio.Event) -> AsyncIterator[int]:
    """Give one item at each time at which a call is due."""
    loop = asyncio.get_running_loop()
    begin, number = loop.time(), 0
    while not stop.is_set():
        number += 1
        await asyncio.sleep(max(0.0, begin + number / rate - loop.time()))
        yield number


async def _call(channel: aio.Channel, rate: float, seen: Seen, stop: asyncio.Event) -> None:
    method: Any = channel.unary_unary(PREDICT)

    async def one(number: int) -> None:
        try:
            data = await method(request(number).SerializeToString(), timeout=_TIMEOUT_SECONDS)
        except aio.AioRpcError as error:
            seen.failed[f"{error.code().name}: {error.details()}"] += 1
        else:
            seen.take(prediction_pb2.PredictResponse.FromString(data))

    async with asyncio.TaskGroup() as tasks:
        async for number in _due(rate, stop):
            tasks.create_task(one(number))


async def _stream(channel: aio.Channel, rate: float, seen: Seen, stop: asyncio.Event) -> None:
    stream: Any = channel.stream_stream(STREAM)()
    sent = 0

    async def read() -> None:
        async for data in stream:
            answer = prediction_pb2.PredictStreamResponse.FromString(data)
            if answer.HasField("error"):
                seen.failed[f"stream: {answer.error.message}"] += 1
            else:
                seen.take(answer.response)

    reader = asyncio.create_task(read())
    async for number in _due(rate, stop):
        message = prediction_pb2.PredictStreamRequest(correlation_id=number, request=request(number))
        await stream.write(message.SerializeToString())
        sent += 1
    await stream.done_writing()
    await reader
