"""What the spans of a call say of its explanation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import time_ns

import numpy as np
import pytest
from numpy.typing import NDArray

from scorewire_proto.v1 import prediction_pb2
from tests import bundles
from tests.conformance.traced import SAMPLED, SCORED, Start, Traced, assert_nested, stages, starting
from tests.conformance.wire import PREDICT, PREDICT_STREAM, sum_request
from tests.tree_bundles import Trees, write_trees_bundle

EXPLAINED = ["decode", "route", "explain", "run", "encode"]
TREES = Trees(count=12, features=5)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A model that can be explained, and one that cannot."""
    folder = tmp_path_factory.mktemp("models")
    return [write_trees_bundle(folder, TREES), bundles.write_sum_bundle(folder)]


@pytest.fixture
async def start(engine: str, models: list[Path], tmp_path: Path) -> AsyncIterator[Start]:
    async with starting(engine, models, tmp_path) as start:
        yield start


def explained(rows: NDArray[np.float64], *, explain: bool = True) -> bytes:
    """A request to score rows and, unless told otherwise, to explain them."""
    request = prediction_pb2.PredictRequest(model="trees", rows=prediction_pb2.Rows(row_count=len(rows)))
    request.rows.numbers.extend(rows.ravel().tolist())
    if explain:
        request.explain.SetInParent()
    return request.SerializeToString()


def assert_explained(call: Traced, before_ns: int, after_ns: int) -> None:
    """A call has a stage for its explanation, which ends where the run begins."""
    assert stages(call) == EXPLAINED
    assert_nested(call, before_ns, after_ns)
    times = {name: (begin_ns, end_ns) for name, begin_ns, end_ns in call.stages}
    begin_ns, end_ns = times["explain"]
    assert begin_ns < end_ns == times["run"][0]


@pytest.mark.parametrize("row_count", [1, 3, 20_000])
async def test_only_an_explained_call_has_a_stage_for_it(start: Start, row_count: int) -> None:
    """The largest call is scored in a thread."""
    running, rows = await start(), TREES.rows(row_count)
    before = time_ns()
    await running.call(PREDICT, explained(rows), SAMPLED)
    call = running.one()
    assert_explained(call, before, time_ns())
    assert (call.model, call.rows, call.row_errors) == ("trees", row_count, 0)
    await running.call(PREDICT, explained(rows, explain=False), SAMPLED)
    assert stages(running.one()) == SCORED


async def test_the_stage_of_an_explanation_is_as_long_as_the_metrics_say(start: Start) -> None:
    running = await start()
    await running.call(PREDICT, explained(TREES.rows(1000)), SAMPLED)
    ((begin_ns, end_ns),) = [times for name, *times in running.one().stages if name == "explain"]
    assert end_ns - begin_ns == running.engine.statistics.versions["trees", "1.0.0"].explain.sum_ns


async def test_what_is_not_explained_has_no_stage_for_it(start: Start) -> None:
    running = await start()
    await running.call(PREDICT, explained(np.full((2, TREES.features), 1e31)), SAMPLED)
    call = running.one()
    assert stages(call) == ["decode", "route", "encode"]
    assert (call.rows, call.row_errors) == (2, 2)
    request = sum_request()
    request.explain.SetInParent()
    await running.fail(PREDICT, request.SerializeToString())
    call = running.one()
    assert (stages(call), call.reason) == (["decode", "route"], "NOT_EXPLAINED")


async def test_each_message_of_a_stream_has_a_stage_for_its_own_explanation(start: Start) -> None:
    running, rows, before = await start(), TREES.rows(2), time_ns()
    messages = [
        prediction_pb2.PredictStreamRequest(
            request=prediction_pb2.PredictRequest.FromString(explained(rows, explain=explain))
        ).SerializeToString()
        for explain in (True, False)
    ]
    assert len(await running.stream(PREDICT_STREAM, messages, SAMPLED)) == 2
    first, second, _ = await running.take_some(3)
    assert_explained(first, before, time_ns())
    assert stages(second) == SCORED


async def test_calls_that_are_explained_together_have_a_stage_for_it_each(start: Start) -> None:
    running, rows, before = await start(), TREES.rows(100), time_ns()
    requests = [explained(rows[i : i + 1], explain=i % 3 > 0) for i in range(100)]
    await asyncio.gather(*(running.call(PREDICT, request, SAMPLED) for request in requests))
    calls, after = running.take(), time_ns()
    plain = [call for call in calls if stages(call) == SCORED]
    assert (len(plain), len(calls)) == (34, 100)
    for call in calls:
        if call not in plain:
            assert_explained(call, before, after)
