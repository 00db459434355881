"""The thresholds that a column is compared with, and search trees that find a number's place among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scorewire_training.export.graph import Graph
from scorewire_training.export.trees.emit import emit_margin
from scorewire_training.export.trees.ensemble import Ensemble, NodeMode, Tree


@dataclass(frozen=True, slots=True, eq=False)
class Thresholds:
    """The comparisons of a column: ascending thresholds, each compared by LESS or by AT_MOST.

    At equal thresholds LESS comes first.
    """

    values: NDArray[np.float64]
    is_less: NDArray[np.bool_]

    @classmethod
    def of(cls, thresholds: NDArray[np.float64], is_less: NDArray[np.bool_]) -> Thresholds:
        """The distinct comparisons among some."""
        pairs = np.unique(np.column_stack([thresholds, ~is_less]), axis=0)
        return cls(pairs[:, 0], pairs[:, 1] == 0)

    def passed(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """The number of comparisons that are false for each value."""
        less, at_most = self.values[self.is_less], self.values[~self.is_less]
        return np.asarray(
            np.searchsorted(less, values, side="right") + np.searchsorted(at_most, values, side="left")
        )

    def index(self, thresholds: NDArray[np.float64], is_less: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The positions of some comparisons among these."""
        first = np.searchsorted(self.values, thresholds, side="left")
        last = np.searchsorted(self.values, thresholds, side="right") - 1
        return np.where(is_less, first, last)


def search_tree(bounds: NDArray[np.float64], codes: NDArray[np.float64], place: int) -> Tree:
    """A balanced tree that finds the code of a number in the column at a position."""
    size = 2 * len(bounds) + 1
    threshold, values = np.zeros(size), np.zeros((size, 1))
    children = np.zeros((2, size), dtype=np.int64)
    is_leaf = np.zeros(size, dtype=np.bool_)
    todo = [(0, 0, len(bounds))]
    count = 1
    while todo:
        node, begin, end = todo.pop()
        if begin == end:
            is_leaf[node], values[node] = True, codes[begin]
            continue
        middle = (begin + end) // 2
        threshold[node] = bounds[middle]
        children[:, node] = count, count + 1
        todo += [(count, begin, middle), (count + 1, middle + 1, end)]
        count += 2
    return Tree(
        is_leaf=is_leaf,
        feature=np.full(size, place, dtype=np.int64),
        mode=np.full(size, int(NodeMode.LESS), dtype=np.int64),
        threshold=threshold,
        true_child=children[0],
        false_child=children[1],
        missing_true=np.zeros(size, dtype=np.bool_),
        values=values,
        targets=(place,),
    )


def find_codes(graph: Graph, trees: Sequence[Tree], x: str) -> str:
    """Add search trees, one for each column; returns the codes of numbers: double, [rows, columns]."""
    width = len(trees)
    ensemble = Ensemble(trees=tuple(trees), base=np.zeros(width), element_type="float64")
    return emit_margin(graph, ensemble, x, "float64", width)
