"""Predictions that are explained: what each of the caller's columns contributes to the score."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from scorewire_proto.v1 import models_pb2, prediction_pb2
from tests import bundles
from tests.conformance.engines import ENGINES
from tests.conformance.typed import TypedService
from tests.conformance.wire import Wire, sum_request, values
from tests.processes import ServerProcess, serving
from tests.tree_bundles import Trees, write_trees_bundle

TREES = Trees(count=12, features=5)
MAX_MESSAGE_BYTES = 1 << 16
TYPED = "scorewire.models.trees.v1.TreesService"


@pytest.fixture(scope="module", params=ENGINES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server of a model that can be explained and of models that cannot."""
    folder = tmp_path_factory.mktemp("explain")
    write_trees_bundle(folder / "models", TREES)
    write_trees_bundle(folder / "models", TREES, model="halves", terms=2)
    bundles.write_sum_bundle(folder / "models")
    flags = ("--engine", request.param, "--max-message-bytes", str(MAX_MESSAGE_BYTES))
    with serving(folder, folder / "models", *flags) as running:
        yield running


def asking(rows: NDArray[np.float64], top_k: int = 0, output: str = "") -> prediction_pb2.PredictRequest:
    """A request to explain rows."""
    request = prediction_pb2.PredictRequest(model="trees", rows=prediction_pb2.Rows(row_count=len(rows)))
    request.rows.numbers.extend(rows.ravel().tolist())
    request.explain.top_k, request.explain.output = top_k, output
    return request


def told(response: prediction_pb2.PredictResponse) -> NDArray[np.float64]:
    """The contributions [rows, columns] of a response that has those of all columns."""
    assert not response.contributions.places
    assert list(response.contributions.columns) == [f"x{i}" for i in range(TREES.features)]
    return np.array(response.contributions.values).reshape(response.row_count, TREES.features)


def test_contributions_are_shapley_values_and_add_up_to_the_margin(wire: Wire) -> None:
    rows = TREES.rows(40)
    response = wire.predict(asking(rows))
    found, contributions = told(response), response.contributions
    assert (contributions.output, contributions.link, list(contributions.labels)) == ("value", "identity", [])
    for row, values_of_row in zip(rows, found, strict=True):
        base, expected = TREES.contributions(row)
        assert values_of_row == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert list(contributions.base) == pytest.approx([base], rel=1e-12)
    sums = contributions.base[0] + found.sum(axis=1)
    scale = abs(contributions.base[0]) + np.abs(found).sum(axis=1)
    assert (np.abs(sums - contributions.margins) <= 1e-12 * scale).all()
    assert np.array(contributions.margins) == pytest.approx(np.array(values(response)), rel=1e-5, abs=1e-5)


def test_scores_are_the_same_with_an_explanation_and_without(wire: Wire) -> None:
    request = asking(TREES.rows(30, seed=5))
    explained = wire.predict(request)
    request.ClearField("explain")
    plain = wire.predict(request)
    assert values(plain) == values(explained)
    assert not plain.HasField("contributions")


def test_a_row_has_the_same_contributions_alone_and_among_others(wire: Wire) -> None:
    rows = TREES.rows(300, seed=3)
    together = told(wire.predict(asking(rows)))
    for i in (0, 1, 150, 299):
        assert told(wire.predict(asking(rows[i : i + 1])))[0].tolist() == together[i].tolist()


@pytest.mark.parametrize("top_k", [1, 2, 5, 6, 2**32 - 1])
def test_the_strongest_columns_come_first(wire: Wire, top_k: int) -> None:
    rows = TREES.rows(20, seed=4)
    everything = told(wire.predict(asking(rows)))
    contributions = wire.predict(asking(rows, top_k)).contributions
    count = min(top_k, TREES.features)
    places = np.array(contributions.places).reshape(len(rows), count)
    found = np.array(contributions.values).reshape(len(rows), count)
    assert sorted(set(places.ravel().tolist())) == list(range(len(contributions.columns)))
    for i in range(len(rows)):
        order = sorted(range(TREES.features), key=lambda column: -abs(everything[i, column]))[:count]
        assert [contributions.columns[place] for place in places[i]] == [f"x{column}" for column in order]
        assert found[i].tolist() == everything[i, order].tolist()


def test_a_row_with_an_error_has_no_contributions(wire: Wire) -> None:
    rows = TREES.rows(3)
    rows[1, 2] = 1e31
    response = wire.predict(asking(rows))
    assert [error.row for error in response.errors] == [1]
    found = told(response)
    assert np.isnan(found).all(axis=1).tolist() == [False, True, False]
    assert np.isnan(response.contributions.margins).tolist() == [False, True, False]
    assert found[2].tolist() == told(wire.predict(asking(rows[2:])))[0].tolist()
    few = wire.predict(asking(rows, top_k=2)).contributions
    assert np.isnan(few.values).tolist() == [False, False, True, True, False, False]
    assert len(few.places) == 6


def test_a_call_of_bad_rows_only_is_answered(wire: Wire) -> None:
    for top_k in (0, 1):
        response = wire.predict(asking(np.full((2, TREES.features), 1e31), top_k))
        assert len(response.errors) == 2
        assert np.isnan(response.contributions.values).all()


def test_terms_that_read_the_same_columns_add_up(wire: Wire) -> None:
    request = asking(TREES.rows(10, seed=6))
    expected = wire.predict(request).contributions
    request.model = "halves"
    found = wire.predict(request).contributions
    assert list(found.values) == pytest.approx(list(expected.values), rel=1e-6, abs=1e-9)
    assert list(found.margins) == pytest.approx(list(expected.margins), rel=1e-12)


def test_each_message_of_a_stream_is_explained_or_not(wire: Wire) -> None:
    rows = TREES.rows(3)
    plain = asking(rows)
    plain.ClearField("explain")
    wrong = asking(rows, output="nothing")
    sent = [asking(rows), plain, wrong, asking(rows, top_k=1)]
    streamed = [
        prediction_pb2.PredictStreamRequest(correlation_id=i, request=request)
        for i, request in enumerate(sent)
    ]
    answers = wire.predict_stream(streamed)
    assert [answer.WhichOneof("result") for answer in answers] == [
        "response",
        "response",
        "error",
        "response",
    ]
    assert [len(answer.response.contributions.values) for answer in answers] == [15, 0, 0, 3]


def test_typed_predictions_have_a_field_for_each_feature(wire: Wire) -> None:
    service = TypedService(wire, TYPED)
    row = TREES.rows(1, seed=8)[0]
    expected = told(wire.predict(asking(row[None])))[0]
    fields = {f"x{i}": value for i, value in enumerate(row.tolist())}
    strongest = np.argsort(-np.abs(expected), kind="stable")[:2].tolist()
    for count, columns in (("all", range(TREES.features)), ("2", strongest)):
        metadata = [("scorewire-explain", count), ("scorewire-explain-output", "value")]
        explanation = service.predict(metadata, **fields).explanation
        (margin,) = explanation.margins
        assert (explanation.output, explanation.link, margin.label) == ("value", "identity", "")
        found = {field.name: value for field, value in margin.contributions.ListFields()}
        assert found == {f"x{i}": expected[i] for i in columns}
    assert not service.predict(**fields).HasField("explanation")
    failure = wire.failure(
        service.path("Predict"),
        service.row(**fields).SerializeToString(),
        metadata=[("scorewire-explain", "1"), ("scorewire-explain-output", "nothing")],
    )
    assert failure.fields == ["explain.output"]


@pytest.mark.parametrize("top_k", [0, 2])
def test_each_row_of_a_typed_batch_has_its_own_explanation(wire: Wire, top_k: int) -> None:
    rows = TREES.rows(30, seed=9)
    rows[4, 2] = 1e31
    found = told(wire.predict(asking(rows)))
    fields = [{f"x{i}": value for i, value in enumerate(row)} for row in rows.tolist()]
    metadata = [("scorewire-explain", str(top_k))]
    predictions = TypedService(wire, TYPED).predict_batch(*fields, metadata=metadata)
    chosen = set()
    for i, (prediction, expected) in enumerate(zip(predictions, found, strict=True)):
        assert prediction.HasField("explanation") == (i != 4)
        if i == 4:
            continue
        (margin,) = prediction.explanation.margins
        columns = np.argsort(-np.abs(expected), kind="stable")[: top_k or None].tolist()
        parts = {field.name: value for field, value in margin.contributions.ListFields()}
        assert parts == {f"x{column}": expected[column] for column in columns}
        chosen.add(tuple(columns))
    assert len(chosen) > 1


def test_what_cannot_be_explained_is_said(wire: Wire) -> None:
    request = sum_request(numbers=[1.5, -2.0], texts=["pe"])
    request.explain.SetInParent()
    failure = wire.predict_failure(request)
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_EXPLAINED")
    assert "export the model anew" in failure.message
    failure = wire.predict_failure(asking(TREES.rows(1), output="nothing"))
    assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["explain.output"])


def test_an_answer_that_would_be_too_long_is_refused_before_it_is_made(wire: Wire) -> None:
    rows = TREES.rows(1300)
    failure = wire.predict_failure(asking(rows))
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_ROWS")
    assert len(wire.predict(asking(rows, top_k=1)).contributions.places) == len(rows)


def test_an_explanation_that_takes_too_long_is_stopped(
    engine: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, trees = tmp_path_factory.mktemp("long"), Trees(count=3000)
    write_trees_bundle(folder / "models", trees)
    flags = ("--engine", engine, "--max-run-seconds", "0.5", "--max-rows", "100000")
    with serving(folder, folder / "models", *flags) as running:
        wire = Wire(running.address)
        with wire.channel:
            failure = wire.predict_failure(asking(np.tile(trees.rows(100), (1000, 1)), top_k=1))
            assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RUN_STOPPED")
            assert len(wire.predict(asking(trees.rows(1))).contributions.values) == trees.features


def test_the_control_plane_and_the_metrics_tell_of_explanations(wire: Wire, server: ServerProcess) -> None:
    before = server.metrics()
    wire.predict(asking(TREES.rows(7)))
    after = server.metrics()
    labels = frozenset({("model", "trees"), ("version", "1.0.0")})
    for name, added in (("scorewire_explained_rows_total", 7), ("scorewire_explain_seconds_count", 1)):
        assert after[name, labels] - before.get((name, labels), 0) == added
    data = wire.call("/scorewire.v1.ModelService/ListModels", b"")
    models = {model.name: model for model in models_pb2.ListModelsResponse.FromString(data).models}
    (explained,) = models["trees"].versions[0].explanations
    assert (explained.output, explained.link) == ("value", "identity")
    assert explained.details
    (reason,) = models["sum"].versions[0].explanations
    assert (reason.output, reason.link) == ("value", "")
    assert "export the model anew" in reason.details
