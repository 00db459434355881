"""Path-dependent TreeSHAP in NumPy, leaf by leaf: for proofs where the kernel is not installed.

A leaf of value v that a row reaches through the splits of the features D contributes to
each feature j of D

    v (o_j - z_j) * integral from 0 to 1 of the product over k != j of (t o_k + (1 - t) z_k) dt,

where z_j is the product of the shares of training rows along the splits of j, and o_j is
1 if the row itself follows all splits of j, else 0. This is the Shapley value of the
game in which an absent feature's splits are passed by shares of training rows (Lundberg
et al. 2020, "From local explanations to global understanding with explainable AI for
trees", algorithm 1). Gauss-Legendre quadrature with half as many points as there are
features is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from scorewire_training.export.explanation.tree_nodes import TreeNodes
from scorewire_training.export.graph import Covers

_AT_MOST, _LESS, _MEMBER = 0, 1, 6
# Numbers in one array of factors.
_MOST_FACTORS = 1 << 22

# By feature, the share of training rows along its splits, and these splits with their directions.
_Path: TypeAlias = dict[int, tuple[float, tuple[tuple[int, bool], ...]]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Leaf:
    """A leaf, and for each feature of its path the share `z` and the splits with their directions."""

    target: int
    value: float
    features: tuple[int, ...]
    shares: tuple[float, ...]
    splits: tuple[tuple[tuple[int, bool], ...], ...]


class TreeShap:
    """The contributions of features to the sums of a TreeEnsemble.

    Args:
        nodes: the ensemble.
        covers: its covers.
        features: for each column of the input, the feature that it is computed from.
        feature_count: the number of features.
    """

    def __init__(self, nodes: TreeNodes, covers: Covers, features: Sequence[int], feature_count: int) -> None:
        self._nodes, self._feature_count = nodes, feature_count
        self._leaves: dict[int, list[_Leaf]] = {}
        self.base = np.zeros(nodes.target_count)
        for root in nodes.roots.tolist():
            for leaf in _leaves(nodes, covers, features, root):
                self._leaves.setdefault(len(leaf.features), []).append(leaf)
                self.base[leaf.target] += leaf.value * np.prod(leaf.shares)

    def run(self, x: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The sums [rows, targets], and the contributions [rows, targets, features], of inputs."""
        taken = _decisions(self._nodes, x)
        margins = np.zeros((len(x), self._nodes.target_count))
        values = np.zeros((len(x), self._nodes.target_count, self._feature_count))
        for size, leaves in self._leaves.items():
            points = (size + 1) // 2
            step = max(1, _MOST_FACTORS // max(1, len(x) * size * points))
            for begin in range(0, len(leaves), step):
                self._add(leaves[begin : begin + step], size, taken, margins, values)
        return margins, values

    def _add(
        self,
        leaves: list[_Leaf],
        size: int,
        taken: NDArray[np.bool_],
        margins: NDArray[np.float64],
        values: NDArray[np.float64],
    ) -> None:
        """Add what leaves with the same number of features contribute."""
        value = np.array([leaf.value for leaf in leaves])
        targets = np.array([leaf.target for leaf in leaves])
        follows = np.ones((len(taken), len(leaves), size), np.bool_)
        for place, leaf in enumerate(leaves):
            for slot, splits in enumerate(leaf.splits):
                for node, direction in splits:
                    follows[:, place, slot] &= taken[:, node] == direction
        reached = follows.all(axis=2)
        rows = np.arange(len(taken))
        np.add.at(margins, (rows[:, np.newaxis], targets), reached * value)
        if not size:
            return
        shares = np.array([leaf.shares for leaf in leaves])
        t, weights = np.polynomial.legendre.leggauss((size + 1) // 2)
        t = (t + 1) / 2
        factors = follows[..., np.newaxis] * t + shares[..., np.newaxis] * (1 - t)
        before = np.ones_like(factors)
        np.cumprod(factors[:, :, :-1], axis=2, out=before[:, :, 1:])
        after = np.ones_like(factors)
        after[:, :, :-1] = np.cumprod(factors[:, :, :0:-1], axis=2)[:, :, ::-1]
        integrals = (before * after) @ (weights / 2)
        parts = value[:, np.newaxis] * (follows - shares) * integrals
        features = np.array([leaf.features for leaf in leaves])
        np.add.at(values, (rows[:, np.newaxis, np.newaxis], targets[:, np.newaxis], features), parts)


def _leaves(nodes: TreeNodes, covers: Covers, features: Sequence[int], root: int) -> Iterator[_Leaf]:
    """The leaves of a tree."""
    paths: list[tuple[int, _Path]] = [(root, {})]
    is_split = nodes.is_split
    while paths:
        node, path = paths.pop()
        if not is_split[node]:
            yield _leaf(nodes, int(nodes.on_true[node]), path)
            continue
        feature, cover = features[nodes.features[node]], covers.nodes[node]
        for direction, child, is_leaf in (
            (True, int(nodes.on_true[node]), nodes.true_is_leaf[node]),
            (False, int(nodes.on_false[node]), nodes.false_is_leaf[node]),
        ):
            reached = (covers.leaves if is_leaf else covers.nodes)[child]
            share, splits = path.get(feature, (1.0, ()))
            # No training row reached the split: each side counts as much as the other.
            ratio = float(reached / cover) if cover > 0 else 0.5
            longer = {**path, feature: (share * ratio, (*splits, (node, direction)))}
            if is_leaf:
                yield _leaf(nodes, child, longer)
            else:
                paths.append((child, longer))


def _leaf(nodes: TreeNodes, leaf: int, path: _Path) -> _Leaf:
    return _Leaf(
        target=int(nodes.leaf_targets[leaf]),
        value=float(nodes.leaf_values[leaf]),
        features=tuple(path),
        shares=tuple(share for share, _ in path.values()),
        splits=tuple(splits for _, splits in path.values()),
    )


def _decisions(nodes: TreeNodes, x: NDArray[np.floating]) -> NDArray[np.bool_]:
    """For each row and node, whether the row goes to the child on the true side."""
    compared = x.astype(nodes.splits.dtype)[:, nodes.features]
    taken = np.where(nodes.modes == _LESS, compared < nodes.splits, compared <= nodes.splits)
    ends = np.flatnonzero(np.isnan(nodes.members))
    begins = np.append(0, ends + 1)
    for place, node in enumerate(np.flatnonzero(nodes.modes == _MEMBER).tolist()):
        taken[:, node] = np.isin(compared[:, node], nodes.members[begins[place] : ends[place]])
    return np.where(np.isnan(compared), nodes.missing_true, taken)
