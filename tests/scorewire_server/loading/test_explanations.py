"""What a version explains is proven by its golden rows. A wrong one is refused, and the version serves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from structlog.testing import capture_logs

from scorewire_contract import bundle as bundles
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_server.catalog.repository import scan
from scorewire_server.engine import explaining
from scorewire_server.engine.explaining import Explanations, refuse_trees, strongest
from scorewire_server.engine.reference.contributions import KernelContributions
from scorewire_server.engine.reference.program import KernelProgram
from scorewire_server.engine.reference.session import open_session
from scorewire_server.engine.snapshot import VersionRecord
from scorewire_server.errors import InvalidRequestError, NotExplainedError
from scorewire_server.loading.loader import load
from tests.tree_bundles import Trees, write_trees_bundle

TREES = Trees(count=5)


def _load(models: Path) -> VersionRecord:
    (folder,) = scan(models)
    return load(
        folder,
        lambda graph: open_session(graph, 1),
        compile_graph=KernelProgram,
        open_trees=KernelContributions,
    )


def _explanations(models: Path) -> Explanations:
    loaded = _load(models).loaded
    assert loaded is not None
    return loaded.explanations


def _rewrite(
    models: Path,
    change: Callable[[manifest_pb2.Explanation], None] = lambda _: None,
    graph: Callable[[onnx.ModelProto], None] = lambda _: None,
) -> None:
    """Write the bundle of trees with a changed explanation."""
    bundle = bundles.read_bundle(write_trees_bundle(models / "before", TREES))
    told, model = bundle.explanation, onnx.ModelProto.FromString(bundle.explanation_graph)
    assert told is not None
    change(told)
    graph(model)
    files = {
        bundles.GRAPH: bundle.graph,
        bundles.GOLDEN: bundles.to_json(bundle.golden),
        bundles.EXPLANATION: told.SerializeToString(),
        bundles.EXPLANATION_GRAPH: model.SerializeToString(),
    }
    bundles.write_bundle(models / "after", bundle.manifest, files)


def test_an_output_is_explained_as_the_bundle_says(models: Path) -> None:
    write_trees_bundle(models, TREES)
    explanations = _explanations(models)
    explainer = explanations.find("", outputs=["value"], model="trees", version="1.0.0")
    assert explanations.explainers == {"value": explainer}
    assert explainer.row_ns > 0
    rows = TREES.rows(10)
    explained = explainer.explain(len(rows), rows.ravel(), [])
    for row, values in zip(rows, explained.values, strict=True):
        base, expected = TREES.contributions(row)
        assert list(explainer.base) == pytest.approx([base])
        assert values[0] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def _with_linear_term(models: Path) -> Explanations:
    """The explanation of the trees, a half, and twice x1 and x2."""

    def change(told: manifest_pb2.Explanation) -> None:
        (output,) = told.outputs
        output.constants[:] = [0.5]
        output.link = "not the model's"
        output.linear.add(values="parts", features=[1, 2])

    def graph(model: onnx.ModelProto) -> None:
        places = onnx.helper.make_tensor("places", onnx.TensorProto.INT64, [2], [1, 2])
        zero = onnx.helper.make_tensor("zero", onnx.TensorProto.DOUBLE, [], [0.0])
        model.graph.initializer.extend([places, zero])
        nodes = [
            onnx.helper.make_node("Gather", ["features", "places"], ["both"], axis=1),
            onnx.helper.make_node("IsNaN", ["both"], ["missing"]),
            onnx.helper.make_node("Where", ["missing", "zero", "both"], ["known"]),
        ]
        model.graph.node.extend([*nodes, onnx.helper.make_node("Add", ["known", "known"], ["parts"])])
        parts = onnx.helper.make_tensor_value_info("parts", onnx.TensorProto.DOUBLE, ["rows", 2])
        model.graph.output.append(parts)

    _rewrite(models, change, graph)
    return _explanations(models / "after")


def test_linear_terms_and_constants_are_added(models: Path) -> None:
    explainer = _with_linear_term(models).explainers["value"]
    row = np.array([0.25, -1.5, 3.0])
    base, trees = TREES.contributions(row)
    assert list(explainer.base) == pytest.approx([base + 0.5])
    explained = explainer.explain(1, row, [])
    assert explained.values[0, 0] == pytest.approx(trees + np.array([0, -3, 6]), rel=1e-6, abs=1e-6)
    assert explained.margins[0, 0] == pytest.approx(base + 0.5 + sum(trees) + 3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda told: told.outputs[0].constants.__setitem__(0, float("nan")),
            "no golden row has finite contributions",
        ),
        (
            lambda told: told.outputs[0].constants.__setitem__(0, 1.0),
            "identity of the margins of a golden row",
        ),
        (lambda told: told.outputs[0].trees[0].ClearField("leaf_covers"), "covers"),
        (lambda told: told.outputs[0].trees[0].node_covers.__setitem__(0, -1.0), "cover"),
        (lambda told: told.outputs[0].trees[0].features.__setitem__(0, 3), "feature"),
        (lambda told: setattr(told.outputs[0].trees[0], "ensemble", "nothing"), "nothing"),
        (lambda told: setattr(told.outputs[0].trees[0], "scale", float("nan")), "scale"),
        (lambda told: setattr(told.outputs[0].trees[0], "scale", 2.0), "identity of the margins"),
    ],
)
def test_a_wrong_explanation_is_refused_and_the_version_serves(
    models: Path, change: Callable[[manifest_pb2.Explanation], None], reason: str
) -> None:
    _rewrite(models, change)
    with capture_logs():
        explanations = _explanations(models / "after")
    assert not explanations.explainers
    assert reason in explanations.reasons["value"]
    with pytest.raises(NotExplainedError, match="cannot explain output 'value'"):
        explanations.find("value", outputs=["value"], model="trees", version="1.0.0")


def test_a_graph_that_breaks_a_rule_refuses_the_version(models: Path) -> None:
    def graph(model: onnx.ModelProto) -> None:
        model.graph.node[0].domain = "somebody.else"

    _rewrite(models, graph=graph)
    reason = _load(models / "after").reason
    assert reason.startswith("of the explanation: the graph uses operators of domain")


def test_a_graph_without_what_the_trees_read_refuses_the_version(models: Path) -> None:
    _rewrite(models, lambda told: setattr(told.outputs[0].trees[0], "input", "y"))
    assert "not 'y' of the schema" in _load(models / "after").reason


def test_reasons_of_the_bundle_are_told(models: Path) -> None:
    bundle = bundles.read_bundle(write_trees_bundle(models / "before", TREES))
    told = manifest_pb2.Explanation()
    told.unexplained.add(output="value", reason="it is secret")
    files = {
        bundles.GRAPH: bundle.graph,
        bundles.GOLDEN: bundles.to_json(bundle.golden),
        bundles.EXPLANATION: told.SerializeToString(),
    }
    bundles.write_bundle(models / "after", bundle.manifest, files)
    explanations = _explanations(models / "after")
    for output in ("", "value"):
        with pytest.raises(NotExplainedError, match="it is secret"):
            explanations.find(output, outputs=["value"], model="trees", version="1.0.0")
    with pytest.raises(InvalidRequestError, match="there is no output 'other'; there is value"):
        explanations.find("other", outputs=["value"], model="trees", version="1.0.0")


def test_an_engine_without_contributions_says_so(models: Path) -> None:
    write_trees_bundle(models, TREES)
    (folder,) = scan(models)
    loaded = load(folder, lambda graph: open_session(graph, 1), open_trees=refuse_trees("not here")).loaded
    assert loaded is not None
    assert loaded.explanations.reasons == {"value": "not here"}


def test_of_equal_contributions_the_first_is_the_strongest() -> None:
    values = np.array([[-1.0, 1.0, 0.5, -2.0], [np.nan, 0.0, -1.0, -np.inf], [np.nan] * 4])
    assert strongest(values, 2).tolist() == [[3, 0], [3, 2], [0, 1]]


@pytest.mark.parametrize("top_k", [0, 1, 2, 9])
def test_rows_are_explained_alike_in_blocks(
    models: Path, monkeypatch: pytest.MonkeyPatch, top_k: int
) -> None:
    write_trees_bundle(models, TREES)
    explainer, rows = _explanations(models).explainers["value"], TREES.rows(50)
    rows[7, 1] = 1e31
    at_once = explainer.explain(len(rows), rows.ravel(), [], top_k)
    monkeypatch.setattr(explaining, "_BLOCK_BYTES", 100)
    in_blocks = explainer.explain(len(rows), rows.ravel(), [], top_k)
    np.testing.assert_array_equal(at_once.values, in_blocks.values)
    np.testing.assert_array_equal(at_once.margins, in_blocks.margins)
    if at_once.chosen is not None:
        np.testing.assert_array_equal(at_once.chosen, in_blocks.chosen)
