"""Rows of calls that arrive together share a run of the graph, and nothing else."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc import aio

from scorewire_proto.inference import inference_pb2
from scorewire_proto.v1 import prediction_pb2
from scorewire_server.catalog.repository import BundleFolder
from scorewire_server.engine.snapshot import LoadedVersion
from scorewire_server.loading.loader import load
from scorewire_server.settings import Settings
from tests import bundles
from tests.conformance.engines import NATIVE_MISSING
from tests.conformance.wire import PREDICT, PREDICT_STREAM, sum_request, values
from tests.scorewire_server.models import snapshot_of, write_crowd_bundle

pytestmark = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
BURST = 64
MOST = 16


def _load(path: Path) -> LoadedVersion:
    from scorewire_server.engine.native.session import open_session

    record = load(BundleFolder(path, path.parent.name, path.name), lambda graph: open_session(graph, 1))
    assert record.loaded is not None, record.reason
    return record.loaded


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> LoadedVersion:
    """A version whose scores tell the number of rows in the run, and that shares its runs."""
    return replace(
        _load(write_crowd_bundle(tmp_path_factory.mktemp("models"))), max_shared_rows=MOST, row_ns=1.0
    )


@asynccontextmanager
async def serving(*versions: LoadedVersion) -> AsyncIterator[tuple[Any, aio.Channel]]:
    """A native engine with one thread that serves these versions, and a channel to it."""
    from scorewire_server.engine.native.engine import NativeEngine

    engine = NativeEngine(Settings(listen="127.0.0.1:0", threads=1), [])
    channel = aio.insecure_channel(await engine.start())
    engine.publish(snapshot_of(*versions))
    try:
        yield engine, channel
    finally:
        await channel.close()
        await engine.stop(0)


def _crowd_request(*numbers: float) -> prediction_pb2.PredictRequest:
    rows = prediction_pb2.Rows(row_count=len(numbers), numbers=numbers)
    return prediction_pb2.PredictRequest(model="crowd", rows=rows)


async def _unary(channel: aio.Channel, request: Any, path: str = PREDICT) -> Any:
    """The bytes of an answer, or the code of a failure."""
    try:
        return await channel.unary_unary(path)(request.SerializeToString(), timeout=60)
    except aio.AioRpcError as error:
        return error.code()


def _told(answer: bytes) -> tuple[list[float], int]:
    """The rows of an answer, and the number of rows in their run."""
    scores = values(prediction_pb2.PredictResponse.FromString(answer))
    (company,) = {int(score // 1000) for score in scores}
    return [score % 1000 for score in scores], company


async def test_calls_that_came_together_share_a_run_and_get_their_own_answers(crowd: LoadedVersion) -> None:
    async with serving(crowd) as (_, channel), asyncio.timeout(60):
        companies: set[int] = set()
        # The network decides whether calls arrive together.
        while max(companies, default=0) < 2:
            answers = await asyncio.gather(*(_unary(channel, _crowd_request(i)) for i in range(BURST)))
            told = list(map(_told, answers))
            assert [rows for rows, _ in told] == [[i] for i in range(BURST)]
            companies |= {company for _, company in told}
    assert max(companies) <= MOST


async def test_a_version_that_was_not_proven_scores_each_call_alone(crowd: LoadedVersion) -> None:
    async with serving(replace(crowd, max_shared_rows=1)) as (_, channel):
        for _ in range(5):
            answers = await asyncio.gather(*(_unary(channel, _crowd_request(i)) for i in range(BURST)))
            assert list(map(_told, answers)) == [([i], 1) for i in range(BURST)]


async def test_batches_are_scored_by_themselves(crowd: LoadedVersion) -> None:
    async with serving(crowd) as (_, channel):
        requests = [_crowd_request(*range(1 + i % 3)) for i in range(BURST)]
        answers = await asyncio.gather(*(_unary(channel, request) for request in requests))
        for request, answer in zip(requests, answers, strict=True):
            rows, company = _told(answer)
            assert rows == list(request.rows.numbers)
            assert company == len(rows) or len(rows) == 1


async def test_a_row_that_spoils_a_run_fails_alone(crowd: LoadedVersion) -> None:
    async with serving(crowd) as (engine, channel):
        for _ in range(5):
            numbers = [-2 if i % 10 == 5 else i for i in range(BURST)]
            answers = await asyncio.gather(*(_unary(channel, _crowd_request(x)) for x in numbers))
            for x, answer in zip(numbers, answers, strict=True):
                if x < 0:
                    assert answer == grpc.StatusCode.INTERNAL
                else:
                    assert _told(answer)[0] == [x]
        spoilt = sum(x < 0 for x in numbers) * 5
        assert engine.statistics.versions["crowd", "1.0.0"].rows == 5 * BURST - spoilt
        assert engine.statistics.in_flight == 0


async def test_calls_of_all_kinds_that_came_together_are_answered_as_if_alone(
    crowd: LoadedVersion, tmp_path: Path
) -> None:
    summing = [
        replace(_load(bundles.write_sum_bundle(tmp_path, version=version, offset=offset)), row_ns=1.0)
        for version, offset in (("1.0.0", 0.0), ("1.1.0", 100.0))
    ]
    assert [version.max_shared_rows for version in summing] == [MOST, MOST]
    async with serving(crowd, *summing) as (_, channel):
        mixed = [each for i in range(BURST // 8) for each in (*_kinds(i), *_typed(summing[1], i))]
        alone = [_steady(path, await _unary(channel, request, path)) for path, request in mixed]
        assert sum(isinstance(answer, bytes) for answer in alone) == 6 * len(mixed) // 10
        for _ in range(10):
            answers = await asyncio.gather(*(_unary(channel, request, path) for path, request in mixed))
            steady = [_steady(path, answer) for (path, _), answer in zip(mixed, answers, strict=True)]
            assert steady == alone


def _kinds(i: int) -> Iterator[tuple[str, Any]]:
    yield PREDICT, sum_request([i, 0.1], ["de"], version="1.0.0")
    yield PREDICT, sum_request([i, 0.1], ["pe"], version="1.1.0")
    yield PREDICT, sum_request([float("nan"), i], ["pe"])  # the row is refused
    yield PREDICT, sum_request([i] * 6, ["pe"] * 3, row_count=3)
    yield PREDICT, sum_request([i, 0.1], ["pe"], version="9.9.9")
    yield PREDICT, sum_request([i], ["pe"])  # too few numbers
    yield PREDICT, prediction_pb2.PredictRequest(model="nobody")
    infer = inference_pb2.ModelInferRequest(model_name="sum", id=str(i))
    for name, value in (("x0", i), ("x1", 0.5)):
        infer.inputs.add(name=name, datatype="FP64", shape=[1])
        infer.raw_input_contents.append(struct.pack("<d", value))
    infer.inputs.add(name="country", datatype="BYTES", shape=[1])
    infer.raw_input_contents.append(struct.pack("<I", 2) + b"de")
    yield MODEL_INFER, infer


def _typed(version: LoadedVersion, i: int) -> Iterator[tuple[str, Any]]:
    schema = version.typed.schema
    pool = descriptor_pool.DescriptorPool()
    pool.Add(schema.descriptor())
    row = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{schema.package}.{schema.stem}Row"))
    yield f"/{schema.service}/Predict", row(x0=i, x1=0.1, country="de")
    yield f"/{schema.service}/Predict", row(x1=i)  # the row is refused, and with it the call


def _steady(path: str, answer: Any) -> Any:
    """An answer without its times; a code as it is."""
    if path != PREDICT or not isinstance(answer, bytes):
        return answer
    message = prediction_pb2.PredictResponse.FromString(answer)
    message.server_time_us = message.model_time_us = 0
    return message.SerializeToString()


async def test_messages_of_a_stream_share_a_run_and_keep_their_order(crowd: LoadedVersion) -> None:
    async with serving(crowd) as (_, channel), asyncio.timeout(60):
        companies: set[int] = set()
        while max(companies, default=0) < 2:
            stream: Any = channel.stream_stream(PREDICT_STREAM)(timeout=60)
            numbers = [-2 if i % 10 == 5 else i for i in range(BURST)]

            async def send(stream: Any = stream, numbers: list[int] = numbers) -> None:
                for i, x in enumerate(numbers):
                    message = prediction_pb2.PredictStreamRequest(correlation_id=i, request=_crowd_request(x))
                    await stream.write(message.SerializeToString())
                await stream.done_writing()

            sending = asyncio.create_task(send())
            answers = [prediction_pb2.PredictStreamResponse.FromString(data) async for data in stream]
            await sending
            assert [answer.correlation_id for answer in answers] == list(range(BURST))
            for x, answer in zip(numbers, answers, strict=True):
                assert answer.HasField("error") == (x < 0)
                if x >= 0:
                    rows, company = _told(answer.response.SerializeToString())
                    assert rows == [x]
                    companies.add(company)
    assert max(companies) <= MOST
