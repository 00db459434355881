"""Decision trees as plain arrays, for all libraries.

The nodes of a tree are numbered from its root, 0. An inner node compares one feature
by its mode, and the result leads to `true_child` or `false_child`. A missing value
(NaN) goes to the side that `missing_true` names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

# LightGBM reads values of at most this magnitude, a float, as zero.
LIGHTGBM_ZERO = float(np.float32(1e-35))


class NodeMode(IntEnum):
    """How a node compares a value; the numbers are the modes of ONNX's TreeEnsemble."""

    AT_MOST = 0
    LESS = 1
    MEMBER = 6


class CodeRounding(Enum):
    """How a library rounds a category's code that is not a whole number.

    The mode MEMBER needs whole numbers: onnxruntime tests small sets by bit mask, in
    which 2.5 counts as 2.
    """

    FLOOR = "floor"
    TOWARDS_ZERO = "towards zero"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tree:
    """One tree of n nodes; all arrays have n entries.

    `values` [n, width] are those of the leaves; values of inner nodes and children of
    leaves are never read. Column j counts towards the ensemble's target `targets[j]`.
    `members` has the codes of each node with the mode MEMBER.

    `cover` is the weight of the training rows that reached each node, by the measure that
    the library itself explains with: XGBoost's sums of hessians, LightGBM's and
    HistGradientBoosting's counts, scikit-learn's sums of sample weights. None if the
    library tells none.
    """

    is_leaf: NDArray[np.bool_]
    feature: NDArray[np.int64]
    mode: NDArray[np.int64]
    threshold: NDArray[np.float64]
    true_child: NDArray[np.int64]
    false_child: NDArray[np.int64]
    missing_true: NDArray[np.bool_]
    values: NDArray[np.float64]
    targets: tuple[int, ...]
    members: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)
    cover: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ensemble:
    """Trees whose leaves add up to one margin for each target.

    The margin is (base + sum of leaves, in the order of the trees) / divisor,
    accumulated in `element_type`, "float32" or "float64".

    Before the trees read a row, values that equal `missing_value` become NaN, and so do
    values up to LightGBM's zero of the features in `zero_is_missing`. Codes of
    categories are rounded by `code_rounding`.
    """

    trees: tuple[Tree, ...]
    base: NDArray[np.float64]
    element_type: str
    divisor: float = 1.0
    missing_value: float | None = None
    zero_is_missing: frozenset[int] = frozenset()
    code_rounding: CodeRounding = CodeRounding.FLOOR

    @property
    def target_count(self) -> int:
        """The number of margins of a row."""
        return len(self.base)

    def least_margin(self) -> float:
        """A number that no margin is below."""
        least = [tree.values[tree.is_leaf].min(initial=0.0) for tree in self.trees]
        return float((np.min(self.base, initial=0.0) + math.fsum(least)) / self.divisor)

    def features(self) -> list[int]:
        """The features that the trees read, ascending."""
        asked = [tree.feature[~tree.is_leaf] for tree in self.trees]
        return [int(feature) for feature in np.unique(np.concatenate(asked))] if asked else []

    def over(self, features: Sequence[int]) -> Ensemble:
        """The ensemble with some features only, ascending, which include all that the trees read."""
        listed = np.asarray(features, dtype=np.int64)
        trees = tuple(
            replace(tree, feature=np.where(tree.is_leaf, 0, np.searchsorted(listed, tree.feature)))
            for tree in self.trees
        )
        zeros = frozenset(place for place, feature in enumerate(features) if feature in self.zero_is_missing)
        return replace(self, trees=trees, zero_is_missing=zeros)

    def thresholds(self) -> dict[int, NDArray[np.float64]]:
        """By feature, the finite thresholds that it is compared with, ascending."""
        return _distinct(_compared(tree) for tree in self.trees)

    def coded_features(self) -> list[int]:
        """The features that splits read as categories, ascending."""
        asked = [tree.feature[~tree.is_leaf & (tree.mode == NodeMode.MEMBER)] for tree in self.trees]
        return [int(feature) for feature in np.unique(np.concatenate(asked))] if asked else []

    def categories(self) -> dict[int, NDArray[np.float64]]:
        """By feature, the category codes that splits name, ascending."""
        return _distinct(
            (np.full(len(codes), tree.feature[node]), codes)
            for tree in self.trees
            for node, codes in tree.members.items()
        )


def _compared(tree: Tree) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    asks = ~tree.is_leaf & (tree.mode != NodeMode.MEMBER) & np.isfinite(tree.threshold)
    return tree.feature[asks], tree.threshold[asks]


def _distinct(
    parts: Iterable[tuple[NDArray[np.int64], NDArray[np.float64]]],
) -> dict[int, NDArray[np.float64]]:
    listed = [part for part in parts if len(part[0])]
    if not listed:
        return {}
    features = np.concatenate([features for features, _ in listed])
    values = np.concatenate([values for _, values in listed])
    order = np.argsort(features, kind="stable")
    found, begins = np.unique(features[order], return_index=True)
    owned = np.split(values[order], begins[1:])
    return {int(feature): np.unique(part) for feature, part in zip(found, owned, strict=True)}


class Link(Enum):
    """How margins become predictions."""

    IDENTITY = "identity"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"
    EXP = "exp"
    EXP_OF_DOUBLE = "exp, computed in double"
    SOFTPLUS = "softplus"
    SIGNED_SQUARE = "signed square"
    STEP = "step"


def link_name(link: Link) -> str:
    """The name of a link function in explanations, one of `margins.LINKS`."""
    return "exp" if link is Link.EXP_OF_DOUBLE else link.name.lower()


class Decision(Enum):
    """How a classifier chooses its class, ties included.

    The last two compare the margin if there is a single one for the second of two
    classes; otherwise the first of the largest margins wins.
    """

    LARGEST_PROBABILITY = "largest probability"
    LARGEST_MARGIN = "largest margin"
    PROBABILITY_OVER_HALF = "probability over half"
    MARGIN_OVER_ZERO = "margin over zero"
    MARGIN_FROM_ZERO = "margin from zero"


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """The classes of a classifier, and how it chooses among them."""

    labels: tuple[str, ...]
    decision: Decision
