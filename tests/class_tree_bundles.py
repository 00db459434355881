"""A bundle of decision trees with two outputs that can be explained, one of them of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from scorewire_contract import bundle as bundles
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from tests.tree_bundles import GOLDEN_ROWS, Trees, add_numbers, add_term, ensemble, explanation_graph

LABELS = ("low", "middle", "high")
# What the margins of the classes are without trees.
CONSTANTS = (0.5, 0.0, -0.25)
_FLOAT = TensorProto.FLOAT


class ClassTrees:
    """Trees for the margin of each class, and trees for a value.

    The trees of the first two classes are one node of the graph, and those of the last class another: one
    term has several margins, and one begins at a later margin.

    Args:
        count: the number of trees of each margin.
        features: the number of features.
    """

    def __init__(self, count: int = 8, features: int = 4) -> None:
        *self.classes, self.value = (Trees(count, features, seed) for seed in (11, 12, 13, 14))
        self.features = features

    def score(self, rows: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
        """The outputs of rows, by name."""
        sums = np.stack([trees.score(rows) for trees in self.classes], axis=1)
        margins = sums + np.array(CONSTANTS, np.float32)
        shares = np.exp(margins - margins.max(axis=1, keepdims=True))
        return {
            "probabilities": shares / shares.sum(axis=1, keepdims=True),
            "label": margins.argmax(axis=1).astype(np.float32),
            "value": self.value.score(rows),
        }

    def graph(self) -> bytes:
        """The graph: the trees, and the softmax of the margins of the classes."""
        nodes = [
            helper.make_node("Cast", ["features"], ["x"], to=_FLOAT),
            ensemble("first", *self.classes[:2]),
            ensemble("last", self.classes[2]),
            ensemble("value", self.value),
            helper.make_node("Concat", ["first", "last"], ["sums"], axis=1),
            helper.make_node("Add", ["sums", "constants"], ["margins"]),
            helper.make_node("Softmax", ["margins"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=1),
        ]
        graph = helper.make_graph(
            nodes,
            "class_trees",
            [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["rows", self.features])],
            [
                helper.make_tensor_value_info("probabilities", _FLOAT, ["rows", len(LABELS)]),
                helper.make_tensor_value_info("label", TensorProto.INT64, ["rows", 1]),
                helper.make_tensor_value_info("value", _FLOAT, ["rows", 1]),
            ],
            [numpy_helper.from_array(np.array(CONSTANTS, np.float32), "constants")],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 5)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    def explanation(self) -> manifest_pb2.Explanation:
        """How the outputs are explained: the label by its probabilities."""
        told = manifest_pb2.Explanation()
        classes = told.outputs.add(output="probabilities", link="softmax", labels=LABELS, constants=CONSTANTS)
        add_term(classes, "first", *self.classes[:2])
        add_term(classes, "last", self.classes[2], first_margin=2)
        value = told.outputs.add(output="value", link="identity", constants=[0.0])
        add_term(value, "value", self.value)
        return told


def write_class_trees_bundle(output_dir: Path, trees: ClassTrees, *, model: str = "class_trees") -> Path:
    """Write a model of the numbers x0, x1, ..., any of which may be missing, with three outputs."""
    manifest = manifest_pb2.Manifest(model=model, version="1.0.0", description="Asks trees for classes.")
    manifest.created_at.GetCurrentTime()
    add_numbers(manifest, trees.features)
    outputs = manifest.schema.outputs
    outputs.add(
        name="probabilities",
        kind=schema_pb2.OUTPUT_KIND_PROBABILITY,
        width=len(LABELS),
        class_labels=LABELS,
    )
    outputs.add(name="label", kind=schema_pb2.OUTPUT_KIND_CLASS, width=1, class_labels=LABELS)
    outputs.add(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, width=1)
    golden = manifest_pb2.Golden()
    golden.tolerance.absolute = 1e-5
    rows = trees.value.rows(GOLDEN_ROWS)
    golden.rows.row_count = golden.expected.row_count = len(rows)
    golden.rows.numbers.extend(rows.ravel().tolist())
    for name, numbers in trees.score(rows).items():
        golden.expected.outputs.add(name=name).numbers.extend(numbers.ravel().tolist())
    files = {
        bundles.GRAPH: trees.graph(),
        bundles.GOLDEN: bundles.to_json(golden),
        bundles.EXPLANATION: trees.explanation().SerializeToString(deterministic=True),
        bundles.EXPLANATION_GRAPH: explanation_graph(trees.features),
    }
    return bundles.write_bundle(output_dir, manifest, files)
