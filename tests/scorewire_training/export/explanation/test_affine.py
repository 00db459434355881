"""Each affine operator is written as weights of columns; at every other one the walk ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from scorewire_training.export.explanation.affine import as_weighted_sum
from scorewire_training.export.explanation.subgraphs import Subgraph, observe
from scorewire_training.export.graph import Graph
from scorewire_training.export.runtime import open_graph

WIDTH = 3
X = np.random.default_rng(0).normal(size=(5, WIDTH))
ROW = np.array([[2.0, -1.0, 0.5]])


def constant(graph: Graph, values: Any) -> str:
    return graph.constant(np.asarray(values, np.float64))


def places(graph: Graph, values: Any) -> str:
    return graph.constant(np.asarray(values, np.int64))


AFFINE: dict[str, Callable[[Graph, str], str]] = {
    "Add": lambda g, x: g.node("Add", [x, constant(g, ROW)]),
    "Add of the constant": lambda g, x: g.node("Add", [constant(g, 3.0), x]),
    "Add of itself": lambda g, x: g.node("Add", [x, x]),
    "Sub": lambda g, x: g.node("Sub", [x, constant(g, ROW)]),
    "Sub from a constant": lambda g, x: g.node("Sub", [constant(g, ROW[0]), x]),
    "Sum": lambda g, x: g.node("Sum", [x, g.node("Neg", [x]), x, constant(g, [1.0])]),
    "Mul": lambda g, x: g.node("Mul", [x, constant(g, ROW)]),
    "Mul of the constant": lambda g, x: g.node("Mul", [constant(g, ROW), x]),
    "Div": lambda g, x: g.node("Div", [x, constant(g, ROW)]),
    "Neg": lambda g, x: g.node("Neg", [x]),
    "Identity": lambda g, x: g.node("Identity", [x]),
    "Cast": lambda g, x: g.node("Cast", [g.node("Cast", [x], to=TensorProto.DOUBLE)], to=TensorProto.DOUBLE),
    "MatMul": lambda g, x: g.node("MatMul", [x, constant(g, np.arange(6.0).reshape(3, 2))]),
    "Concat": lambda g, x: g.node("Concat", [x, g.node("Neg", [x])], axis=1),
    "Gather": lambda g, x: g.node("Gather", [x, places(g, [2, 0, 2])], axis=1),
    "Split": lambda g, x: g.node("Sum", g.nodes("Split", [x, places(g, [1, 1, 1])], 3, axis=1)),
    "a part of Split": lambda g, x: g.nodes("Split", [x, places(g, [1, 2])], 2, axis=1)[1],
    "CumSum": lambda g, x: g.node("CumSum", [x, places(g, 1)]),
    "Pad": lambda g, x: g.node("Pad", [x, places(g, [0, 1, 0, 2]), constant(g, 7.0)]),
    "one column added to all": lambda g, x: g.node("Add", [x, g.node("Gather", [x, places(g, [1])], axis=1)]),
    "one column times several": lambda g, x: g.node(
        "Mul", [g.node("Gather", [x, places(g, [1])], axis=1), constant(g, ROW)]
    ),
}
OTHERS: dict[str, Callable[[Graph, str], str]] = {
    "Exp": lambda g, x: g.node("Exp", [x]),
    "Mul of columns": lambda g, x: g.node("Mul", [x, x]),
    "Div by columns": lambda g, x: g.node("Div", [constant(g, ROW), x]),
    "Div by zero": lambda g, x: g.node("Div", [x, constant(g, [1.0, 0.0, 1.0])]),
    "Cast from truth": lambda g, x: g.node(
        "Cast", [g.node("Less", [x, constant(g, 0.0)])], to=TensorProto.DOUBLE
    ),
    "exclusive CumSum": lambda g, x: g.node("CumSum", [x, places(g, 1)], exclusive=1),
}


def summed(write: Callable[[Graph, str], str]) -> tuple[Any, str, NDArray[np.float64]]:
    """The weighted sum of what a function writes, its tensor, and its numbers for X."""
    graph = Graph()
    tensor = write(graph, graph.input("x", TensorProto.DOUBLE, WIDTH))
    graph.output("out", tensor, TensorProto.DOUBLE, None)
    subgraph = Subgraph.of(graph.build("affine"), [tensor])
    tensors = observe(subgraph, lambda count: {"x": X[:count]}, ())
    whole = subgraph.to_model([onnx.ValueInfoProto(name=tensor)])
    (numbers,) = open_graph(whole.SerializeToString())([tensor], {"x": X})
    return as_weighted_sum(subgraph, tensors, tensor), tensor, np.asarray(numbers)


@pytest.mark.parametrize("name", AFFINE)
def test_affine_operators_are_weights_of_the_input(name: str) -> None:
    found, _, numbers = summed(AFFINE[name])
    assert set(found.weights) == {"x"}
    np.testing.assert_allclose(found.constants + X @ found.weights["x"], numbers, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", OTHERS)
def test_the_walk_ends_at_other_operators(name: str) -> None:
    found, tensor, numbers = summed(OTHERS[name])
    assert set(found.weights) == {tensor}
    np.testing.assert_array_equal(found.weights[tensor], np.eye(numbers.shape[1]))
    assert not found.constants.any()


def test_the_walk_ends_where_it_is_told() -> None:
    graph = Graph()
    x = graph.input("x", TensorProto.DOUBLE, WIDTH)
    half = graph.node("Mul", [x, constant(graph, 0.5)])
    tensor = graph.node("Add", [half, constant(graph, 1.0)])
    graph.output("out", tensor, TensorProto.DOUBLE, WIDTH)
    subgraph = Subgraph.of(graph.build("ends"), [tensor])
    tensors = observe(subgraph, lambda count: {"x": X[:count]}, ())
    found = as_weighted_sum(subgraph, tensors, tensor, ends={half})
    assert set(found.weights) == {half}
    np.testing.assert_array_equal(found.constants, np.ones(WIDTH))
