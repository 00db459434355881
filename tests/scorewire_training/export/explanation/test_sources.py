"""Columns stay apart where an operator keeps them apart, and are mixed by every other operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from scorewire_training.export.explanation.sources import ColumnSources, Features
from scorewire_training.export.explanation.subgraphs import Subgraph, observe
from scorewire_training.export.explanation.tree_nodes import TreeNodes
from scorewire_training.export.graph import ML_DOMAIN, Graph
from scorewire_training.export.lowering.thresholds import find_codes, search_tree

A, B, C = frozenset({0}), frozenset({1}), frozenset({2})
ALL = A | B | C
NONE: Features = frozenset()
X = np.array([[0.5, 1.0, -2.0], [3.0, 4.0, 0.0], [1.0, 0.0, 2.0]])


def doubles(graph: Graph, values: Any) -> str:
    return graph.constant(np.asarray(values, np.float64))


def whole(graph: Graph, values: Any) -> str:
    return graph.constant(np.asarray(values, np.int64))


def as_double(graph: Graph, x: str) -> str:
    return graph.node("Cast", [x], to=TensorProto.DOUBLE)


def searched(graph: Graph, x: str) -> str:
    """Search trees, each over its own column; the last one over the first column."""
    trees = [search_tree(np.array([0.0, 1.0]), np.arange(3.0), place) for place in range(3)]
    return find_codes(graph, trees, x)


def cube(graph: Graph, x: str) -> str:
    return graph.node("Unsqueeze", [x, whole(graph, [2])])


KEPT: dict[str, tuple[Callable[[Graph, str], str], list[Features]]] = {
    "functions": (lambda g, x: g.node("Exp", [g.node("Neg", [x])]), [A, B, C]),
    "constants": (lambda g, x: g.node("Mul", [x, doubles(g, [[1.0, 2.0, 3.0]])]), [A, B, C]),
    "columns with columns": (
        lambda g, x: g.node("Add", [x, g.node("Gather", [x, whole(g, [0])], axis=1)]),
        [A, A | B, A | C],
    ),
    "comparisons": (lambda g, x: as_double(g, g.node("Less", [x, doubles(g, 0.0)])), [A, B, C]),
    "Where": (
        lambda g, x: g.node("Where", [g.node("IsNaN", [x]), doubles(g, [[0.0, 1.0, 2.0]]), x]),
        [A, B, C],
    ),
    "Concat": (lambda g, x: g.node("Concat", [x, x], axis=1), [A, B, C, A, B, C]),
    "Gather": (lambda g, x: g.node("Gather", [x, whole(g, [2, 0])], axis=1), [C, A]),
    "Gather of one place": (
        lambda g, x: g.node("Reshape", [g.node("Gather", [x, whole(g, 1)], axis=1), whole(g, [-1, 1])]),
        [B],
    ),
    "Slice": (
        lambda g, x: g.node("Slice", [x, whole(g, [1]), whole(g, [3]), whole(g, [1])]),
        [B, C],
    ),
    "Split": (lambda g, x: g.nodes("Split", [x, whole(g, [1, 2])], 2, axis=1)[1], [B, C]),
    "Pad": (lambda g, x: g.node("Pad", [x, whole(g, [0, 1, 0, 1]), doubles(g, 5.0)]), [NONE, A, B, C, NONE]),
    "ArrayFeatureExtractor": (
        lambda g, x: g.node("ArrayFeatureExtractor", [x, whole(g, [2, 1])], domain=ML_DOMAIN),
        [C, B],
    ),
    "Tile": (lambda g, x: g.node("Tile", [x, whole(g, [1, 2])]), [A, B, C, A, B, C]),
    "Expand": (
        lambda g, x: g.node("Expand", [g.node("Gather", [x, whole(g, [1])], axis=1), whole(g, [1, 2])]),
        [B, B],
    ),
    "Unsqueeze and Flatten": (lambda g, x: g.node("Flatten", [cube(g, x)], axis=1), [A, B, C]),
    "Transpose within rows": (
        lambda g, x: g.node(
            "Flatten",
            [g.node("Transpose", [g.node("Concat", [cube(g, x), cube(g, x)], axis=2)], perm=[0, 2, 1])],
        ),
        [A, B, C, A, B, C],
    ),
    "one-hot by comparisons of three dimensions": (
        lambda g, x: g.node(
            "Reshape",
            [as_double(g, g.node("Equal", [cube(g, x), doubles(g, [0.0, 1.0])])), whole(g, [-1, 6])],
        ),
        [A, A, B, B, C, C],
    ),
    "OneHot": (
        lambda g, x: g.node(
            "Flatten",
            [
                g.node(
                    "OneHot",
                    [g.node("Cast", [x], to=TensorProto.INT64), whole(g, 2), g.constant(np.float32([0, 1]))],
                )
            ],
        ),
        [A, A, B, B, C, C],
    ),
    "OneHotEncoder": (
        lambda g, x: g.node(
            "Flatten",
            [
                g.node(
                    "OneHotEncoder",
                    [g.node("Cast", [x], to=TensorProto.INT64)],
                    domain=ML_DOMAIN,
                    cats_int64s=[0, 1],
                )
            ],
        ),
        [A, A, B, B, C, C],
    ),
    "LabelEncoder": (
        lambda g, x: as_double(
            g,
            g.node(
                "LabelEncoder",
                [g.node("Cast", [x], to=TensorProto.INT64)],
                domain=ML_DOMAIN,
                keys_int64s=[0, 1],
                values_floats=[5.0, 6.0],
            ),
        ),
        [A, B, C],
    ),
    "a look-up in a table": (
        lambda g, x: g.node(
            "Gather",
            [
                doubles(g, [[1.0, 2.0], [3.0, 4.0]]),
                g.node(
                    "Squeeze",
                    [
                        g.node(
                            "Cast",
                            [g.node("Less", [g.node("Gather", [x, whole(g, [1])], axis=1), doubles(g, 0.0)])],
                            to=TensorProto.INT64,
                        ),
                        whole(g, [1]),
                    ],
                ),
            ],
        ),
        [B, B],
    ),
    "MatMul": (
        lambda g, x: g.node("MatMul", [x, doubles(g, [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 3.0, 0.0]])]),
        [A, B | C, NONE],
    ),
    "Gemm": (
        lambda g, x: g.node(
            "Gemm", [x, doubles(g, [[1.0, 0.0, 0.0], [0.0, 2.0, 3.0]]), doubles(g, [1.0, 1.0])], transB=1
        ),
        [A, B | C],
    ),
    "trees, target by target": (searched, [A, B, C]),
    "row sums, which mix": (
        lambda g, x: g.node("ReduceSum", [x, whole(g, [1])], keepdims=1),
        [ALL],
    ),
    "Softmax, which mixes": (lambda g, x: g.node("Softmax", [x], axis=1), [ALL, ALL, ALL]),
    "an operator without a rule": (
        lambda g, x: g.node("LpNormalization", [x], axis=1, p=2),
        [ALL, ALL, ALL],
    ),
    "MatMul of columns, which mixes": (
        lambda g, x: g.node("MatMul", [g.node("MatMul", [x, g.node("Transpose", [x], perm=[1, 0])]), x]),
        [ALL, ALL, ALL],
    ),
    "columns of a mixed tensor": (
        lambda g, x: g.node("Gather", [g.node("Softmax", [x], axis=1), whole(g, [1])], axis=1),
        [ALL],
    ),
}


def sources(
    write: Callable[[Graph, str], str], inputs: list[Features] | None = None, opaque: bool = False
) -> list[Features]:
    """The features of each column of what a function writes."""
    graph = Graph(ml_opset=5)
    tensor = write(graph, graph.input("x", TensorProto.DOUBLE, 3))
    graph.output("out", tensor, TensorProto.DOUBLE, None)
    subgraph = Subgraph.of(graph.build("sources"), [tensor])
    tensors = observe(subgraph, lambda count: {"x": X[:count]}, ())
    found = ColumnSources(subgraph, tensors, {"x": inputs or [A, B, C]}, [tensor] if opaque else ())
    return found.of(tensor)


@pytest.mark.parametrize("name", KEPT)
def test_columns_have_the_features_they_are_computed_from(name: str) -> None:
    write, wanted = KEPT[name]
    assert sources(write) == wanted


def test_columns_of_one_feature_stay_one_feature() -> None:
    assert sources(lambda g, x: g.node("Softmax", [x], axis=1), [A, A, NONE]) == [A, A, A]


def test_an_opaque_tensor_mixes_all_that_it_is_computed_from() -> None:
    assert sources(searched, opaque=True) == [ALL, ALL, ALL]


def test_graphs_within_a_node_read_tensors_of_the_outer_graph() -> None:
    graph = Graph()
    x = graph.input("x", TensorProto.DOUBLE, 3)
    graph.input("y", TensorProto.DOUBLE, 1)
    half = graph.node("Mul", [x, doubles(graph, 0.5)])
    taken = helper.make_graph(
        [helper.make_node("Mul", [half, "y"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.DOUBLE, ["rows", 3])],
    )
    tensor = graph.node("If", [graph.constant(np.array(False))], then_branch=taken, else_branch=taken)
    graph.output("out", tensor, TensorProto.DOUBLE, 3)
    subgraph = Subgraph.of(graph.build("branches"), [tensor])
    tensors = observe(subgraph, lambda count: {"x": X[:count], "y": X[:count, :1]}, ())
    found = ColumnSources(subgraph, tensors, {"x": [A, A, A], "y": [B]})
    assert found.of(tensor) == [A | B] * 3


def test_inputs_without_rows_are_mixed() -> None:
    """The entries of a bag of words become columns of the text only."""
    graph = Graph()
    zero = graph.node("Mul", [graph.input("x", TensorProto.DOUBLE, 3), graph.constant(np.zeros((1, 3)))])
    start = graph.node("Gather", [zero, graph.constant(np.array([0]))], axis=1)
    rows = graph.input_of_entries("rows", TensorProto.INT64, "entries")
    values = graph.input_of_entries("values", TensorProto.DOUBLE, "entries")
    column = graph.constant(np.array([-1, 1]))
    tensor = graph.node(
        "ScatterElements",
        [start, *(graph.node("Reshape", [part, column]) for part in (rows, values))],
        axis=0,
        reduction="add",
    )
    graph.output("out", tensor, TensorProto.DOUBLE, 1)
    subgraph = Subgraph.of(graph.build("words"), [tensor])
    entries = {"rows": np.zeros(16, np.int64), "values": np.ones(16)}
    tensors = observe(subgraph, lambda count: {"x": X[:count], **entries}, ())
    found = ColumnSources(subgraph, tensors, {"x": [NONE, A, A], "rows": C, "values": C})
    assert found.of(tensor) == [C]


def test_trees_whose_nodes_are_not_apart_are_mixed() -> None:
    """Two trees in turn: the nodes of a tree do not follow its root."""
    graph = Graph(ml_opset=5)
    tensor = searched(graph, graph.input("x", TensorProto.DOUBLE, 3))
    graph.output("out", tensor, TensorProto.DOUBLE, 3)
    (node,) = (node for node in graph.build("trees").graph.node if node.op_type == "TreeEnsemble")
    assert TreeNodes.read(node).columns_by_target() is not None
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    roots = next(each for each in changed.attribute if each.name == "tree_roots")
    roots.ints[:] = sorted(roots.ints, reverse=True)
    assert TreeNodes.read(changed).columns_by_target() is None
