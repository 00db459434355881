from __future__ import annotations

import asyncio
import contextlib
import decimal
import itertools
import random
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scorewire import (
    AsyncClient,
    Client,
    Code,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    InvalidRowsError,
    NotFoundError,
    Prediction,
    Predictions,
    ResourceExhaustedError,
    UnavailableError,
    _flows,
)
from scorewire._attempts import FailurePolicy
from scorewire._codec import Codec
from scorewire._flows import Flows
from scorewire._models import Feature, FeatureKind, Model, ModelStatus, Output, OutputKind, Schema
from scorewire._stream import StreamWindow
from scorewire._stream_steps import Emit, Open, Receive, Send, TakeRows
from scorewire.testing import FakeServer
from scorewire_proto.v1 import packed_pb2
from tests.fake_models import SUM
from tests.scorewire.conftest import TEXT
from tests.scorewire.test_client import REORDERED, methods, wait_until


class _SourceError(Exception):
    pass


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "scorewire-stream"]


@pytest.mark.parametrize("look_ahead", [1, 2, 8, 1000])
def test_results_come_in_the_order_of_the_batches(client: Any, look_ahead: int) -> None:
    results = client.predict_stream("sum", ({"x": i} for i in range(100)), look_ahead=look_ahead)
    assert [result.score for result in results] == list(range(100))
    assert isinstance(results[0], Prediction)


def test_batches_of_any_shape_may_follow_each_other(client: Any) -> None:
    one, two, three = client.predict_stream("sum", [{"x": 1}, np.ones((3, 2)), [{"x": 1, "y": 2}, {"x": 3}]])
    assert isinstance(one, Prediction)
    assert isinstance(two, Predictions)
    assert two.scores.tolist() == [2, 2, 2]
    assert three.scores.tolist() == [3, 3]


def test_each_row_of_a_stream_has_the_id_of_its_message_and_its_place(
    client: Any, server: FakeServer
) -> None:
    server.records = True
    results = client.predict_stream("sum", [{"x": 1}, {"x": 2}, np.ones((2, 2))])
    one, two, batch = results
    ids = [one.id, two.id, *batch.ids]
    assert len(set(ids)) == 4
    assert one.id.endswith("-0/0")
    assert [each.partition("/")[2] for each in batch.ids] == ["0", "1"]


def test_no_batches_give_no_results(client: Any) -> None:
    assert client.predict_stream("sum", []) == []


def test_a_stream_uses_the_version_and_the_routing_key(client: Any, server: FakeServer) -> None:
    client.predict_stream("sum", [{"x": 1}], version="1.0.0", routing_key="k")
    call = server.calls[-1]
    assert (call.method, call.version, call.routing_key) == ("PredictStream", "1.0.0", "k")


def test_batches_are_taken_no_further_than_the_look_ahead(server: FakeServer) -> None:
    taken = 0

    def batches() -> Iterator[dict[str, float]]:
        nonlocal taken
        for taken in range(1, 31):
            yield {"x": taken}

    with Client(server.address) as client:
        results = client.predict_stream("sum", batches(), look_ahead=4)
        assert taken == 0
        for count, _ in enumerate(results):
            assert taken <= count + 4
    assert taken == 30


async def test_batches_may_come_from_an_async_iterable(server: FakeServer) -> None:
    taken = 0

    async def batches() -> AsyncIterator[dict[str, float]]:
        nonlocal taken
        for taken in range(1, 31):
            yield {"x": taken}

    async with AsyncClient(server.address) as client:
        count = 0
        async for result in client.predict_stream("sum", batches(), look_ahead=4):
            count += 1
            assert result.score == count
            assert taken <= count + 3
    assert (taken, count) == (30, 30)


def test_with_a_look_ahead_of_one_a_result_may_make_the_next_batch(server: FakeServer) -> None:
    results: list[float] = []

    def batches() -> Iterator[dict[str, float]]:
        yield {"x": 1}
        while results[-1] < 100:
            yield {"x": results[-1], "y": results[-1]}

    with Client(server.address) as client:
        for prediction in client.predict_stream("sum", batches(), look_ahead=1):
            results.append(prediction.score)  # noqa: PERF401 - the batches read it meanwhile
    assert results == [1, 2, 4, 8, 16, 32, 64, 128]


def test_large_messages_both_ways_do_not_lock_each_other(client: Any) -> None:
    batches = [np.full((12_000, 2), i) for i in range(4)]
    results = client.predict_stream("sum", batches, timeout=60)
    assert [result.scores.sum() for result in results] == [24_000 * i for i in range(4)]


# Rows that are given alone


def test_rows_given_alone_travel_together(client: Any, server: FakeServer) -> None:
    results = client.predict_stream("sum", ({"x": i} for i in range(5000)))
    assert [result.score for result in results] == list(range(5000))
    sizes = [len(call.rows) for call in server.calls if call.method == "PredictStream"]
    assert sum(sizes) == 5000
    # The first row does not wait for others.
    assert sizes[0] == 1
    assert max(sizes) <= 1000
    assert len(sizes) < 100


def test_a_row_is_sent_while_the_next_one_is_awaited(server: FakeServer) -> None:
    """Rows that wait for a response go with it, although the caller's next row does not come."""
    arrived = threading.Event()

    def seen() -> int:
        return sum(len(call.rows) for call in server.calls)

    def batches() -> Iterator[dict[str, float]]:
        yield from ({"x": i} for i in range(50))
        assert wait_until(lambda: seen() == 50)
        arrived.set()
        yield {"x": 50}

    with Client(server.address) as client:
        assert [result.score for result in client.predict_stream("sum", batches())] == list(range(51))
    assert arrived.is_set()


async def test_a_row_is_sent_while_the_next_one_is_awaited_in_a_loop(server: FakeServer) -> None:
    def seen() -> bool:
        return sum(len(call.rows) for call in server.calls) == 50

    async def batches() -> AsyncIterator[dict[str, float]]:
        for i in range(50):
            yield {"x": i}
        assert await asyncio.to_thread(wait_until, seen)
        yield {"x": 50}

    async with AsyncClient(server.address) as client:
        results = [result.score async for result in client.predict_stream("sum", batches())]
    assert results == list(range(51))


def test_a_result_does_not_wait_for_the_look_ahead_to_fill(server: FakeServer) -> None:
    results: list[float] = []

    def batches() -> Iterator[dict[str, float]]:
        yield {"x": 0}
        assert wait_until(lambda: any(call.method == "PredictStream" for call in server.calls))
        # The response to the first row is on its way: it comes before a few more rows are taken.
        for i in range(1, 100_000):
            if results:
                return
            yield {"x": i}

    with Client(server.address) as client:
        for result in client.predict_stream("sum", batches()):
            results.append(result.score)  # noqa: PERF401 - the batches read it meanwhile
    assert results == list(range(len(results)))
    assert len(results) < 8000


async def test_a_result_does_not_wait_for_the_next_row_in_a_loop(server: FakeServer) -> None:
    given = asyncio.Event()
    tasks = set()

    async def batches() -> AsyncIterator[Any]:
        for rows in ({"x": 1}, np.ones((2, 2)), {"x": 3}):
            given.clear()
            yield rows
            await given.wait()
            tasks.add(asyncio.current_task())

    async with AsyncClient(server.address) as client:
        results = []
        async for result in client.predict_stream("sum", batches(), timeout=60):
            results.append(result)
            given.set()
    assert [type(result).__name__ for result in results] == ["Prediction", "Predictions", "Prediction"]
    # A timeout around `yield` belongs to one task.
    assert len(tasks) == 1


async def test_rows_of_an_async_iterable_may_be_changed_once_they_were_taken(server: FakeServer) -> None:
    async def batches() -> AsyncIterator[dict[str, float]]:
        row = {"x": 0.0}
        for i in range(300):
            row["x"] = i
            yield row

    async with AsyncClient(server.address) as client:
        results = [result.score async for result in client.predict_stream("sum", batches())]
    assert results == list(range(300))


async def test_batches_of_an_async_iterable_are_taken_one_by_one(server: FakeServer) -> None:
    taken = 0

    async def batches() -> AsyncIterator[np.ndarray[Any, Any]]:
        nonlocal taken
        rows = np.ones((1, 2))
        for taken in range(1, 101):
            rows[:] = taken
            yield rows

    async with AsyncClient(server.address) as client:
        count = 0
        async for result in client.predict_stream("sum", batches()):
            count += 1
            assert result.scores[0] == 2 * count
            assert taken <= count + 8
    assert count == 100


async def test_an_async_iterable_ends_with_the_stream(server: FakeServer) -> None:
    ended = False

    async def batches() -> AsyncIterator[dict[str, float]]:
        nonlocal ended
        try:
            yield {"x": 1}
            await asyncio.Event().wait()
        finally:
            ended = True

    async with AsyncClient(server.address) as client:
        async with contextlib.aclosing(client.predict_stream("sum", batches())) as results:
            assert (await anext(results)).score == 1
        assert ended


async def test_an_error_of_an_async_iterable_passes_after_the_rows_before_it(server: FakeServer) -> None:
    async def batches() -> AsyncIterator[dict[str, float]]:
        yield {"x": 1}
        raise _SourceError

    async with AsyncClient(server.address) as client:
        with pytest.raises(_SourceError):
            async for _ in client.predict_stream("sum", batches()):
                pass
    assert methods(server).count("PredictStream") <= 1


def test_a_row_may_be_changed_once_it_was_taken(client: Any) -> None:
    def batches() -> Iterator[dict[str, float]]:
        row = {"x": 0.0}
        for i in range(200):
            row["x"] = i
            yield row

    assert [result.score for result in client.predict_stream("sum", batches())] == list(range(200))


def test_each_of_the_rows_that_travel_together_has_its_own_error(client: Any) -> None:
    rows = [
        {"age": 10, "country": "pe"},
        {"age": None, "country": "pe"},
        {"contry": "pe"},
        {"age": "many", "country": "pe"},
        {"age": 30, "country": "pe"},
        {"age": None, "country": "de"},
    ]
    results = client.predict_stream("churn", rows * 20, on_error="yield")
    assert len(results) == 120
    for i, result in enumerate(results):
        row = rows[i % 6]
        if i % 6 in {2, 3}:
            assert isinstance(result, InvalidRowsError)
            assert result.violations[0].field == ("rows[0].contry" if i % 6 == 2 else "rows[0].age")
        elif row["age"] is None:
            assert (result.error.row, result.error.reason) == (0, "MISSING_VALUE")
        else:
            assert result.score == row["age"] / 100  # type: ignore[operator]  # a number


class Moody(decimal.Decimal):
    def __float__(self) -> float:
        raise _SourceError


def test_an_error_of_a_value_reaches_the_caller(client: Any) -> None:
    rows = [{"x": i} for i in range(50)] + [{"x": Moody(1)}]
    with pytest.raises(_SourceError):
        client.predict_stream("sum", rows)
    assert readers() == []


def test_long_texts_fill_a_frame_sooner(client: Any, server: FakeServer) -> None:
    word = "x" * 100_000
    results = client.predict_stream("text", ({"word": word} for _ in range(60)))
    assert [result.score for result in results] == [100_000] * 60
    assert max(len(call.rows) for call in server.calls) <= 11


def test_a_required_feature_left_out_is_the_rows_error(client: Any, server: FakeServer) -> None:
    server.serve(replace(SUM, required=("y",)))
    with pytest.raises(InvalidRowsError, match=r"rows\.y: no row names this feature"):
        client.predict_stream("sum", [{"x": 1}])
    bad, good = client.predict_stream("sum", [{"x": 1}, {"x": 1, "y": 2}], on_error="yield")
    assert isinstance(bad, InvalidRowsError)
    assert good.score == 3


# Limits


def test_batches_beyond_the_limits_are_sent_in_parts(client: Any, server: FakeServer) -> None:
    server.max_rows = 7
    rows = np.arange(60.0).reshape(30, 2)
    whole, alone, half = client.predict_stream("sum", [rows, {"x": 1}, rows[:15]])
    assert whole.scores.tolist() == rows.sum(axis=1).tolist()
    assert alone.score == 1
    assert half.scores.tolist() == rows[:15].sum(axis=1).tolist()
    assert max(len(call.rows) for call in server.calls) <= 7


def test_a_row_beyond_the_limits_is_an_error_of_its_own(connect: Any) -> None:
    """Neither the rows that travel with it nor the stream suffer."""
    rows = [{"word": "x" * (5000 if i in {0, 30} else i)} for i in range(60)]
    with FakeServer(TEXT, max_message_bytes=4000) as server:
        results = connect(server.address).predict_stream("text", rows, on_error="yield")
        for i, result in enumerate(results):
            if i in {0, 30}:
                assert isinstance(result, ResourceExhaustedError)
                assert "rows[0] makes a message larger than max_message_bytes (51" in str(result)
            else:
                assert result.score == i
        batches = [rows[1:30], rows[1:31], rows[:1]]
        good, *bad = connect(server.address).predict_stream("text", batches, on_error="yield")
        assert good.scores.tolist() == list(range(1, 30))
        assert [str(error)[:8] for error in bad] == ["rows[29]", "rows[0] "]


def test_a_row_close_to_the_limits_does_not_end_the_stream(connect: Any) -> None:
    """A stream adds a few bytes to what a row takes in a call."""
    sizes = [*range(3800, 4020), 10]
    rows = [[{"word": "x" * size}] for size in sizes]
    with FakeServer(TEXT, max_message_bytes=4000) as server:
        results = connect(server.address).predict_stream("text", rows, on_error="yield")
    refused = [
        size for size, result in zip(sizes, results, strict=True) if not isinstance(result, Predictions)
    ]
    assert refused
    assert refused == list(range(refused[0], 4020))
    assert all(isinstance(result, Predictions | ResourceExhaustedError) for result in results)


def test_a_limit_that_sinks_midway_is_kept_to(client: Any, server: FakeServer) -> None:
    rows = np.arange(60.0).reshape(30, 2)

    def batches() -> Iterator[Any]:
        yield rows
        server.max_rows = 4
        yield rows
        yield from ({"x": i} for i in range(20))

    first, second, *others = client.predict_stream("sum", batches(), look_ahead=1)
    assert first.scores.tolist() == second.scores.tolist() == rows.sum(axis=1).tolist()
    assert [other.score for other in others] == list(range(20))


# Bad batches


def test_a_bad_batch_ends_the_stream_unless_told_otherwise(client: Any, server: FakeServer) -> None:
    taken: list[int] = []

    def batches() -> Iterator[dict[str, float]]:
        for i in itertools.count():
            taken.append(i)
            yield {"z" if i == 2 else "x": i}

    with pytest.raises(InvalidRowsError, match="'z' is not a feature"):
        client.predict_stream("sum", batches(), look_ahead=2)
    assert taken in ([0, 1, 2], [0, 1, 2, 3])
    assert methods(server).count("PredictStream") <= 3


def test_a_bad_batch_may_keep_its_place_as_its_error(client: Any, server: FakeServer) -> None:
    server.fail(Code.RESOURCE_EXHAUSTED, "too many", reason="TOO_MANY_ROWS")
    results = client.predict_stream("sum", [{"x": 1}, {"z": 2}, {"x": "3"}, {"x": 4}], on_error="yield")
    assert [type(result).__name__ for result in results] == [
        "ResourceExhaustedError",
        "InvalidRowsError",
        "InvalidRowsError",
        "Prediction",
    ]
    assert results[0].reason == "TOO_MANY_ROWS"
    assert results[3].score == 4


@pytest.mark.parametrize("mismatch", [False, True])
def test_a_schema_that_is_not_there_is_an_error_of_the_batch(
    client: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch, mismatch: bool
) -> None:
    """The schema is asked for again because of one batch, and its absence is no error of the others."""
    monkeypatch.setattr(_flows, "RECHECK_SECONDS", 0)

    def batches() -> Iterator[dict[str, float]]:
        yield {"x": 1}
        server.fail(Code.NOT_FOUND, "no such model", method="GetModel")
        if mismatch:
            server.fail(Code.FAILED_PRECONDITION, "another schema", reason="SCHEMA_MISMATCH")
        yield {"x" if mismatch else "z": 2}
        yield {"x": 3}

    first, bad, last = client.predict_stream("sum", batches(), look_ahead=1, on_error="yield")
    assert (first.score, last.score) == (1, 3)
    assert isinstance(bad, NotFoundError)


def test_unavailable_for_a_message_is_its_error(client: Any, server: FakeServer) -> None:
    server.fail(Code.UNAVAILABLE, "loading", reason="VERSION_UNAVAILABLE")
    bad, good = client.predict_stream("sum", [{"x": 1}, {"x": 2}], on_error="yield")
    assert isinstance(bad, UnavailableError)
    assert good.score == 2


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"look_ahead": 0}, ValueError),
        ({"on_error": "ignore"}, ValueError),
        ({"version": 1}, InvalidArgumentError),
    ],
)
def test_wrong_settings_are_refused_before_the_first_result(
    server: FakeServer, settings: dict[str, Any], error: type[Exception]
) -> None:
    with Client(server.address) as client, pytest.raises(error):
        client.predict_stream("sum", [{"x": 1}], **settings)
    with pytest.raises(error):
        AsyncClient(server.address).predict_stream("sum", [{"x": 1}], **settings)


# Ends


@pytest.mark.parametrize("batch", [{"x": 1.0}, pd.DataFrame({"x": [1.0], "y": [2.0]}), np.zeros((3, 2))])
def test_one_batch_in_place_of_batches_is_refused_at_once(server: FakeServer, batch: Any) -> None:
    with (
        Client(server.address) as client,
        pytest.raises(InvalidRowsError, match=rf"this {type(batch).__name__} is one: pass \[rows\]"),
    ):
        client.predict_stream("sum", batch)


def test_an_array_of_batches_is_an_iterable_of_them(client: Any) -> None:
    results = client.predict_stream("sum", np.arange(12.0).reshape(3, 2, 2))
    assert [result.scores.tolist() for result in results] == [[1, 5], [9, 13], [17, 21]]


def test_an_error_of_the_caller_passes_and_closes_the_stream(client: Any) -> None:
    def batches() -> Iterator[dict[str, float]]:
        yield {"x": 1}
        raise _SourceError

    with pytest.raises(_SourceError):
        client.predict_stream("sum", batches())
    assert readers() == []


def test_a_stream_left_early_is_closed(server: FakeServer) -> None:
    with Client(server.address) as client:
        with contextlib.closing(
            client.predict_stream("sum", ({"x": i} for i in itertools.count()))
        ) as results:
            assert next(results).score == 0
            assert len(readers()) == 1
        assert readers() == []
        assert client.predict("sum", {"x": 5}).score == 5


async def test_an_async_stream_left_early_is_closed(server: FakeServer) -> None:
    async with AsyncClient(server.address) as client:
        stream = client.predict_stream("sum", ({"x": i} for i in itertools.count()))
        async with contextlib.aclosing(stream) as results:
            assert (await anext(results)).score == 0
        assert (await client.predict("sum", {"x": 5})).score == 5


def test_an_answer_that_does_not_come_ends_the_stream(client: Any, server: FakeServer) -> None:
    client.predict("sum", {"x": 1})
    server.delay = 60
    with pytest.raises(DeadlineExceededError, match="no response within 0.1 s"):
        client.predict_stream("sum", [{"x": 1}], timeout=0.1)
    assert readers() == []


# Changes of schema


def test_a_schema_that_changes_midway_is_fetched_anew(client: Any, server: FakeServer) -> None:
    def batches() -> Iterator[dict[str, float]]:
        for i in range(20):
            if i == 10:
                server.serve(REORDERED)
            yield {"x": i}

    results = client.predict_stream("sum", batches(), look_ahead=4, on_error="yield")
    scores = [result.score for result in results if isinstance(result, Prediction)]
    assert scores == list(range(20))
    assert methods(server).count("GetModel") == 2


def test_a_schema_that_never_fits_is_the_batchs_error(client: Any, server: FakeServer) -> None:
    server.fail(Code.FAILED_PRECONDITION, "never", times=2, reason="SCHEMA_MISMATCH")
    bad, good = client.predict_stream("sum", [{"x": 1}, {"x": 2}], on_error="yield", look_ahead=1)
    assert isinstance(bad, FailedPreconditionError)
    assert good.score == 2


# Broken connections


def test_a_stream_that_breaks_is_opened_anew(client: Any, server: FakeServer) -> None:
    def batches() -> Iterator[dict[str, float]]:
        for i in range(30):
            if i in {10, 20}:
                server.fail(Code.UNAVAILABLE, "gone", method="PredictStream")
            yield {"x": i}

    results = client.predict_stream("sum", batches(), look_ahead=4)
    assert [result.score for result in results] == list(range(30))


def test_a_server_that_drains_is_left_for_another(client: Any, server: FakeServer) -> None:
    def batches() -> Iterator[dict[str, float]]:
        for i in range(10):
            if i == 5:
                server.fail(Code.UNAVAILABLE, "draining", reason="DRAINING")
            yield {"x": i}

    results = client.predict_stream("sum", batches(), look_ahead=3)
    assert [result.score for result in results] == list(range(10))


def test_a_stream_that_keeps_breaking_fails(client: Any, server: FakeServer) -> None:
    server.fail(Code.UNAVAILABLE, "gone", times=100, method="PredictStream")
    with pytest.raises(UnavailableError, match="gone"):
        client.predict_stream("sum", [{"x": 1}], on_error="yield")


def test_a_stream_that_fails_otherwise_is_not_opened_anew(client: Any, server: FakeServer) -> None:
    server.fail(Code.INTERNAL, "broken", method="PredictStream")
    with pytest.raises(InternalError, match="broken"):
        client.predict_stream("sum", [{"x": 1}], on_error="yield")


def test_a_server_that_stops_midway_is_unavailable(connect: Any) -> None:
    with FakeServer(REORDERED) as server:
        client = connect(server.address)

        def batches() -> Iterator[dict[str, float]]:
            yield {"x": 1, "z": 0}
            server.stop()
            yield {"x": 2, "z": 0}

        with pytest.raises(UnavailableError):
            client.predict_stream("sum", batches(), look_ahead=1)


# Everything together


def outcome(result: Any) -> Any:
    """What a result says, in a form that can be compared."""
    if isinstance(result, InvalidRowsError):
        return "refused", result.violations[0].field
    if isinstance(result, Prediction):
        return ("missing", result.error.row) if result.error else ("score", result.score)
    return "scores", result.scores.tolist()


def wanted(rows: Any) -> Any:
    """The outcome for rows of a model that adds `x` and `y` and requires `x`."""
    if not isinstance(rows, dict):
        return "scores", [row["x"] + row["y"] for row in rows]
    if wrong := set(rows) - {"x", "y"}:
        return "refused", f"rows[0].{wrong.pop()}"
    if "x" not in rows:
        return "refused", "rows.x"
    if isinstance(rows["x"], str):
        return "refused", "rows[0].x"
    return ("missing", 0) if rows["x"] is None else ("score", rows["x"] + (rows.get("y") or 0))


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_each_of_the_rows_has_its_result(connect: Any, seed: int) -> None:
    draw = random.Random(seed)
    items: list[Any] = []
    for i in range(300):
        kind = draw.randrange(12)
        unusual = [{"y": i}, {"x": "s"}, {"z": 1, "x": 1}, {"x": None}]
        if kind < len(unusual):
            items.append(unusual[kind])
        elif kind < 7:
            items.append([{"x": i + j, "y": 1} for j in range(draw.choice([1, 2, 15]))])
        else:
            items.append({"x": i, "y": draw.choice([None, 2])} if kind < 10 else {"x": i})
    with FakeServer(replace(SUM, required=["x"])) as server:
        client = connect(server.address, max_message_bytes=draw.choice([400, 5_000, 1 << 24]))

        def batches() -> Iterator[Any]:
            for number, rows in enumerate(items):
                if number in {100, 200}:
                    server.fail(Code.UNAVAILABLE, "draining", reason="DRAINING")
                if number == 150:
                    server.fail(Code.UNAVAILABLE, "gone", method="PredictStream")
                if number % 40 == 0:
                    server.max_rows = draw.choice([0, 2, 7])
                yield rows

        look_ahead = draw.choice([None, 1, 5, 100])
        results = client.predict_stream("sum", batches(), look_ahead=look_ahead, on_error="yield", timeout=60)
    assert [outcome(result) for result in results] == [wanted(rows) for rows in items]


# The window by itself


def _window(look_ahead: int = 2) -> tuple[StreamWindow, Codec]:
    schema = Schema(
        features=(Feature(name="x", kind=FeatureKind.NUMBER),),
        outputs=(Output(name="value", kind=OutputKind.NUMBER),),
        fingerprint="f",
    )
    status = ModelStatus(name="m", default_version="1.0.0", versions=())
    model = Model(status=status, version="1.0.0", schema=schema, description="", metrics={}, created_at=None)
    codec = Codec(model)
    flows = Flows(1.0)
    flows._codecs["m", "", b""] = codec
    window = StreamWindow(
        flows,
        FailurePolicy(),
        "m",
        version="",
        routing_key="",
        timeout=None,
        look_ahead=look_ahead,
        on_error="raise",
    )
    return window, codec


def _answer(number: int, value: float) -> packed_pb2.PackedPredictStreamResponse:
    answer = packed_pb2.PackedPredictStreamResponse(correlation_id=number)
    answer.response.row_count = 1
    answer.response.outputs.add(name="value", numbers=[np.float64(value).tobytes()])
    return answer


def test_answers_out_of_order_still_leave_in_order() -> None:
    flow = _window()[0].flow()
    assert isinstance(next(flow), Open)
    assert isinstance(flow.send(None), TakeRows)
    assert isinstance(flow.send([{"x": 1}]), Send)
    assert isinstance(flow.send(None), TakeRows)
    assert isinstance(flow.send([{"x": 2}]), Send)
    assert isinstance(flow.send(None), Receive)
    assert isinstance(flow.send(_answer(2, 20)), Receive)
    emitted = flow.send(_answer(1, 10))
    assert isinstance(emitted, Emit)
    assert [result[0].score for result in emitted.results] == [10, 20]  # type: ignore[index]  # predictions


def test_an_answer_to_nothing_is_a_fault_of_the_server() -> None:
    flow = _window(look_ahead=1)[0].flow()
    assert isinstance(next(flow), Open)
    assert isinstance(flow.send(None), TakeRows)
    assert isinstance(flow.send([{"x": 1}]), Send)
    assert isinstance(flow.send(None), Receive)
    with pytest.raises(InternalError, match="request 7, which is not open"):
        flow.send(_answer(7, 1))


def test_a_second_answer_to_the_same_request_is_a_fault_of_the_server() -> None:
    flow = _window()[0].flow()
    for answer in (None, None, [{"x": 1}], None, [{"x": 2}], None):
        step = flow.send(answer)
    assert isinstance(step, Receive)
    assert isinstance(flow.send(_answer(2, 20)), Receive)
    with pytest.raises(InternalError, match="request 2, which is not open"):
        flow.send(_answer(2, 20))
