"""A small builder of ONNX graphs, and the outputs of a model's graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from scorewire_training.export.margins import Margin

# The newest operator set that every supported runtime has. The IR version is older
# than the one that onnx writes by default.
OPSET = 17
IR_VERSION = 10
ML_DOMAIN = "ai.onnx.ml"
_INTEGERS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutput:
    """One output of a model in the graph.

    Attributes:
        name: the name of the output.
        kind: one of schema_pb2.OutputKind.
        tensor: the tensor inside the graph, of shape [rows, width]: float or double
            for numbers and probabilities, int64 of shape [rows] or [rows, 1] for a
            class.
        width: the values of a row.
        class_labels: the classes, for probabilities and a class.
        target: which label of a multilabel classifier the output is about, from 0.
        margin: the margins that the output is a function of; None if there are none, and
            for a class.
        without_margin: why an output that is not a class has no margins; else "".
    """

    name: str
    kind: int
    tensor: str
    width: int
    class_labels: tuple[str, ...] = ()
    target: int = 0
    margin: Margin | None = None
    without_margin: str = ""

    def of_target(self, target: int) -> ModelOutput:
        """The same output for one label of a multilabel classifier; the label's number ends its name."""
        return replace(self, name=f"{self.name}_{target}", target=target)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Covers:
    """The weights of the training rows that reached the nodes and leaves of a TreeEnsemble, in its order."""

    nodes: NDArray[np.float64]
    leaves: NDArray[np.float64]


@dataclass(slots=True)
class Graph:
    """Nodes and constants in the order in which they were added.

    `ml_opset` is the version of the ai.onnx.ml operators: 3 has the
    TreeEnsembleRegressor, 5 the TreeEnsemble. `covers` has the covers of each
    TreeEnsemble whose library tells them, by the name of its output.
    """

    ml_opset: int = 3
    covers: dict[str, Covers] = field(default_factory=dict)
    _nodes: list[onnx.NodeProto] = field(default_factory=list)
    _constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    _inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    _outputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    _count: int = 0

    def name(self, stem: str) -> str:
        """A new name that is unique in the graph."""
        self._count += 1
        return f"{stem}_{self._count}"

    def input(self, name: str, element_type: int, width: int) -> str:
        """Declare an input of shape [rows, width]; returns its name."""
        self._inputs.append(helper.make_tensor_value_info(name, element_type, ["rows", width]))
        return name

    def input_of_entries(self, name: str, element_type: int, size: str) -> str:
        """Declare an input of one dimension whose size is named `size`; returns the input's name."""
        self._inputs.append(helper.make_tensor_value_info(name, element_type, [size]))
        return name

    def constant(self, values: NDArray[Any] | Sequence[Any], stem: str = "constant") -> str:
        """Add a constant; returns its name."""
        array = np.asarray(values)
        name = self.name(stem)
        self._constants[name] = numpy_helper.from_array(array, name)
        return name

    def node(self, op_type: str, inputs: Sequence[str], *, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        return self.nodes(op_type, inputs, 1, domain=domain, **attributes)[0]

    def nodes(
        self, op_type: str, inputs: Sequence[str], output_count: int, *, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs; returns their names.

        An attribute that is an array becomes a list of integers. Large ensembles have
        millions of them, too many for Python objects.
        """
        outputs = [self.name(op_type) for _ in range(output_count)]
        arrays = {name: value for name, value in attributes.items() if isinstance(value, np.ndarray)}
        others = {name: value for name, value in attributes.items() if name not in arrays}
        node = helper.make_node(op_type, list(inputs), outputs, domain=domain, **others)
        for name, array in arrays.items():
            _add_integers(node, name, array)
        self._nodes.append(node)
        return outputs

    def curve(self, op_type: str, x: str, width: int) -> str:
        """Add Exp, Log, Sigmoid or Tanh of a tensor of doubles of shape [rows, width].

        The result has the same bits for any number of rows. onnxruntime computes the
        elements beyond its last full vector by another formula, so the tensor is
        repeated four times: then no element is beyond the last vector.
        """
        wide = self.node(op_type, [self.node("Concat", [x] * 4, axis=1)])
        return self.node("Gather", [wide, self.constant(np.arange(width))], axis=1)

    def output(self, name: str, tensor: str, element_type: int, width: int | None) -> None:
        """Declare an output of shape [rows, width], or [rows] where width is None."""
        self._nodes.append(helper.make_node("Identity", [tensor], [name]))
        shape: list[str | int | None] = ["rows"] if width is None else ["rows", width]
        self._outputs.append(helper.make_tensor_value_info(name, element_type, shape))

    def extend(self, other: onnx.GraphProto, inputs: dict[str, str]) -> dict[str, str]:
        """Add another graph's nodes and constants under new names.

        Args:
            other: the graph; it must have no subgraphs that read tensors of outer graphs.
            inputs: for each input of that graph, the tensor here that feeds it.

        Returns:
            For each output of that graph, the tensor here that holds it.
        """
        prefix = self.name("part")
        names = dict(inputs)

        def rename(name: str) -> str:
            return names.setdefault(name, f"{prefix}/{name}") if name else ""

        for tensor in other.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = rename(tensor.name)
            self._constants[copy.name] = copy
        for node in other.node:
            moved = onnx.NodeProto()
            moved.CopyFrom(node)
            moved.name = ""
            moved.input[:] = [rename(name) for name in node.input]
            moved.output[:] = [rename(name) for name in node.output]
            self._nodes.append(moved)
        return {value.name: rename(value.name) for value in other.output}

    def build(self, name: str) -> onnx.ModelProto:
        """The checked model; nodes and constants are moved into it, because copies may be large."""
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == ML_DOMAIN for node in self._nodes):
            opsets.append(helper.make_opsetid(ML_DOMAIN, self.ml_opset))
        model = helper.make_model(
            helper.make_graph([], name, self._inputs, self._outputs),
            opset_imports=opsets,
            producer_name="scorewire",
            ir_version=IR_VERSION,
        )
        while self._nodes:
            model.graph.node.append(self._nodes.pop(0))
        while self._constants:
            model.graph.initializer.append(self._constants.pop(next(iter(self._constants))))
        onnx.checker.check_model(model)
        return model


def _add_integers(node: onnx.NodeProto, name: str, values: NDArray[Any]) -> None:
    attribute = node.attribute.add(name=name, type=onnx.AttributeProto.INTS)
    for begin in range(0, len(values), _INTEGERS_AT_ONCE):
        attribute.ints.extend(values[begin : begin + _INTEGERS_AT_ONCE].astype(np.int64).tolist())


# ONNX element types by numpy dtype, for casts.
ELEMENT_TYPES: dict[str, int] = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
