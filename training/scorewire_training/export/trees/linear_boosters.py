"""Boosted linear models: XGBoost's gblinear, and LightGBM's trees with linear models in their leaves.

Both add products in the order of their library, so that overflow and cancellation are
the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from scorewire_training.export.graph import Graph
from scorewire_training.export.trees.emit import emit_margin
from scorewire_training.export.trees.ensemble import Ensemble


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearBooster:
    """A linear model for each target, in float: the bias, then the product of each present number.

    `weights` has shape [features, targets], `bias` [targets].
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    missing_value: float | None
    element_type: ClassVar[str] = "float32"

    @property
    def target_count(self) -> int:
        """How many margins a row gets."""
        return len(self.bias)

    def thresholds(self) -> dict[int, NDArray[np.float64]]:
        """Empty: a linear model has no thresholds."""
        return {}

    def categories(self) -> dict[int, NDArray[np.float64]]:
        """Empty: a linear model takes numbers only."""
        return {}

    def emit(self, graph: Graph, x: str, feature_count: int) -> str:  # noqa: ARG002
        """Add the linear models; returns the margins, [rows, targets]."""
        missing = graph.node("IsNaN", [x])
        if self.missing_value is not None:
            stands = graph.node("Equal", [x, graph.constant(np.array(self.missing_value, np.float32))])
            missing = graph.node("Or", [missing, stands])
        zero = graph.constant(np.zeros((), np.float32))
        pads = graph.constant(np.array([0, 1, 0, 0]))
        margins = []
        for weights, bias in zip(self.weights.T, self.bias, strict=True):
            product = graph.node("Mul", [x, graph.constant(weights[np.newaxis, :])])
            product = graph.node("Where", [missing, zero, product])
            begun = graph.node("Pad", [product, pads, graph.constant(np.array(bias, np.float32))])
            margins.append(_sequential_sum(graph, begun, axis=1, count=len(weights) + 1, keep=True))
        return margins[0] if len(margins) == 1 else graph.node("Concat", margins, axis=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearTrees:
    """Trees with a linear model in each leaf, in double.

    `trees` has one target for each tree; its value is the index of the leaf among the
    leaves of all trees. A leaf predicts `constants` [leaves] plus the products of
    `slopes` and the columns at `features` [leaves, width], where -1 is no column. If
    one of these columns is missing, it predicts `values` [leaves]. Trees count
    towards the targets in turn.
    """

    trees: Ensemble
    constants: NDArray[np.float64]
    values: NDArray[np.float64]
    features: NDArray[np.int64]
    slopes: NDArray[np.float64]
    target_count: int
    divisor: float
    element_type: ClassVar[str] = "float64"

    @property
    def missing_value(self) -> float | None:
        """The number that means missing in addition to NaN; None if there is none."""
        return self.trees.missing_value

    def thresholds(self) -> dict[int, NDArray[np.float64]]:
        """For each feature, the finite thresholds that it is compared with, ascending."""
        return self.trees.thresholds()

    def categories(self) -> dict[int, NDArray[np.float64]]:
        """For each feature, the category codes that splits name, ascending."""
        return self.trees.categories()

    def emit(self, graph: Graph, x: str, feature_count: int) -> str:
        """Add the trees and their linear models; returns the margins, [rows, targets]."""
        told = emit_margin(graph, self.trees, x, self.element_type, feature_count)
        leaf = graph.node("Cast", [told], to=TensorProto.INT64)
        tree_count, width = self.trees.target_count, self.features.shape[1]

        def of_leaf(table: NDArray[np.float64] | NDArray[np.int64]) -> str:
            return graph.node("Gather", [graph.constant(table), leaf], axis=0)

        # A leaf with fewer columns than others reads an extra column of zeros.
        pads = graph.constant(np.array([0, 0, 0, 1]))
        padded = graph.node("Pad", [x, pads, graph.constant(np.zeros(()))])
        places = of_leaf(np.where(self.features < 0, feature_count, self.features))
        flat = graph.node("Reshape", [places, graph.constant(np.array([-1, tree_count * width]))])
        taken = graph.node("GatherElements", [padded, flat], axis=1)
        cube = graph.constant(np.array([-1, tree_count, width]))
        taken = graph.node("Reshape", [taken, cube])
        products = graph.node("Mul", [taken, of_leaf(self.slopes)])
        begun = graph.node("Concat", [of_leaf(self.constants[:, np.newaxis]), products], axis=2)
        line = _sequential_sum(graph, begun, axis=2, count=width + 1, keep=False)
        lacks = graph.node("Cast", [graph.node("IsNaN", [taken])], to=TensorProto.INT64)
        lacking = graph.node("ReduceSum", [lacks, graph.constant(np.array([2]))], keepdims=0)
        complete = graph.node("Equal", [lacking, graph.constant(np.array(0))])
        answers = graph.node("Where", [complete, line, of_leaf(self.values)])
        rounds = tree_count // self.target_count
        turns = graph.constant(np.array([-1, rounds, self.target_count]))
        margin = _sequential_sum(
            graph, graph.node("Reshape", [answers, turns]), axis=1, count=rounds, keep=False
        )
        if self.divisor != 1:
            margin = graph.node("Div", [margin, graph.constant(np.array(float(self.divisor)))])
        return margin


def _sequential_sum(graph: Graph, x: str, *, axis: int, count: int, keep: bool) -> str:
    """Sums along an axis, from the first element to the last; `keep` keeps the axis with size 1."""
    sums = graph.node("CumSum", [x, graph.constant(np.array(axis))])
    last = np.array([count - 1]) if keep else np.array(count - 1)
    return graph.node("Gather", [sums, graph.constant(last)], axis=axis)
