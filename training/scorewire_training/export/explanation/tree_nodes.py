"""The arrays of a TreeEnsemble node of a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from scorewire_training.export.explanation.subgraphs import attributes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TreeNodes:
    """A TreeEnsemble that sums leaves, as the arrays of its attributes.

    `roots` has the first node of each tree. By node: `features` are the columns that are
    compared, `on_true` and `on_false` the children, which are leaves where `true_is_leaf`
    and `false_is_leaf`. A tree of one leaf is a node with that leaf on both sides.
    """

    target_count: int
    roots: NDArray[np.int64]
    features: NDArray[np.int64]
    modes: NDArray[np.uint8]
    splits: NDArray[np.floating[Any]]
    missing_true: NDArray[np.bool_]
    on_true: NDArray[np.int64]
    on_false: NDArray[np.int64]
    true_is_leaf: NDArray[np.bool_]
    false_is_leaf: NDArray[np.bool_]
    leaf_targets: NDArray[np.int64]
    leaf_values: NDArray[np.floating[Any]]
    members: NDArray[np.floating[Any]]

    @classmethod
    def read(cls, node: onnx.NodeProto) -> TreeNodes:
        """The arrays of a node."""
        found = attributes(node)

        def integers(name: str) -> NDArray[np.int64]:
            return np.array(found.get(name, ()), np.int64)

        features = integers("nodes_featureids")
        tracks = integers("nodes_missing_value_tracks_true")
        splits = np.asarray(found["nodes_splits"])
        return cls(
            target_count=int(found["n_targets"]),
            roots=integers("tree_roots"),
            features=features,
            modes=np.asarray(found["nodes_modes"]),
            splits=splits,
            missing_true=tracks != 0 if len(tracks) else np.zeros(len(features), np.bool_),
            on_true=integers("nodes_truenodeids"),
            on_false=integers("nodes_falsenodeids"),
            true_is_leaf=integers("nodes_trueleafs") != 0,
            false_is_leaf=integers("nodes_falseleafs") != 0,
            leaf_targets=integers("leaf_targetids"),
            leaf_values=np.asarray(found["leaf_weights"]),
            members=np.asarray(found.get("membership_values", np.zeros(0, splits.dtype))),
        )

    @property
    def is_split(self) -> NDArray[np.bool_]:
        """Whether a node compares anything; a node with one leaf on both sides does not."""
        return np.asarray(~(self.true_is_leaf & self.false_is_leaf & (self.on_true == self.on_false)))

    def columns_read(self) -> NDArray[np.int64]:
        """The columns that splits compare, ascending."""
        return np.unique(self.features[self.is_split])

    def columns_by_target(self) -> list[NDArray[np.int64]] | None:
        """The columns that the trees of each target compare; None if the nodes of trees are not apart."""
        ends = np.append(self.roots[1:], len(self.features))
        if not len(self.roots) or self.roots[0] or (ends < self.roots).any():
            return None
        owner = np.repeat(np.arange(len(self.roots)), ends - self.roots)
        of_leaf = np.full(len(self.leaf_targets), -1)
        sides = ((self.on_true, self.true_is_leaf), (self.on_false, self.false_is_leaf))
        for children, is_leaf in sides:
            if (owner[children[~is_leaf]] != owner[~is_leaf]).any():
                return None
            of_leaf[children[is_leaf]] = owner[is_leaf]
        if any((of_leaf[children[is_leaf]] != owner[is_leaf]).any() for children, is_leaf in sides):
            return None
        pairs = set(zip(of_leaf.tolist(), self.leaf_targets.tolist(), strict=True))
        split, bounds = self.is_split, zip(self.roots, ends, strict=True)
        by_tree = [np.unique(self.features[begin:end][split[begin:end]]) for begin, end in bounds]
        nothing = np.zeros(0, np.int64)
        return [
            np.unique(np.concatenate([nothing, *(by_tree[tree] for tree, own in pairs if own == target)]))
            for target in range(self.target_count)
        ]
