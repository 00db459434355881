"""Shapley values by their definition: all coalitions of the caller's columns, one row at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import onnx
from numpy.typing import NDArray

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.export.explanation.tree_nodes import TreeNodes


def expected(
    nodes: TreeNodes,
    term: manifest_pb2.TreeTerm,
    row: NDArray[np.floating],
    known: Iterable[int],
) -> NDArray[np.float64]:
    """The expected sums [targets] of a TreeEnsemble for a row of which some features are known.

    At a split of an unknown feature both sides count, by their covers.
    """
    known, members = set(known), _members(nodes)
    sums = np.zeros(nodes.target_count)

    def walk(place: int, is_leaf: bool, weight: float) -> None:
        if is_leaf:
            sums[nodes.leaf_targets[place]] += weight * float(nodes.leaf_values[place])
            return
        sides = {
            True: (int(nodes.on_true[place]), bool(nodes.true_is_leaf[place])),
            False: (int(nodes.on_false[place]), bool(nodes.false_is_leaf[place])),
        }
        if sides[True] == sides[False]:
            walk(*sides[True], weight)
            return
        column = int(nodes.features[place])
        if term.features[column] in known:
            walk(*sides[_decide(nodes, members, place, row[column])], weight)
            return
        for child, child_is_leaf in sides.values():
            cover = (term.leaf_covers if child_is_leaf else term.node_covers)[child]
            walk(child, child_is_leaf, weight * cover / term.node_covers[place])

    for root in nodes.roots.tolist():
        walk(root, False, 1.0)
    return sums


def shapley(
    nodes: TreeNodes, term: manifest_pb2.TreeTerm, row: NDArray[np.floating], feature_count: int
) -> NDArray[np.float64]:
    """The Shapley values of the features in the game of `expected`, [targets, features]."""
    players = sorted({feature for feature in term.features if feature < feature_count})
    worth = {
        coalition: expected(nodes, term, row, coalition)
        for size in range(len(players) + 1)
        for coalition in combinations(players, size)
    }
    values = np.zeros((nodes.target_count, feature_count))
    for player in players:
        others = [other for other in players if other != player]
        for size in range(len(players)):
            weight = 1 / (len(players) * math.comb(len(players) - 1, size))
            for coalition in combinations(others, size):
                with_player = tuple(sorted((*coalition, player)))
                values[:, player] += weight * (worth[with_player] - worth[coalition])
    return values


def explain_by_definition(
    model: bytes,
    explained: manifest_pb2.ExplainedOutput,
    tensors: Sequence[NDArray[np.floating]],
    feature_count: int,
) -> NDArray[np.float64]:
    """The contributions [rows, margins, features] of an output's trees, from what each term reads."""
    graph = onnx.load_model_from_string(model).graph
    made_by = {name: node for node in graph.node for name in node.output}
    values = np.zeros((len(tensors[0]), len(explained.constants), feature_count))
    for term, rows in zip(explained.trees, tensors, strict=True):
        nodes = TreeNodes.read(made_by[term.ensemble])
        place = slice(term.first_margin, term.first_margin + nodes.target_count)
        for row, own in zip(rows, values, strict=True):
            own[place] += term.scale * shapley(nodes, term, row, feature_count)
    return values


def _decide(nodes: TreeNodes, members: dict[int, set[float]], place: int, value: np.floating) -> bool:
    if np.isnan(value):
        return bool(nodes.missing_true[place])
    if place in members:
        return float(value) in members[place]
    split = nodes.splits[place]
    compared = value.astype(split.dtype)
    return bool(compared < split) if nodes.modes[place] == 1 else bool(compared <= split)


def _members(nodes: TreeNodes) -> dict[int, set[float]]:
    """The members of the set of each node that has one."""
    members: dict[int, set[float]] = {}
    rest = iter(nodes.members.tolist())
    for place in np.flatnonzero(nodes.modes == 6).tolist():
        members[place] = set()
        for value in rest:
            if math.isnan(value):
                break
            members[place].add(value)
    return members
