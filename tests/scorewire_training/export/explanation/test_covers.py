"""Covers are the library's own, and stand in the order of the node."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray
from onnx import TensorProto
from sklearn import ensemble

from scorewire_training.export.explanation.subgraphs import Subgraph
from scorewire_training.export.explanation.tree_nodes import TreeNodes
from scorewire_training.export.graph import ELEMENT_TYPES, Covers, Graph
from scorewire_training.export.trees import read_trees


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=(400, 4))


@pytest.fixture(scope="module")
def weights() -> NDArray[np.float64]:
    return np.random.default_rng(1).uniform(0.5, 2.0, 400)


def emitted(model: object) -> tuple[TreeNodes, Covers]:
    """The only TreeEnsemble of a model's graph, and its covers."""
    trees = read_trees(model)
    assert trees is not None
    graph = Graph()
    outputs = trees.emit(graph, graph.input("x", ELEMENT_TYPES[trees.input_type], 4))
    graph.output("out", outputs[0].tensor, TensorProto.DOUBLE, outputs[0].width)
    built = graph.build("trees")
    ((name, covers),) = graph.covers.items()
    (node,) = (node for node in Subgraph.of(built, [name]).nodes if node.op_type == "TreeEnsemble")
    return TreeNodes.read(node), covers


def check_sums(nodes: TreeNodes, covers: Covers, rounding: float = 0.0) -> None:
    """The covers of the children of each split add up to its own."""
    assert len(covers.nodes) == len(nodes.features)
    assert len(covers.leaves) == len(nodes.leaf_values)
    left = np.where(nodes.true_is_leaf, covers.leaves[nodes.on_true * nodes.true_is_leaf], 0)
    left += np.where(nodes.true_is_leaf, 0, covers.nodes[nodes.on_true * ~nodes.true_is_leaf])
    right = np.where(nodes.false_is_leaf, covers.leaves[nodes.on_false * nodes.false_is_leaf], 0)
    right += np.where(nodes.false_is_leaf, 0, covers.nodes[nodes.on_false * ~nodes.false_is_leaf])
    split = nodes.is_split
    np.testing.assert_allclose((left + right)[split], covers.nodes[split], rtol=rounding)


def test_xgboost_has_sums_of_hessians(rows: NDArray[Any], weights: NDArray[Any]) -> None:
    model = xgboost.XGBClassifier(n_estimators=3, max_depth=3).fit(
        rows, rows[:, 0] > 0, sample_weight=weights
    )
    nodes, covers = emitted(model)
    frame = model.get_booster().trees_to_dataframe()
    splits = frame[frame.Feature != "Leaf"].Cover.to_numpy()
    leaves = frame[frame.Feature == "Leaf"].Cover.to_numpy()
    # A base score of another kind than 0 is a first tree of one leaf.
    begin = len(covers.nodes) - len(splits)
    np.testing.assert_allclose(covers.nodes[begin:], splits, rtol=1e-6)
    np.testing.assert_allclose(covers.leaves[begin:], leaves, rtol=1e-6)
    check_sums(nodes, covers, rounding=1e-5)


def test_lightgbm_has_counts_and_not_weights(rows: NDArray[Any], weights: NDArray[Any]) -> None:
    model = lightgbm.LGBMRegressor(n_estimators=3, num_leaves=6, verbose=-1)
    model.fit(rows, rows[:, 0] * rows[:, 1], sample_weight=weights)
    nodes, covers = emitted(model)
    counts = model.booster_.trees_to_dataframe()
    inner = counts.left_child.notna()
    # The frame is in the order of a walk, the text in that of the splits.
    assert sorted(covers.nodes) == sorted(counts["count"][inner])
    assert sorted(covers.leaves) == sorted(counts["count"][~inner])
    check_sums(nodes, covers)
    assert covers.nodes[0] == len(rows)


def test_scikit_learn_has_sums_of_weights(rows: NDArray[Any], weights: NDArray[Any]) -> None:
    model = ensemble.RandomForestRegressor(2, max_depth=3, random_state=0)
    nodes, covers = emitted(model.fit(rows, rows[:, 0], sample_weight=weights))
    wanted = [
        tree.tree_.weighted_n_node_samples[tree.tree_.children_left != -1] for tree in model.estimators_
    ]
    np.testing.assert_array_equal(covers.nodes, np.concatenate(wanted))
    check_sums(nodes, covers, rounding=1e-12)


def test_hist_gradient_boosting_has_counts(rows: NDArray[Any]) -> None:
    model = ensemble.HistGradientBoostingRegressor(max_iter=3, max_leaf_nodes=5).fit(rows, rows[:, 0])
    nodes, covers = emitted(model)
    wanted = [own.nodes[own.nodes["is_leaf"] == 0]["count"] for (own,) in model._predictors]
    begin = len(covers.nodes) - sum(map(len, wanted))
    np.testing.assert_array_equal(covers.nodes[begin:], np.concatenate(wanted))
    check_sums(nodes, covers)


def test_every_copy_of_a_tree_has_its_covers(rows: NDArray[Any]) -> None:
    model = ensemble.RandomForestRegressor(2, max_depth=2, random_state=0)
    nodes, covers = emitted(model.fit(rows, rows[:, :3]))
    assert nodes.target_count == 3
    check_sums(nodes, covers, rounding=1e-12)
    first = len(covers.nodes) // 6
    np.testing.assert_array_equal(covers.nodes[:first], covers.nodes[first : 2 * first])


@pytest.mark.parametrize(
    "model",
    [
        xgboost.XGBRegressor(n_estimators=2, base_score=3.0),
        lightgbm.LGBMRegressor(n_estimators=2, verbose=-1),
        ensemble.HistGradientBoostingRegressor(max_iter=2),
        ensemble.RandomForestRegressor(2),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_tree_of_one_leaf_is_a_node_with_a_cover(model: Any, rows: NDArray[Any]) -> None:
    nodes, covers = emitted(model.fit(rows, np.ones(len(rows))))
    assert not nodes.is_split.any()
    assert len(covers.nodes) == len(nodes.features) == len(covers.leaves)
    assert (covers.nodes == covers.leaves).all()
    assert (covers.nodes > 0).all()


def test_lightgbm_without_counts_has_no_covers(rows: NDArray[Any]) -> None:
    booster = lightgbm.LGBMRegressor(n_estimators=1, num_leaves=4, verbose=-1).fit(rows, rows[:, 0]).booster_
    lines = [line for line in booster.model_to_string().splitlines() if not line.startswith("internal_count")]
    # LightGBM itself counts the bytes of each tree.
    text = "\n".join(line for line in lines if not line.startswith("tree_sizes"))
    trees = read_trees(lightgbm.Booster(model_str=text))
    assert trees is not None
    graph = Graph()
    trees.emit(graph, graph.input("x", TensorProto.DOUBLE, 4))
    assert not graph.covers
