"""Trees of XGBoost and LightGBM as ONNX, with the covers by which the libraries explain, from their dumps.

The export does the same for bundles by another way, so that one can be compared with the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
import xgboost
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_LEQ, _LT = 0, 1


@dataclass(slots=True)
class CoveredTrees:
    """A TreeEnsemble under construction, node by node; leaves have covers, too."""

    columns: int
    targets: int
    is_double: bool
    features: list[int] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    missing_true: list[int] = field(default_factory=list)
    # For each node its child and whether that is a leaf, where the node's question is true and false.
    children: list[list[tuple[int, bool]]] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    node_covers: list[float] = field(default_factory=list)
    leaf_targets: list[int] = field(default_factory=list)
    leaf_values: list[float] = field(default_factory=list)
    leaf_covers: list[float] = field(default_factory=list)

    def add_tree(self, root: tuple[int, bool]) -> None:
        """Add a tree. A root that is a leaf becomes a node with that leaf on both sides."""
        at, is_leaf = root
        if is_leaf:
            at = self.add_node(0, 0.0, missing_true=False, cover=self.leaf_covers[at])
            self.children[at] = [root, root]
        self.roots.append(at)

    def add_node(self, feature: int, threshold: float, *, missing_true: bool, cover: float) -> int:
        """Add a node without children; its number."""
        self.features.append(feature)
        self.thresholds.append(threshold)
        self.missing_true.append(int(missing_true))
        self.node_covers.append(cover)
        self.children.append([])
        return len(self.features) - 1

    def add_leaf(self, target: int, value: float, cover: float) -> tuple[int, bool]:
        """Add a leaf, as the child of a node."""
        self.leaf_targets.append(target)
        self.leaf_values.append(value)
        self.leaf_covers.append(cover)
        return len(self.leaf_values) - 1, True

    def graph(self) -> bytes:
        """The model: from x, [rows, columns], to margins, [rows, targets]."""
        dtype = np.float64 if self.is_double else np.float32
        element = TensorProto.DOUBLE if self.is_double else TensorProto.FLOAT
        (true, true_leaf), (false, false_leaf) = (
            zip(*(both[side] for both in self.children), strict=True) for side in (0, 1)
        )
        modes = np.full(len(self.features), _LEQ if self.is_double else _LT, np.uint8)
        node = helper.make_node(
            "TreeEnsemble",
            ["x"],
            ["margins"],
            domain="ai.onnx.ml",
            n_targets=self.targets,
            aggregate_function=1,
            post_transform=0,
            tree_roots=self.roots,
            nodes_featureids=self.features,
            nodes_truenodeids=true,
            nodes_falsenodeids=false,
            nodes_trueleafs=[int(leaf) for leaf in true_leaf],
            nodes_falseleafs=[int(leaf) for leaf in false_leaf],
            nodes_missing_value_tracks_true=self.missing_true,
            nodes_modes=numpy_helper.from_array(modes),
            nodes_splits=numpy_helper.from_array(np.array(self.thresholds, dtype)),
            leaf_targetids=self.leaf_targets,
            leaf_weights=numpy_helper.from_array(np.array(self.leaf_values, dtype)),
        )
        ports = [
            helper.make_tensor_value_info(name, element, ["rows", width])
            for name, width in (("x", self.columns), ("margins", self.targets))
        ]
        graph = helper.make_graph([node], "trees", ports[:1], ports[1:])
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())

    def term(self, features: list[int] | None = None) -> dict[str, Any]:
        """The term of all trees for the kernel; each column is a feature unless `features` says whose."""
        return {
            "ensemble": "margins",
            "features": list(range(self.columns)) if features is None else features,
            "node_covers": np.array(self.node_covers, np.float64),
            "leaf_covers": np.array(self.leaf_covers, np.float64),
            "scale": 1.0,
            "first_margin": 0,
        }

    def rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """Rows of the type that the trees read."""
        return np.ascontiguousarray(values, np.float64 if self.is_double else np.float32)


def of_xgboost(booster: xgboost.Booster) -> CoveredTrees:
    """The trees, whose covers are sums of Hessians, after a leaf for each target with its base score."""
    learner = json.loads(booster.save_raw("json"))["learner"]
    targets = max(int(learner["learner_model_param"]["num_class"]), 1)
    made = CoveredTrees(booster.num_features(), targets, is_double=False)
    scores = np.atleast_1d(np.array(json.loads(learner["learner_model_param"]["base_score"]), np.float64))
    for target, score in enumerate(np.broadcast_to(scores, targets)):
        is_logistic = learner["objective"]["name"].endswith("logistic")
        made.add_tree(made.add_leaf(target, math.log(score / (1 - score)) if is_logistic else score, 1))
    model = learner["gradient_booster"]["model"]
    for tree, target in zip(model["trees"], model["tree_info"], strict=True):
        made.add_tree(_grow(made, 0, _xgboost_node(made, tree, target)))
    return made


def _xgboost_node(made: CoveredTrees, tree: dict[str, Any], target: int) -> Callable[[Any], Any]:
    def read(at: int) -> Any:
        cover, condition = tree["sum_hessian"][at], tree["split_conditions"][at]
        if tree["left_children"][at] < 0:
            return made.add_leaf(target, condition, cover)
        missing_true = bool(tree["default_left"][at])
        node = made.add_node(tree["split_indices"][at], condition, missing_true=missing_true, cover=cover)
        return node, [tree["left_children"][at], tree["right_children"][at]]

    return read


def of_lightgbm(booster: lightgbm.Booster) -> CoveredTrees:
    """The trees, whose covers are counts of rows; each value may be missing."""
    dump = booster.dump_model()
    targets = dump["num_tree_per_iteration"]
    made = CoveredTrees(dump["max_feature_idx"] + 1, targets, is_double=True)
    for i, tree in enumerate(dump["tree_info"]):
        made.add_tree(_grow(made, tree["tree_structure"], _lightgbm_node(made, i % targets)))
    return made


def _lightgbm_node(made: CoveredTrees, target: int) -> Callable[[Any], Any]:
    def read(node: dict[str, Any]) -> Any:
        if "leaf_value" in node:
            return made.add_leaf(target, node["leaf_value"], node.get("leaf_count", 1))
        assert node["decision_type"] == "<="
        assert node["missing_type"] == "NaN"
        at = made.add_node(
            node["split_feature"],
            node["threshold"],
            missing_true=node["default_left"],
            cover=node["internal_count"],
        )
        return at, [node["left_child"], node["right_child"]]

    return read


def _grow(made: CoveredTrees, root: Any, read: Callable[[Any], Any]) -> tuple[int, bool]:
    """Add what is below a root. `read` adds one node or leaf; of a node it tells number and children."""
    at, below = read(root)
    if below is True:
        return at, True
    made.children[at] = [_grow(made, child, read) for child in below]
    return at, False
