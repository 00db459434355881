"""Explanations of a model with two outputs that can be explained, one of them of classes."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from scorewire_proto.v1 import models_pb2, prediction_pb2
from tests.class_tree_bundles import CONSTANTS, LABELS, ClassTrees, write_class_trees_bundle
from tests.conformance.engines import ENGINES
from tests.conformance.typed import TypedService
from tests.conformance.wire import PREDICT, TIMEOUT_SECONDS, Wire
from tests.processes import ServerProcess, serving

TREES = ClassTrees()
# Margins by output.
MARGINS = {"probabilities": len(LABELS), "value": 1}
TYPED = "scorewire.models.class_trees.v1.ClassTreesService"


@pytest.fixture(scope="module", params=ENGINES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server of the model."""
    folder = tmp_path_factory.mktemp("explained_classes")
    write_class_trees_bundle(folder / "models", TREES)
    with serving(folder, folder / "models", "--engine", request.param) as running:
        yield running


def drawn(count: int) -> NDArray[np.float64]:
    """Rows of numbers, some of them missing."""
    return TREES.value.rows(count, seed=21)


def asking(rows: NDArray[np.float64], output: str = "", top_k: int = 0) -> prediction_pb2.PredictRequest:
    """A request to explain rows."""
    request = prediction_pb2.PredictRequest(model="class_trees")
    request.rows.row_count = len(rows)
    request.rows.numbers.extend(rows.ravel().tolist())
    request.explain.output, request.explain.top_k = output, top_k
    return request


def told(contributions: prediction_pb2.Contributions) -> NDArray[np.float64]:
    """The contributions of all columns, [rows, margins, columns]."""
    assert not contributions.places
    assert list(contributions.columns) == [f"x{i}" for i in range(TREES.features)]
    return np.array(contributions.values).reshape(-1, MARGINS[contributions.output], TREES.features)


def test_each_margin_of_classes_has_shapley_values_of_its_own(wire: Wire) -> None:
    rows = drawn(20)
    response = wire.predict(asking(rows, "probabilities"))
    contributions, found = response.contributions, told(response.contributions)
    assert (contributions.output, contributions.link) == ("probabilities", "softmax")
    assert contributions.labels == list(LABELS)
    for i, (trees, constant) in enumerate(zip(TREES.classes, CONSTANTS, strict=True)):
        for row, values in zip(rows, found[:, i], strict=True):
            base, expected = trees.contributions(row)
            assert contributions.base[i] == pytest.approx(base + constant, rel=1e-12)
            assert values == pytest.approx(expected, rel=1e-6, abs=1e-6)
    base, margins = np.array(contributions.base), np.array(contributions.margins).reshape(len(rows), -1)
    scale = np.abs(base) + np.abs(found).sum(axis=2)
    assert (np.abs(base + found.sum(axis=2) - margins) <= 1e-12 * scale).all()
    shares = np.exp(margins)
    (probabilities,) = [output for output in response.outputs if output.name == "probabilities"]
    expected_shares = (shares / shares.sum(axis=1, keepdims=True)).ravel()
    assert list(probabilities.numbers) == pytest.approx(expected_shares, abs=1e-6)


def test_the_caller_chooses_the_output(wire: Wire) -> None:
    rows = drawn(5)
    contributions = wire.predict(asking(rows, "value")).contributions
    assert (contributions.output, contributions.link, list(contributions.labels)) == ("value", "identity", [])
    for row, values in zip(rows, told(contributions), strict=True):
        base, expected = TREES.value.contributions(row)
        assert list(contributions.base) == pytest.approx([base], rel=1e-12)
        assert values[0] == pytest.approx(expected, rel=1e-6, abs=1e-6)
    # By default, the first that can be explained.
    assert wire.predict(asking(rows)).contributions.output == "probabilities"


def test_a_class_is_explained_by_its_probabilities(wire: Wire) -> None:
    failure = wire.predict_failure(asking(drawn(1), "label"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_EXPLAINED")
    assert "ask for 'probabilities'" in failure.message


def test_each_margin_has_its_own_strongest_columns(wire: Wire) -> None:
    rows, count = drawn(10), 2
    everything = told(wire.predict(asking(rows, "probabilities")).contributions)
    few = wire.predict(asking(rows, "probabilities", count)).contributions
    order = np.argsort(-np.abs(everything), axis=2, kind="stable")[:, :, :count]
    columns = [int(few.columns[place].removeprefix("x")) for place in few.places]
    assert columns == order.ravel().tolist()
    assert list(few.values) == np.take_along_axis(everything, order, axis=2).ravel().tolist()
    assert len({tuple(each) for each in order[0].tolist()}) > 1


def test_a_row_with_an_error_has_no_margins(wire: Wire) -> None:
    rows = drawn(3)
    rows[1, 2] = 1e31
    contributions = wire.predict(asking(rows, "probabilities")).contributions
    found, margins = told(contributions), np.array(contributions.margins).reshape(3, len(LABELS))
    assert np.isnan(margins).all(axis=1).tolist() == [False, True, False]
    assert np.isnan(found).all(axis=(1, 2)).tolist() == [False, True, False]
    alone = wire.predict(asking(rows[2:], "probabilities")).contributions
    assert found[2].ravel().tolist() == list(alone.values)


def test_single_rows_that_ask_for_different_outputs_at_once_get_theirs(wire: Wire) -> None:
    rows, outputs = drawn(90), ("probabilities", "value", None)
    requests = [asking(rows[i : i + 1], outputs[i % 3] or "") for i in range(len(rows))]
    for request in requests[2::3]:
        request.ClearField("explain")
    # All are sent before the first is answered: the engine may score and explain several together.
    answers = [
        wire.unary(PREDICT).future(request.SerializeToString(), timeout=TIMEOUT_SECONDS)
        for request in requests
    ]
    together = [prediction_pb2.PredictResponse.FromString(answer.result()) for answer in answers]
    for output, first in (("probabilities", 0), ("value", 1)):
        expected = wire.predict(asking(rows[first::3], output)).contributions
        found = [each.contributions for each in together[first::3]]
        assert {each.output for each in found} == {output}
        assert [value for each in found for value in each.values] == list(expected.values)
        assert [margin for each in found for margin in each.margins] == list(expected.margins)
    assert not any(each.HasField("contributions") for each in together[2::3])


def test_a_typed_prediction_has_the_margin_of_each_class(wire: Wire) -> None:
    row = drawn(1)
    expected = wire.predict(asking(row, "probabilities")).contributions
    fields = {f"x{i}": value for i, value in enumerate(row[0].tolist())}
    metadata = [("scorewire-explain", "all"), ("scorewire-explain-output", "probabilities")]
    explanation = TypedService(wire, TYPED).predict(metadata, **fields).explanation
    assert (explanation.output, explanation.link) == ("probabilities", "softmax")
    assert [margin.label for margin in explanation.margins] == list(LABELS)
    assert [margin.base for margin in explanation.margins] == list(expected.base)
    assert [margin.margin for margin in explanation.margins] == list(expected.margins)
    for margin, values in zip(explanation.margins, told(expected)[0], strict=True):
        found = {field.name: value for field, value in margin.contributions.ListFields()}
        assert found == {f"x{i}": value for i, value in enumerate(values.tolist())}


def test_the_control_plane_tells_of_both_outputs(wire: Wire) -> None:
    data = wire.call("/scorewire.v1.ModelService/ListModels", b"")
    (model,) = models_pb2.ListModelsResponse.FromString(data).models
    told_of = [(each.output, each.link) for each in model.versions[0].explanations]
    assert told_of == [("probabilities", "softmax"), ("value", "identity")]
