"""explanation.onnx: what trees read, and contributions of products.

The contributions of a linear function are its Shapley values for independent columns: the
weight of a column times its distance from the mean of the sample, added up over the
columns of a feature (Lundberg and Lee 2017, "A unified approach to interpreting model
predictions", corollary 1). What the means contribute is part of the constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.export.explanation.plan import LinearPart, Plan
from scorewire_training.export.explanation.subgraphs import Subgraph, Tensors
from scorewire_training.export.graph import ELEMENT_TYPES


class ExplanationGraph:
    """Writes the graph, and the parts of explanation.pb that name its outputs.

    Args:
        model: the model's graph.
        tensors: what is known of its tensors.
    """

    def __init__(self, model: onnx.ModelProto, tensors: Tensors) -> None:
        self._model, self._tensors = model, tensors
        self._names: dict[str, str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._outputs: dict[str, onnx.ValueInfoProto] = {}
        self._read: list[str] = []

    def describe(self, plan: Plan, means: Mapping[str, NDArray[np.float64]]) -> manifest_pb2.ExplainedOutput:
        """An output's part of explanation.pb.

        Args:
            plan: the output's plan.
            means: the means of the columns of each tensor of its products.
        """
        output, margin = plan.output, plan.margin
        constants = plan.constants + sum(
            means[part.tensor][part.columns] @ part.weights for part in plan.linear
        )
        message = manifest_pb2.ExplainedOutput(output=output.name, link=margin.link, constants=constants)
        # A single margin is that of the second of two classes.
        message.labels.extend(output.class_labels[-margin.width :] if output.class_labels else ())
        for part in plan.trees:
            message.trees.add(
                input=self._names.setdefault(part.input, f"tree_input_{len(self._names)}"),
                ensemble=part.ensemble,
                features=part.features,
                node_covers=part.covers.nodes,
                leaf_covers=part.covers.leaves,
                scale=part.scale,
                first_margin=part.first_margin,
            )
        if plan.linear:
            features = np.unique(np.concatenate([part.features for part in plan.linear]))
            message.linear.add(values=f"linear_{output.name}", features=features)
        return message

    def add(
        self,
        plan: Plan,
        message: manifest_pb2.ExplainedOutput,
        means: Mapping[str, NDArray[np.float64]],
    ) -> None:
        """Add what an explained output needs; the arguments are those and the result of `describe`."""
        for part, term in zip(plan.trees, message.trees, strict=True):
            if term.input not in self._outputs:
                dtype, width = self._tensors.dtypes[part.input], self._tensors.width(part.input)
                self._node("Identity", [part.input], term.input)
                self._output(term.input, ELEMENT_TYPES[dtype.name], width)
                self._read.append(part.input)
        for linear in message.linear:
            features = np.array(linear.features, np.intp)
            sums = [
                self._products(f"{linear.values}/{place}", part, means[part.tensor][part.columns], features)
                for place, part in enumerate(plan.linear)
            ]
            self._node("Sum", sums, linear.values)
            self._output(linear.values, TensorProto.DOUBLE, len(features) * len(plan.constants))

    def build(self) -> onnx.ModelProto:
        """The checked graph."""
        before = Subgraph.of(self._model, self._read)
        made = before.to_model(self._outputs.values())
        made.graph.node.extend(self._nodes)
        made.graph.initializer.extend(self._constants)
        onnx.checker.check_model(made)
        return made

    def _products(
        self, prefix: str, part: LinearPart, means: NDArray[np.float64], features: NDArray[np.intp]
    ) -> str:
        """(columns - means) @ a matrix that keeps features apart: [rows, margins x features]."""
        count, margins = part.weights.shape
        matrix = np.zeros((count, margins, len(features)))
        own = np.searchsorted(features, part.features)
        matrix[np.arange(count), :, own] = part.weights
        places = self._constant(f"{prefix}/columns", part.columns.astype(np.int64))
        picked = self._node("Gather", [part.tensor, places], f"{prefix}/picked", axis=1)
        wide = self._node("Cast", [picked], f"{prefix}/wide", to=TensorProto.DOUBLE)
        distance = self._node(
            "Sub", [wide, self._constant(f"{prefix}/means", means[np.newaxis, :])], f"{prefix}/distance"
        )
        weights = self._constant(f"{prefix}/weights", matrix.reshape(count, -1))
        self._read.append(part.tensor)
        return self._node("MatMul", [distance, weights], f"{prefix}/products")

    def _node(self, op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(op_type, list(inputs), [output], **attributes))
        return output

    def _constant(self, name: str, values: NDArray[np.generic]) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _output(self, name: str, element_type: int, width: int | None) -> None:
        self._outputs[name] = helper.make_tensor_value_info(name, element_type, ["rows", width])
