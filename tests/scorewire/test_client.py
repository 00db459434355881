from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pandas as pd
import psutil
import pytest

import scorewire
from scorewire import (
    AsyncClient,
    Client,
    Code,
    DeadlineExceededError,
    FailedPreconditionError,
    FeatureKind,
    InvalidArgumentError,
    InvalidRowsError,
    NotFoundError,
    OutputKind,
    Prediction,
    Predictions,
    ScorewireError,
    UnavailableError,
    VersionState,
    _flows,
)
from scorewire._models import schema_from
from scorewire.testing import FakeModel, FakeServer
from scorewire_proto.v1 import schema_pb2
from tests.fake_models import CHURN, SUM
from tests.scorewire.conftest import TEXT


def methods(server: FakeServer) -> list[str]:
    return [call.method for call in server.calls]


def wait_until(condition: Callable[[], bool]) -> bool:
    """Whether a condition becomes true within ten seconds."""
    pause = threading.Event()
    return any(condition() or pause.wait(0.01) for _ in range(1000))


def test_predictions_of_a_server_that_records_have_ids(client: Any, server: FakeServer) -> None:
    server.records = True
    prediction = client.predict("sum", {"x": 1})
    writer, _, number = prediction.id.rpartition("-")
    assert number == "0/0"
    # Rows beyond the limit go in two calls.
    server.max_rows = 2
    batch = client.predict("sum", np.ones((3, 2)))
    first = batch.ids[0].removesuffix("/0")
    calls = {each.partition("/")[0] for each in batch.ids}
    assert first.startswith(writer)
    assert len(calls) == 2
    assert [each.partition("/")[2] for each in batch.ids] == ["0", "1", "0"]
    assert [each.id for each in batch] == list(batch.ids)
    assert batch[-1].id == batch.ids[-1]
    assert list(batch.to_pandas(ids=True)["record_id"]) == list(batch.ids)
    assert "record_id" not in batch.to_pandas()


def test_predictions_of_other_servers_have_none(client: Any) -> None:
    assert client.predict("sum", {"x": 1}).id == ""
    batch = client.predict("sum", np.ones((2, 2)))
    assert batch.ids == ("", "")
    assert batch[1].id == ""
    assert batch.columns(ids=True)["record_id"] == [None, None]


def test_one_dict_is_answered_by_one_prediction(client: Any, server: FakeServer) -> None:
    prediction = client.predict("churn", {"age": 40, "country": "pe"}, routing_key="user-7")
    assert isinstance(prediction, Prediction)
    assert prediction.score == 0.4
    assert prediction.label == "no"
    assert prediction.outputs["probabilities"].tolist() == [0.6, 0.4]
    assert prediction.error is None
    assert (prediction.model, prediction.version) == ("churn", "1.0.0")
    assert server.calls[-1].rows == ({"age": 40.0, "country": "pe"},)
    assert server.calls[-1].routing_key == "user-7"


ROWS = [{"age": 80, "country": "pe"}, {"age": None, "country": "de"}]


@pytest.mark.parametrize(
    "rows", [ROWS, tuple(ROWS), np.array([[80, "pe"], [None, "de"]], dtype=object), pd.DataFrame(ROWS)]
)
def test_a_batch_in_any_shape_is_answered_by_predictions(client: Any, rows: Any) -> None:
    predictions = client.predict("churn", rows)
    assert isinstance(predictions, Predictions)
    assert predictions.labels == ("yes", None)
    assert predictions.scores[0] == 0.8
    assert [(error.row, error.reason, error.feature) for error in predictions.errors] == [
        (1, "MISSING_VALUE", "age")
    ]


def test_wrong_rows_are_found_before_anything_is_sent(client: Any, server: FakeServer) -> None:
    with pytest.raises(InvalidRowsError, match="did you mean 'country'"):
        client.predict("churn", {"contry": "pe"})
    assert methods(server) == ["GetModel"]


def test_a_required_feature_left_out_is_found_before_anything_is_sent(
    client: Any, server: FakeServer
) -> None:
    server.serve(replace(CHURN, required=("age",)))
    text = r"rows\.age: no row names this feature of the model: give it, as None where missing"
    for rows in ({"country": "pe"}, [{"country": "pe"}], pd.DataFrame({"country": ["pe"]})):
        with pytest.raises(InvalidRowsError, match=text):
            client.predict("churn", rows)
    assert methods(server) == ["GetModel"]
    assert client.predict("churn", {"age": 1}).score == 0.25
    assert client.predict("churn", {"age": None}).error.reason == "MISSING_VALUE"


@pytest.mark.parametrize("texts", [{}, {"country": "pe"}, {"country": "Perú"}, {"country": "x" * 300}])
def test_one_row_is_the_same_request_as_a_batch_of_one(client: Any, server: FakeServer, texts: Any) -> None:
    for named in ({}, {"version": "1.0.0"}, {"routing_key": "k"}, {"version": "1.0.0", "routing_key": "é"}):
        row = {"age": 4, **texts}
        one, (other,) = client.predict("churn", row, **named), client.predict("churn", [row], **named)
        assert repr(one) == repr(other)
        assert server.calls[-1] == server.calls[-2]


@pytest.mark.parametrize("arguments", [{"version": None}, {"routing_key": 7}, {"routing_key": "\ud800"}])
def test_wrong_arguments_are_refused(client: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(arguments))):
        client.predict("churn", {"age": 1}, **arguments)


def test_a_features_limits_are_those_of_its_magnitude_where_none_is_narrower() -> None:
    message = schema_pb2.Schema()
    message.features.add(name="x", kind=schema_pb2.FEATURE_KIND_NUMBER, magnitude_limit=5, lower_limit=0)
    message.features.add(name="y", kind=schema_pb2.FEATURE_KIND_NUMBER, magnitude_limit=5, upper_limit=-1)
    x, y = schema_from(message).features
    assert (x.lower_limit, x.upper_limit) == (0.0, 5.0)
    assert (y.lower_limit, y.upper_limit) == (-5.0, -1.0)


def test_models_and_schemas_are_told(client: Any, server: FakeServer) -> None:
    server.serve(replace(CHURN, version="1.2.0"))
    churn, total, text = client.models()
    assert [churn.name, total.name, text.name] == ["churn", "sum", "text"]
    assert churn.default_version == "1.2.0"
    assert [version.version for version in churn.versions] == ["1.2.0", "1.0.0"]
    assert churn.versions[0].state is VersionState.SERVING
    assert churn.versions[0].serving_since.utcoffset().total_seconds() == 0
    model = client.model("churn", "1.0.0")
    assert (model.name, model.version, model.description) == ("churn", "1.0.0", "Who leaves.")
    assert model.metrics == {"auc": 0.75}
    assert model.created_at is None
    assert [(f.name, f.kind) for f in model.schema.features] == [
        ("age", FeatureKind.NUMBER),
        ("country", FeatureKind.TEXT),
    ]
    assert [(o.name, o.kind, o.width, o.class_labels) for o in model.schema.outputs] == [
        ("probabilities", OutputKind.PROBABILITY, 2, ("no", "yes")),
        ("label", OutputKind.CLASS, 1, ("no", "yes")),
    ]
    assert client.model("churn").version == "1.2.0"
    assert client.predict("churn", {"age": 1}, version="1.0.0").version == "1.0.0"


def test_what_is_not_there_is_not_found(client: Any) -> None:
    for call in (
        lambda: client.predict("absent", {"x": 1}),
        lambda: client.model("absent"),
        lambda: client.health("absent"),
        lambda: client.predict_stream("absent", [{"x": 1}]),
    ):
        with pytest.raises(NotFoundError) as caught:
            call()
        assert caught.value.reason == "MODEL_NOT_FOUND"
    with pytest.raises(NotFoundError) as caught:
        client.predict("sum", {"x": 1}, version="9.9.9")
    assert caught.value.reason == "VERSION_NOT_FOUND"


def test_health_follows_the_server(client: Any, server: FakeServer) -> None:
    assert client.health() is True
    assert client.health("churn") is True
    server.serving = False
    assert client.health() is False


# Schemas


def test_a_schema_is_fetched_once_for_each_model_and_version(client: Any, server: FakeServer) -> None:
    for _ in range(3):
        client.predict("sum", {"x": 1})
        client.predict("sum", {"x": 1}, version="1.0.0")
        client.predict_stream("sum", [{"x": 1}])
    assert methods(server).count("GetModel") == 2


REORDERED = FakeModel(
    name="sum", features={"z": float, "x": float}, score=lambda row: 10 * (row["z"] or 0) + row["x"]
)


def test_a_schema_that_changed_is_fetched_anew(client: Any, server: FakeServer) -> None:
    assert client.predict("sum", {"x": 1, "y": 2}).score == 3
    server.serve(REORDERED)
    assert client.predict("sum", {"x": 1}).score == 1
    assert methods(server) == ["GetModel", "Predict", "Predict", "GetModel", "Predict"]
    assert server.calls[-1].rows == ({"z": None, "x": 1.0},)


def test_rows_for_a_newer_schema_are_held_against_it(
    client: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.predict("sum", {"x": 1, "y": 2})
    server.serve(REORDERED)
    # A schema that was just fetched is not fetched again.
    with pytest.raises(InvalidRowsError, match="'z' is not a feature"):
        client.predict("sum", {"x": 1, "z": 2})
    monkeypatch.setattr(_flows, "RECHECK_SECONDS", 0.0)
    assert client.predict("sum", {"x": 1, "z": 2}).score == 21
    server.serve(SUM)
    assert [row.score for row in client.predict_stream("sum", [{"x": 1, "y": 2}])] == [3]
    with pytest.raises(InvalidRowsError, match="'q' is not a feature"):
        client.predict("sum", {"q": 1})


def test_rows_that_only_fit_the_old_schema_are_wrong_after_a_change(client: Any, server: FakeServer) -> None:
    client.predict("sum", {"x": 1, "y": 2})
    server.serve(REORDERED)
    with pytest.raises(InvalidRowsError, match="'y' is not a feature"):
        client.predict("sum", {"x": 1, "y": 2})


def test_a_schema_is_fetched_anew_once_only(client: Any, server: FakeServer) -> None:
    server.fail(Code.FAILED_PRECONDITION, "never right", times=5, reason="SCHEMA_MISMATCH")
    with pytest.raises(FailedPreconditionError, match="never right"):
        client.predict("sum", {"x": 1})
    assert methods(server) == ["GetModel", "Predict", "GetModel", "Predict"]


def test_schemas_remembered_are_bounded(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_flows, "MAX_SCHEMAS", 3)
    versions = [f"1.0.{i}" for i in range(4)]
    for version in versions:
        server.serve(replace(SUM, version=version))
    with Client(server.address) as client:
        for version in versions:
            client.predict("sum", {"x": 1}, version=version)
        server.calls.clear()
        client.predict("sum", {"x": 1}, version=versions[-1])
        client.predict("sum", {"x": 1}, version=versions[0])
    assert methods(server) == ["Predict", "GetModel", "Predict"]


# Limits


def sent(server: FakeServer) -> list[int]:
    return [len(call.rows) for call in server.calls if call.method == "Predict"]


@pytest.mark.parametrize("shape", [list, np.array, pd.DataFrame])
def test_more_rows_than_a_call_may_have_are_sent_in_several(
    client: Any, server: FakeServer, shape: Any
) -> None:
    server.max_rows = 4
    rows = [{"age": None if i in {3, 9} else i, "country": "pe"} for i in range(10)]
    batch = np.array([list(row.values()) for row in rows], dtype=object) if shape is np.array else shape(rows)
    predictions = client.predict("churn", batch, routing_key="k")
    assert sent(server) == [4, 4, 2]
    assert [error.row for error in predictions.errors] == [3, 9]
    assert [p.score for p in predictions if p.error is None] == [
        i / 100 for i in range(10) if i not in {3, 9}
    ]
    # All rows are scored by the version that scored the first ones.
    calls = [call for call in server.calls if call.method == "Predict"]
    assert [call.version for call in calls] == ["", "1.0.0", "1.0.0"]
    assert {call.routing_key for call in calls} == {"k"}


def test_a_release_in_between_does_not_score_the_rest(client: Any, server: FakeServer) -> None:
    server.max_rows = 1

    def score(row: dict[str, Any]) -> float:
        server.serve(replace(SUM, version="2.0.0", score=lambda _: -1.0))
        return float(row["x"])

    server.serve(replace(SUM, score=score))
    predictions = client.predict("sum", np.arange(8.0).reshape(4, 2))
    assert (predictions.version, predictions.scores.tolist()) == ("1.0.0", [0, 2, 4, 6])


def test_wrong_rows_beyond_the_first_call_are_found_before_it(client: Any, server: FakeServer) -> None:
    server.max_rows = 2
    with pytest.raises(InvalidRowsError, match=r"rows\[5\]\.x"):
        client.predict("sum", [{"x": i if i < 5 else "no", "y": 0} for i in range(6)])
    assert sent(server) == []


def test_messages_are_no_larger_than_the_server_takes(connect: Any) -> None:
    words = ["x" * (3000 if i == 7 else 10 + i % 90) for i in range(500)]
    with FakeServer(TEXT, max_message_bytes=4000) as server:
        predictions = connect(server.address).predict("text", [{"word": word} for word in words])
        assert predictions.scores.tolist() == [len(word) for word in words]
        assert len(sent(server)) > 5
        with pytest.raises(scorewire.ResourceExhaustedError):
            connect(server.address).predict("text", {"word": "x" * 4000})


def test_messages_are_no_larger_than_the_client_takes(connect: Any, server: FakeServer) -> None:
    client = connect(server.address, max_message_bytes=1500)
    rows = np.arange(400.0).reshape(200, 2)
    assert client.predict("sum", rows).scores.tolist() == rows.sum(axis=1).tolist()
    assert len(sent(server)) > 10


def test_texts_are_counted_as_the_wire_has_them(connect: Any) -> None:
    """A row is as large as its bytes: four for some characters, and one for others."""
    words = ["😀" * 40, "é" * 80, "x" * 160] * 20
    with FakeServer(TEXT, max_message_bytes=2000) as server:
        predictions = connect(server.address).predict("text", [{"word": word} for word in words])
        assert predictions.scores.tolist() == [len(word) for word in words]


def test_a_limit_that_has_sunk_is_fetched_anew(client: Any, server: FakeServer) -> None:
    rows = np.ones((10, 2))
    client.predict("sum", rows)
    server.max_rows = 4
    server.calls.clear()
    assert client.predict("sum", rows).scores.tolist() == [2] * 10
    assert methods(server) == ["Predict", "GetModel", "Predict", "Predict", "Predict"]


def test_a_limit_of_bytes_that_has_changed_is_fetched_anew(connect: Any) -> None:
    words = [{"word": "x" * 50}] * 100
    with FakeServer(TEXT) as server:
        client = connect(server.address)
        client.predict("text", words)
    with FakeServer(TEXT, port=server.port, max_message_bytes=2000) as smaller:
        client.wait_ready()
        assert client.predict("text", words).scores.tolist() == [50] * 100
        assert len(sent(smaller)) > 2
    with FakeServer(TEXT, port=server.port) as larger:
        client.wait_ready()
        assert client.predict("text", [{"word": "x" * 3000}] * 2).scores.tolist() == [3000] * 2
        assert sent(larger) == [2]


def test_a_row_beyond_the_limits_is_named_before_anything_is_sent(connect: Any) -> None:
    words = [{"word": "x" * (5000 if i == 70 else 50)} for i in range(100)]
    with FakeServer(TEXT, max_message_bytes=2000) as server:
        with pytest.raises(scorewire.ResourceExhaustedError, match=r"rows\[70\] .* \(51\d\d vs. 2000\)"):
            connect(server.address).predict("text", words)
        assert sent(server) == []


def test_a_limit_that_stands_is_the_callers_error(client: Any, server: FakeServer) -> None:
    server.fail(Code.RESOURCE_EXHAUSTED, "the answer is too long", reason="TOO_MANY_ROWS")
    with pytest.raises(scorewire.ResourceExhaustedError, match="the answer is too long"):
        client.predict("sum", np.ones((10, 2)))
    assert methods(server) == ["GetModel", "Predict", "GetModel"]


def test_the_timeout_is_that_of_all_parts(client: Any, server: FakeServer) -> None:
    server.max_rows = 1
    client.predict("sum", {"x": 1})
    server.delay = 0.1
    with pytest.raises(DeadlineExceededError):
        client.predict("sum", np.ones((50, 2)), timeout=0.5)
    assert len(sent(server)) < 10


# Deadlines and retries


def test_no_call_lasts_longer_than_its_timeout(client: Any, server: FakeServer) -> None:
    client.predict("sum", {"x": 1})
    server.delay = 60
    with pytest.raises(DeadlineExceededError):
        client.predict("sum", {"x": 1}, timeout=0.1)


def test_the_clients_timeout_counts_where_the_call_has_none(connect: Any, server: FakeServer) -> None:
    server.delay = 60
    client = connect(server.address, timeout=0.5)
    with pytest.raises(DeadlineExceededError):
        client.predict("sum", {"x": 1})


@pytest.mark.parametrize("timeout", [0, -1, 1e10, float("inf"), float("nan")])
def test_a_timeout_is_positive_and_one_that_grpc_can_count(
    client: Any, server: FakeServer, timeout: float
) -> None:
    for call in (
        lambda: Client(server.address, timeout=timeout),
        lambda: client.predict("sum", {"x": 1}, timeout=timeout),
        lambda: client.models(timeout=timeout),
        lambda: client.model("sum", timeout=timeout),
        lambda: client.health(timeout=timeout),
        lambda: client.predict_stream("sum", [], timeout=timeout),
    ):
        with pytest.raises(ValueError, match="positive number of seconds"):
            call()


def test_the_longest_timeout_is_long(client: Any) -> None:
    assert client.predict("sum", {"x": 1}, timeout=1e9).score == 1
    assert len(client.predict_stream("sum", [{"x": 1}], timeout=1e9)) == 1


def test_unavailable_is_tried_three_times(client: Any, server: FakeServer) -> None:
    server.fail(Code.UNAVAILABLE, times=2, reason="DRAINING")
    assert client.predict("sum", {"x": 1}).score == 1
    assert methods(server) == ["GetModel", "Predict", "Predict", "Predict"]
    server.fail(Code.UNAVAILABLE, "still not", times=4, reason="DRAINING")
    with pytest.raises(UnavailableError, match="still not") as caught:
        client.predict("sum", {"x": 1})
    assert caught.value.reason == "DRAINING"
    assert methods(server).count("Predict") == 6


@pytest.mark.parametrize("code", [code for code in Code if code not in {Code.OK, Code.UNAVAILABLE}])
def test_nothing_else_is_tried_again(client: Any, server: FakeServer, code: Code) -> None:
    server.fail(code, times=2)
    with pytest.raises(ScorewireError):
        client.predict("sum", {"x": 1})
    assert methods(server) == ["GetModel", "Predict"]


def test_control_calls_are_tried_again_too(client: Any, server: FakeServer) -> None:
    server.fail(Code.UNAVAILABLE, times=2, method="ListModels")
    assert len(client.models()) == 3
    server.fail(Code.UNAVAILABLE, times=2, method="Check")
    assert client.health()


def test_large_requests_are_tried_again_too(client: Any, server: FakeServer) -> None:
    rows = np.ones((40_000, 2))
    server.fail(Code.UNAVAILABLE, times=2)
    assert client.predict("sum", rows).scores.sum() == 80_000


def test_many_failures_end_the_trying(server: FakeServer) -> None:
    server.fail(Code.UNAVAILABLE, times=1000)
    with Client(server.address) as client, ThreadPoolExecutor(40) as pool:
        client.model("sum")
        calls = [pool.submit(client.predict, "sum", {"x": 1}) for _ in range(40)]
        assert all(isinstance(call.exception(), UnavailableError) for call in calls)
        server.calls.clear()
        with pytest.raises(UnavailableError):
            client.predict("sum", {"x": 1})
    # Throttling has stopped retries, so there is one call.
    assert methods(server) == ["Predict"]


def test_a_server_that_is_away_is_unavailable(connect: Any) -> None:
    with FakeServer(SUM) as gone:
        address = gone.address
    with pytest.raises(UnavailableError):
        connect(address).predict("sum", {"x": 1})


def garbage(_: bytes, context: grpc.ServicerContext) -> bytes:
    return b"\xff\xff\xff"


def test_an_answer_that_cannot_be_read_is_a_fault_of_the_server(connect: Any) -> None:
    class Handlers(grpc.GenericRpcHandler):
        def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
            return grpc.unary_unary_rpc_method_handler(garbage)

    with ThreadPoolExecutor(1) as pool:
        broken = grpc.server(pool, handlers=[Handlers()])
        port = broken.add_insecure_port("127.0.0.1:0")
        broken.start()
        try:
            with pytest.raises(scorewire.InternalError):
                connect(f"127.0.0.1:{port}").model("sum")
        finally:
            broken.stop(None).wait()


# Lives of clients


def test_a_closed_client_says_so(connect: Any, server: FakeServer) -> None:
    for used in (True, False):
        client = connect(server.address)
        if used:
            client.predict("sum", {"x": 1})
        client.close()
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.predict("sum", {"x": 1})
        with pytest.raises(RuntimeError, match="closed"):
            client.predict_stream("sum", [{"x": 1}])


def test_closing_cancels_what_runs(server: FakeServer) -> None:
    server.delay = 60
    client = Client(server.address)
    client.model("sum")
    with ThreadPoolExecutor(2) as pool:
        unary = pool.submit(client.predict, "sum", {"x": 1})
        stream = pool.submit(lambda: list(client.predict_stream("sum", [{"x": 1}])))
        assert wait_until(lambda: server.waiting == 2)
        client.close()
        assert isinstance(unary.exception(), scorewire.CancelledError)
        assert isinstance(stream.exception(), scorewire.CancelledError)


async def test_closing_cancels_what_runs_in_a_loop(server: FakeServer) -> None:
    server.delay = 60
    client = AsyncClient(server.address)
    await client.model("sum")

    async def stream() -> list[Prediction]:
        return [result async for result in client.predict_stream("sum", [{"x": 1}])]

    calls = [asyncio.create_task(client.predict("sum", {"x": 1})), asyncio.create_task(stream())]
    assert await asyncio.to_thread(wait_until, lambda: server.waiting == 2)
    await client.close()
    for result in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(result, scorewire.CancelledError)


async def test_a_task_that_is_cancelled_stays_so(server: FakeServer) -> None:
    server.delay = 60
    async with AsyncClient(server.address) as client:
        await client.model("sum")
        task = asyncio.create_task(client.predict("sum", {"x": 1}))
        assert await asyncio.to_thread(wait_until, lambda: server.waiting == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_async_client_runs_calls_side_by_side(server: FakeServer) -> None:
    async with AsyncClient(server.address, channels=2) as client:
        results = await asyncio.gather(*(client.predict("sum", {"x": i}) for i in range(50)))
    assert [result.score for result in results] == list(range(50))


def test_an_async_client_belongs_to_one_loop(server: FakeServer) -> None:
    client = AsyncClient(server.address)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(client.predict("sum", {"x": 1}))
        with pytest.raises(RuntimeError, match="event loop of its first call"):
            second.run(client.predict("sum", {"x": 1}))
        first.run(client.close())


def test_threads_share_a_client(server: FakeServer) -> None:
    with Client(server.address, channels=2) as client, ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda i: client.predict("sum", {"x": i, "y": 1}), range(200))
        assert [result.score for result in results] == [i + 1 for i in range(200)]


def test_a_client_does_not_survive_a_fork(
    connect: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(server.address)
    client.predict("sum", {"x": 1})
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    with pytest.raises(RuntimeError, match="make one in each process"):
        client.predict("sum", {"x": 1})


def test_a_client_that_was_not_used_survives_a_fork(
    connect: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(server.address)
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    assert client.predict("sum", {"x": 1}).score == 1


def test_clients_give_back_their_threads_and_handles(server: FakeServer) -> None:
    process = psutil.Process()

    async def use_async() -> None:
        async with AsyncClient(server.address, channels=2) as client:
            await client.predict("sum", {"x": 1})
            assert len([result async for result in client.predict_stream("sum", [{"x": 1}] * 3)]) == 3

    def use() -> None:
        with Client(server.address, channels=2) as client:
            client.predict("sum", {"x": 1})
            assert len(list(client.predict_stream("sum", [{"x": 1}] * 3))) == 3

    with asyncio.Runner() as runner:
        # After a few rounds, grpc and the fake server have everything that they keep.
        for _ in range(5):
            use()
            runner.run(use_async())
        handles, threads = process.num_fds(), process.num_threads()
        for _ in range(20):
            use()
            runner.run(use_async())
        assert wait_until(lambda: process.num_fds() <= handles + 2), (process.num_fds(), handles)
        assert wait_until(lambda: process.num_threads() <= threads + 2), (process.num_threads(), threads)
