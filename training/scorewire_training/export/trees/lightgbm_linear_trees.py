"""LightGBM's linear trees: the linear models in their leaves, read from the model's text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scorewire_training.export.trees.ensemble import Ensemble, Tree
from scorewire_training.export.trees.linear_boosters import LinearTrees


def has_linear_leaves(section: Mapping[str, str]) -> bool:
    """Whether a tree has linear models in its leaves."""
    return section.get("is_linear", "0") != "0"


def read_linear_leaves(ensemble: Ensemble, sections: Sequence[Mapping[str, str]]) -> LinearTrees:
    """The trees of an ensemble, with the linear models from their sections of the text."""
    trees: list[Tree] = []
    constants: list[float] = []
    values: list[float] = []
    features: list[Sequence[float]] = []
    slopes: list[Sequence[float]] = []
    for number, (tree, section) in enumerate(zip(ensemble.trees, sections, strict=True)):
        leaves = np.zeros(len(tree.is_leaf))
        leaves[tree.is_leaf] = len(constants) + np.arange(tree.is_leaf.sum())
        trees.append(replace(tree, values=leaves[:, np.newaxis], targets=(number,)))
        own = tree.values[tree.is_leaf, 0].tolist()
        values.extend(own)
        if not has_linear_leaves(section):
            constants.extend(own)
            features.extend([[]] * len(own))
            slopes.extend([[]] * len(own))
            continue
        constants.extend(map(float, section["leaf_const"].split()))
        ends = np.cumsum([int(count) for count in section["num_features"].split()])[:-1]
        features.extend(
            part.tolist() for part in np.split(np.array(section["leaf_features"].split(), int), ends)
        )
        slopes.extend(
            part.tolist() for part in np.split(np.array(section["leaf_coeff"].split(), float), ends)
        )
    return LinearTrees(
        trees=replace(ensemble, trees=tuple(trees), base=np.zeros(len(trees)), divisor=1.0),
        constants=np.array(constants),
        values=np.array(values),
        features=_table(features, -1).astype(np.int64),
        slopes=_table(slopes, 0.0),
        target_count=ensemble.target_count,
        divisor=ensemble.divisor,
    )


def _table(lists: Sequence[Sequence[float]], filler: float) -> NDArray[np.float64]:
    """Lists of different lengths as a table with at least one column."""
    table = np.full((len(lists), max(1, *map(len, lists))), filler, np.float64)
    for row, values in zip(table, lists, strict=True):
        row[: len(values)] = values
    return table
