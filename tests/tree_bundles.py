"""A bundle of decision trees whose scores are known to the bit, written without the training side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from scorewire_contract import bundle as bundles
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2

# Modes of nodes of TreeEnsemble: x <= split.
_LESS_OR_EQUAL = 0
_GOLDEN_ROWS = 64


class Trees:
    """Trees of three splits and four leaves, whose leaves add up in floats, in the order of the trees.

    Args:
        count: the number of trees.
        features: the number of features.
        seed: draws the trees.
    """

    def __init__(self, count: int = 30, features: int = 3, seed: int = 1) -> None:
        draw = np.random.default_rng(seed)
        self.features = features
        self.feature = draw.integers(features, size=(count, 3))
        self.split = draw.normal(size=(count, 3)).astype(np.float32)
        self.missing_true = draw.random((count, 3)) < 0.5
        self.leaves = draw.normal(size=(count, 4)).astype(np.float32)

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """The scores of rows, each as the graph must give it."""
        values, every = rows.astype(np.float32), np.arange(len(rows))
        scores = np.zeros(len(rows), np.float32)
        for feature, split, missing_true, leaves in zip(
            self.feature, self.split, self.missing_true, self.leaves, strict=True
        ):
            chosen = values[:, feature]
            true = np.where(np.isnan(chosen), missing_true, chosen <= split)
            # The second node is on the true side of the first, the third on its false side.
            side = np.where(true[:, 0], 0, 1)
            scores = scores + leaves[2 * side + ~true[every, 1 + side]]
        return scores

    def graph(self) -> bytes:
        """The graph: numbers in double, a cast to float, the trees."""
        count = len(self.feature)
        first, leaf = 3 * np.arange(count), 4 * np.arange(count)
        on_true = np.stack([first + 1, leaf, leaf + 2], axis=1)
        on_false = np.stack([first + 2, leaf + 1, leaf + 3], axis=1)
        leafs = np.tile([0, 1, 1], count)
        trees = helper.make_node(
            "TreeEnsemble",
            ["x"],
            ["value"],
            domain="ai.onnx.ml",
            n_targets=1,
            aggregate_function=1,
            post_transform=0,
            tree_roots=first.tolist(),
            nodes_featureids=self.feature.ravel().tolist(),
            nodes_truenodeids=on_true.ravel().tolist(),
            nodes_falsenodeids=on_false.ravel().tolist(),
            nodes_trueleafs=leafs.tolist(),
            nodes_falseleafs=leafs.tolist(),
            nodes_missing_value_tracks_true=self.missing_true.ravel().astype(int).tolist(),
            nodes_modes=numpy_helper.from_array(np.full(3 * count, _LESS_OR_EQUAL, np.uint8)),
            nodes_splits=numpy_helper.from_array(self.split.ravel()),
            leaf_targetids=[0] * (4 * count),
            leaf_weights=numpy_helper.from_array(self.leaves.ravel()),
        )
        graph = helper.make_graph(
            [helper.make_node("Cast", ["features"], ["x"], to=TensorProto.FLOAT), trees],
            "trees",
            [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["rows", self.features])],
            [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["rows", 1])],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 5)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    def rows(self, count: int, seed: int = 2) -> NDArray[np.float64]:
        """Rows of numbers, some of them missing, and some on a split."""
        draw = np.random.default_rng(seed)
        rows = draw.normal(size=(count, self.features))
        on_split = draw.random(rows.shape) < 0.2
        rows[on_split] = draw.choice(self.split.ravel(), size=on_split.sum())
        rows[draw.random(rows.shape) < 0.1] = np.nan
        return rows


def write_trees_bundle(
    output_dir: Path, trees: Trees | None = None, *, model: str = "trees", version: str = "1.0.0"
) -> Path:
    """Write a regression on numbers x0, x1, ..., any of which may be missing."""
    trees = trees or Trees()
    manifest = manifest_pb2.Manifest(model=model, version=version, description="Asks trees.")
    manifest.created_at.GetCurrentTime()
    graph_input = manifest.coding.inputs.add(name="features", type=manifest_pb2.ELEMENT_TYPE_DOUBLE)
    for i in range(trees.features):
        manifest.schema.features.add(
            name=f"x{i}",
            kind=schema_pb2.FEATURE_KIND_NUMBER,
            minimum=-10,
            maximum=10,
            missing_allowed=True,
            missing_share=0.1,
            magnitude_limit=1e30,
        )
        graph_input.columns.add(number=i)
    manifest.schema.outputs.add(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, width=1)
    golden = manifest_pb2.Golden()
    golden.tolerance.absolute = 1e-5
    rows = trees.rows(_GOLDEN_ROWS)
    golden.rows.row_count = golden.expected.row_count = len(rows)
    golden.rows.numbers.extend(rows.ravel().tolist())
    golden.expected.outputs.add(name="value").numbers.extend(trees.score(rows).tolist())
    files = {bundles.GRAPH: trees.graph(), bundles.GOLDEN: bundles.to_json(golden)}
    return bundles.write_bundle(output_dir, manifest, files)
