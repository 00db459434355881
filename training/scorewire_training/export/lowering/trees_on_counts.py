"""Trees behind functions of one column: they compare counts of passed thresholds instead of the result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.columnwise import inexact_origins
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.symbolic_columns import (
    Column,
    ColumnOrigin,
    RawNumber,
    SymbolicColumns,
    tensor_columns,
)
from scorewire_training.export.lowering.threshold_counting import count_passed
from scorewire_training.export.lowering.thresholds import Thresholds
from scorewire_training.export.trees.ensemble import LIGHTGBM_ZERO, Ensemble, NodeMode, Tree
from scorewire_training.export.trees.linear_boosters import LinearTrees
from scorewire_training.export.trees.model import TreeModel

# Numbers below zero, at zero and above zero, which float32 all rounds to zero.
_NEARLY_ZERO = 5e-324, 1e-323, 1.5e-323


def replace_by_counts(
    builder: GraphBuilder, trees: TreeModel, inputs: SymbolicColumns, *, zero_is_missing: bool
) -> tuple[TreeModel, SymbolicColumns]:
    """Replace the columns that no graph computes to the last bit by counts of passed thresholds.

    Args:
        builder: takes the nodes that count.
        trees: the trees of the fitted model.
        inputs: the columns that the trees are given.
        zero_is_missing: whether the library reads zeros of the inputs as missing.

    Returns:
        The trees, which compare counts, and their inputs.

    Raises:
        UnsupportedModelError: a column's steps are not monotone around a threshold, or
            the trees also use the values of such a column.
    """
    origins = inexact_origins(inputs.columns)
    ensemble = trees.ensemble
    if isinstance(ensemble, LinearTrees) and any(place in ensemble.thresholds() for place in origins):
        raise UnsupportedModelError(
            "LightGBM's linear trees compare and multiply what a function makes of a column, which no graph"
            " computes to the last bit",
            "leave the function out, or fit with linear_tree=False",
        )
    if not isinstance(ensemble, Ensemble):
        return trees, inputs
    for place in ensemble.coded_features():
        origins.pop(place, None)
    if not origins:
        return trees, inputs
    asked = _Comparisons(ensemble)
    folded = {
        place: _CountedFeature(asked, ensemble, place, zero_is_missing)
        for place in origins
        if len(asked.nodes(place))
    }
    columns: list[Column] = list(inputs.columns)
    for place, origin in origins.items():
        # A column that no tree reads may be anything.
        columns[place] = RawNumber(origin.feature)
    if not folded:
        return trees, replace(inputs, columns=tuple(columns))
    counted: list[ColumnOrigin] = [origins[place] for place in folded]
    parts = list(folded.values())
    codes = count_passed(
        builder,
        counted,
        [part.passed for part in parts],
        see=lambda values: _round_as_trees_do(trees, values, zero_is_missing),
        recode=lambda i, counts: parts[i].recode(counts),
    )
    for place, cell in zip(folded, tensor_columns(codes, len(folded)), strict=True):
        columns[place] = cell
    counting = replace(
        ensemble,
        trees=asked.trees_with({place: part.thresholds for place, part in folded.items()}),
        zero_is_missing=ensemble.zero_is_missing - folded.keys(),
    )
    return replace(trees, ensemble=counting), replace(inputs, columns=tuple(columns))


def _round_as_trees_do(
    trees: TreeModel, values: NDArray[np.float64], zero_is_missing: bool
) -> NDArray[np.float64]:
    """The values as the trees compare them, after the library's rounding."""
    with np.errstate(over="ignore"):
        seen = values.astype(trees.input_type).astype(trees.ensemble.element_type).astype(np.float64)
    if not zero_is_missing:
        return seen
    # A sparse matrix leaves out zeros, but not numbers that round to zero, which only compare like it.
    nearly = np.where(values < 0, _NEARLY_ZERO[0], np.where(values > 0, _NEARLY_ZERO[2], _NEARLY_ZERO[1]))
    return np.where(seen == 0, nearly, seen)


class _Comparisons:
    """The comparisons of all trees, as one array over all nodes."""

    def __init__(self, ensemble: Ensemble) -> None:
        self._trees = ensemble.trees
        self.threshold = np.concatenate([tree.threshold for tree in ensemble.trees] or [np.zeros(0)])
        with np.errstate(over="ignore"):
            self.compared = self.threshold.astype(ensemble.element_type).astype(np.float64)
        none = np.zeros(0, dtype=np.int64)
        mode = np.concatenate([tree.mode for tree in ensemble.trees] or [none])
        self.is_less = mode == NodeMode.LESS
        is_leaf = np.concatenate([tree.is_leaf for tree in ensemble.trees] or [none == 0])
        feature = np.concatenate([tree.feature for tree in ensemble.trees] or [none])
        feature = np.where(is_leaf | (mode == NodeMode.MEMBER), -1, feature)
        self._order = np.argsort(feature, kind="stable")
        self._feature = feature[self._order]

    def nodes(self, place: int) -> NDArray[np.intp]:
        """The nodes that compare a feature with a threshold."""
        begin, end = np.searchsorted(self._feature, [place, place + 1])
        return self._order[begin:end]

    def trees_with(self, thresholds: dict[int, NDArray[np.float64]]) -> tuple[Tree, ...]:
        """The trees with other thresholds for some features, in the order of the nodes."""
        changed = self.threshold.copy()
        for place, values in thresholds.items():
            changed[self.nodes(place)] = values
        ends = np.cumsum([len(tree.threshold) for tree in self._trees])
        parts = np.split(changed, ends[:-1])
        return tuple(replace(tree, threshold=part) for tree, part in zip(self._trees, parts, strict=True))


class _CountedFeature:
    """The comparisons of one feature, with counts instead of values."""

    def __init__(self, asked: _Comparisons, ensemble: Ensemble, place: int, zero_is_missing: bool) -> None:
        nodes = asked.nodes(place)
        compared, is_less = asked.compared[nodes], asked.is_less[nodes]
        # Ranges, from a first to a second number, whose values are missing.
        gaps = [(_NEARLY_ZERO[1], _NEARLY_ZERO[1])] if zero_is_missing else []
        if place in ensemble.zero_is_missing:
            gaps.append((-LIGHTGBM_ZERO, LIGHTGBM_ZERO))
        missing = ensemble.missing_value
        if missing is not None and not np.isnan(missing):
            alike = float(np.array(missing, ensemble.element_type))
            gaps.append((alike, alike))
        ends = np.array(gaps, dtype=np.float64).reshape(-1, 2)
        at_ends = np.tile([True, False], len(gaps))
        self.passed = Thresholds.of(np.append(compared, ends.ravel()), np.append(is_less, at_ends))
        every = self.passed.index(ends.ravel(), at_ends).reshape(-1, 2)
        self._gaps = [(int(first), int(last)) for first, last in every]
        # Shifted so that no count is 0 or the number that means missing.
        self._shift = 1 if missing is None or missing < 0 else -len(self.passed.values) - 1
        self.thresholds = self._shift + self.passed.index(compared, is_less) + is_less.astype(np.float64)

    def recode(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """The counts as the trees get them."""
        codes = np.where(counts < 0, np.nan, counts + self._shift)
        for first, last in self._gaps:
            codes[(counts > first) & (counts <= last)] = np.nan
        return codes
