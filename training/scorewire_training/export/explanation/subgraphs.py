"""Parts of a model's graph: what some tensors are computed from, and a run that shows all tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from scorewire_training.export.graph import ML_DOMAIN
from scorewire_training.export.runtime import open_graph

# Two counts of rows tell which dimension of a tensor is that of the rows.
ROW_COUNTS = (2, 3)


@dataclass(frozen=True, slots=True, eq=False)
class Subgraph:
    """The nodes that some tensors are computed by, in the order of the graph."""

    model: onnx.ModelProto
    nodes: list[onnx.NodeProto]

    @classmethod
    def of(cls, model: onnx.ModelProto, tensors: Iterable[str]) -> Subgraph:
        """What tensors of a model's graph are computed by; the model is not copied."""
        needed = set(tensors)
        kept = []
        for node in reversed(model.graph.node):
            if not needed.isdisjoint(node.output):
                kept.append(node)
                needed.update(read_by(node))
        return cls(model, kept[::-1])

    def to_model(
        self, outputs: Iterable[onnx.ValueInfoProto], nodes: Iterable[onnx.NodeProto] | None = None
    ) -> onnx.ModelProto:
        """A model with all inputs of the whole model.

        Args:
            outputs: its outputs.
            nodes: its nodes; without them those of the subgraph.
        """
        graph = self.model.graph
        own = list(self.nodes if nodes is None else nodes)
        read = {name for node in own for name in read_by(node)}
        made = helper.make_graph(
            own,
            graph.name,
            list(graph.input),
            list(outputs),
            [tensor for tensor in graph.initializer if tensor.name in read],
        )
        return helper.make_model(
            made,
            opset_imports=list(self.model.opset_import),
            producer_name=self.model.producer_name,
            ir_version=self.model.ir_version,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Tensors:
    """What a run shows of the tensors of a graph.

    Attributes:
        row_shapes: for tensors of shape [rows, dims...], their dims.
        dtypes: the types of all computed tensors.
        constants: the values of all tensors that are computed from constants alone.
    """

    row_shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, np.dtype[Any]]
    constants: Mapping[str, NDArray[Any]]

    def width(self, tensor: str) -> int | None:
        """The number of columns of a tensor of shape [rows, columns]; None for any other."""
        shape = self.row_shapes.get(tensor, ())
        return shape[0] if len(shape) == 1 else None

    def is_real(self, tensor: str) -> bool:
        """Whether a computed tensor has floats or doubles."""
        return tensor in self.dtypes and self.dtypes[tensor].kind == "f"


def observe(
    subgraph: Subgraph, feeds: Callable[[int], Mapping[str, NDArray[Any]]], stand_ins: Collection[str]
) -> Tensors:
    """Run a subgraph on a few rows, with all its tensors as outputs.

    Args:
        subgraph: the subgraph.
        feeds: the inputs of some number of rows.
        stand_ins: the outputs of trees that are replaced by a single leaf, because only
            their shape is asked for, and trees may be large.
    """
    nodes = [_leaf(node) if node.output[0] in stand_ins else node for node in subgraph.nodes]
    inputs = {value.name for value in subgraph.model.graph.input}
    computed = [name for node in nodes for name in node.output if name]
    outputs = [onnx.ValueInfoProto(name=name) for name in computed]
    run = open_graph(subgraph.to_model(outputs, nodes).SerializeToString()) if computed else None
    read = {name for node in nodes for name in read_by(node)}
    constants = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in subgraph.model.graph.initializer
        if tensor.name in read
    }
    varying = set(inputs)
    for node in nodes:
        if not varying.isdisjoint(read_by(node)):
            varying.update(node.output)
    shapes: dict[str, list[tuple[int, ...]]] = {}
    dtypes: dict[str, np.dtype[Any]] = {}
    for count in ROW_COUNTS:
        given = dict(feeds(count))
        found = dict(given)
        if run is not None:
            found.update(zip(computed, run(computed, given), strict=True))
        for name, value in found.items():
            array = np.asarray(value)
            shapes.setdefault(name, []).append(array.shape)
            dtypes[name] = array.dtype
            if name not in varying:
                constants[name] = array
    row_shapes = {
        name: first[1:]
        for name, (first, second) in shapes.items()
        if name in varying
        and (first[:1], second[:1]) == tuple((count,) for count in ROW_COUNTS)
        and first[1:] == second[1:]
    }
    return Tensors(row_shapes, dtypes, constants)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node by name; tensors as arrays."""
    found = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return {
        name: numpy_helper.to_array(value) if isinstance(value, TensorProto) else value
        for name, value in found.items()
    }


def read_by(node: onnx.NodeProto) -> set[str]:
    """The tensors that a node reads, those that graphs within it may read included."""
    read = set(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            read.update(value.name for value in graph.output)
            read.update(name for inner in graph.node for name in read_by(inner))
    return read


def _leaf(node: onnx.NodeProto) -> onnx.NodeProto:
    """A TreeEnsemble of one leaf with the targets and the type of another."""
    by_name = {each.name: each for each in node.attribute}
    element_type = by_name["leaf_weights"].t.data_type
    zero = helper.make_tensor("zero", element_type, [1], [0.0])
    arrays: dict[str, Any] = {name: [0] for name in _INTEGERS}
    arrays |= {name: [1] for name in ("nodes_trueleafs", "nodes_falseleafs")}
    return helper.make_node(
        "TreeEnsemble",
        list(node.input),
        list(node.output),
        domain=ML_DOMAIN,
        n_targets=by_name["n_targets"].i,
        aggregate_function=1,
        post_transform=0,
        nodes_modes=helper.make_tensor("modes", TensorProto.UINT8, [1], [0]),
        nodes_splits=zero,
        leaf_weights=zero,
        **arrays,
    )


_INTEGERS = (
    "tree_roots",
    "nodes_featureids",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "nodes_missing_value_tracks_true",
    "leaf_targetids",
)
