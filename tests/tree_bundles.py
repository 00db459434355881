"""A bundle of decision trees whose scores and contributions are known, written without the training side."""

from __future__ import annotations

from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from scorewire_contract import bundle as bundles
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2

# Modes of nodes of TreeEnsemble: x <= split.
_LESS_OR_EQUAL = 0
GOLDEN_ROWS = 64


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
        self.covers = draw.integers(1, 1000, size=(count, 4)).astype(np.float64)

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

    def contributions(self, row: NDArray[np.float64]) -> tuple[float, list[float]]:
        """The base, and the contribution of each feature to the score of a row.

        Shapley values by their definition: a coalition of features is worth the expected sum of the trees
        where these features have the row's values; splits of others go both ways, weighted by covers.
        """
        features = range(self.features)
        worth = {
            coalition: self._expected(row, frozenset(coalition))
            for size in range(self.features + 1)
            for coalition in combinations(features, size)
        }
        values = []
        for feature in features:
            value = 0.0
            for coalition in (each for each in worth if feature not in each):
                joined = tuple(sorted((*coalition, feature)))
                weight = self.features * comb(self.features - 1, len(coalition))
                value += (worth[joined] - worth[coalition]) / weight
            values.append(value)
        return worth[()], values

    def _expected(self, row: NDArray[np.float64], known: frozenset[int]) -> float:
        total = 0.0
        values = row.astype(np.float32)
        for feature, split, missing_true, leaves, covers in zip(
            self.feature, self.split, self.missing_true, self.leaves, self.covers, strict=True
        ):
            chosen = values[feature]
            follows = np.where(np.isnan(chosen), missing_true, chosen <= split)

            def share(node: int, on_true: float, both: float) -> float:
                """The weight of a node's true side."""
                return float(follows[node]) if int(feature[node]) in known else on_true / both  # noqa: B023

            first = share(0, covers[0] + covers[1], covers.sum())
            second = share(1, covers[0], covers[0] + covers[1])
            third = share(2, covers[2], covers[2] + covers[3])
            shares = [first * second, first * (1 - second), (1 - first) * third, (1 - first) * (1 - third)]
            total += float(np.dot(shares, leaves.astype(np.float64)))
        return total

    def graph(self) -> bytes:
        """The graph: numbers in double, a cast to float, the trees."""
        graph = helper.make_graph(
            [helper.make_node("Cast", ["features"], ["x"], to=TensorProto.FLOAT), ensemble("value", self)],
            "trees",
            [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["rows", self.features])],
            [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["rows", 1])],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 5)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    def explanation(self, terms: int = 1) -> tuple[manifest_pb2.Explanation, bytes]:
        """How the output is explained, and the graph that gives what the trees read.

        Each of the terms is a share of all trees.
        """
        told = manifest_pb2.Explanation()
        output = told.outputs.add(output="value", link="identity", constants=[0.0])
        for _ in range(terms):
            add_term(output, "value", self, scale=1 / terms)
        return told, explanation_graph(self.features)

    def rows(self, count: int, seed: int = 2) -> NDArray[np.float64]:
        """Rows of numbers, some of them missing, and some on a split."""
        draw = np.random.default_rng(seed)
        rows = draw.normal(size=(count, self.features))
        on_split = draw.random(rows.shape) < 0.2
        rows[on_split] = draw.choice(self.split.ravel(), size=on_split.sum())
        rows[draw.random(rows.shape) < 0.1] = np.nan
        return rows


def ensemble(output: str, *targets: Trees) -> onnx.NodeProto:
    """The node that sums the trees of each target: x, [rows, columns], to an output, [rows, targets]."""
    counts = [len(trees.feature) for trees in targets]
    count = sum(counts)

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(trees, name).ravel() for trees in targets])

    first, leaf = 3 * np.arange(count), 4 * np.arange(count)
    on_true = np.stack([first + 1, leaf, leaf + 2], axis=1)
    on_false = np.stack([first + 2, leaf + 1, leaf + 3], axis=1)
    leafs = np.tile([0, 1, 1], count)
    return helper.make_node(
        "TreeEnsemble",
        ["x"],
        [output],
        domain="ai.onnx.ml",
        n_targets=len(targets),
        aggregate_function=1,
        post_transform=0,
        tree_roots=first.tolist(),
        nodes_featureids=joined("feature").tolist(),
        nodes_truenodeids=on_true.ravel().tolist(),
        nodes_falsenodeids=on_false.ravel().tolist(),
        nodes_trueleafs=leafs.tolist(),
        nodes_falseleafs=leafs.tolist(),
        nodes_missing_value_tracks_true=joined("missing_true").astype(int).tolist(),
        nodes_modes=numpy_helper.from_array(np.full(3 * count, _LESS_OR_EQUAL, np.uint8)),
        nodes_splits=numpy_helper.from_array(joined("split")),
        leaf_targetids=np.repeat(np.arange(len(targets)), 4 * np.array(counts)).tolist(),
        leaf_weights=numpy_helper.from_array(joined("leaves")),
    )


def add_term(
    output: manifest_pb2.ExplainedOutput,
    name: str,
    *targets: Trees,
    first_margin: int = 0,
    scale: float = 1.0,
) -> None:
    """Add the term of `ensemble(name, *targets)` to what is told of an output."""
    covers = np.concatenate([trees.covers for trees in targets])
    left, right = covers[:, :2].sum(axis=1), covers[:, 2:].sum(axis=1)
    output.trees.add(
        input="x",
        ensemble=name,
        features=range(targets[0].features),
        node_covers=np.stack([left + right, left, right], axis=1).ravel().tolist(),
        leaf_covers=covers.ravel().tolist(),
        scale=scale,
        first_margin=first_margin,
    )


def explanation_graph(features: int) -> bytes:
    """The graph of an explanation: what the trees read, x."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["features"], ["x"], to=TensorProto.FLOAT)],
        "explanation",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["rows", features])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", features])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def add_numbers(manifest: manifest_pb2.Manifest, count: int) -> None:
    """Add numbers x0, x1, ..., any of which may be missing, to a schema, and code them as they are."""
    graph_input = manifest.coding.inputs.add(name="features", type=manifest_pb2.ELEMENT_TYPE_DOUBLE)
    for i in range(count):
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


def write_trees_bundle(
    output_dir: Path,
    trees: Trees | None = None,
    *,
    model: str = "trees",
    version: str = "1.0.0",
    terms: int = 1,
) -> Path:
    """Write a regression on numbers x0, x1, ..., any of which may be missing."""
    trees = trees or Trees()
    manifest = manifest_pb2.Manifest(model=model, version=version, description="Asks trees.")
    manifest.created_at.GetCurrentTime()
    add_numbers(manifest, trees.features)
    manifest.schema.outputs.add(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, width=1)
    golden = manifest_pb2.Golden()
    golden.tolerance.absolute = 1e-5
    rows = trees.rows(GOLDEN_ROWS)
    golden.rows.row_count = golden.expected.row_count = len(rows)
    golden.rows.numbers.extend(rows.ravel().tolist())
    golden.expected.outputs.add(name="value").numbers.extend(trees.score(rows).tolist())
    explanation, graph = trees.explanation(terms)
    files = {
        bundles.GRAPH: trees.graph(),
        bundles.GOLDEN: bundles.to_json(golden),
        bundles.EXPLANATION: explanation.SerializeToString(deterministic=True),
        bundles.EXPLANATION_GRAPH: graph,
    }
    return bundles.write_bundle(output_dir, manifest, files)
