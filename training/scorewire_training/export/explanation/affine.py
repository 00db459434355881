"""Margins as sums: each margin is a constant, plus weights times columns of tensors.

The walk goes from the margins towards the inputs, through the operators that are affine
in their columns. It ends at trees and at every other operator. So a rule of a model only
names its margins; whether it scales, averages or joins what its members give, the walk
finds the members' trees and products behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from scorewire_training.export.explanation.subgraphs import Subgraph, Tensors, attributes

_Weights = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class WeightedSum:
    """Margins = constants + the sum over tensors of their columns times their weights.

    `constants` has shape [margins]; `weights` has, by tensor, [columns, margins].
    """

    constants: _Weights
    weights: dict[str, _Weights] = field(default_factory=dict)


def as_weighted_sum(
    subgraph: Subgraph, tensors: Tensors, margins: str, *, ends: Collection[str] = ()
) -> WeightedSum:
    """Write a tensor as a weighted sum of tensors that its graph computes before it.

    Args:
        subgraph: computes the margins.
        tensors: what is known of the subgraph's tensors.
        margins: a tensor of shape [rows, margins].
        ends: tensors at which the walk ends.
    """
    width = tensors.width(margins)
    if width is None:
        raise ValueError(f"{margins} is no tensor of rows and columns")
    walk = _Walk(tensors, WeightedSum(np.zeros(width), {margins: np.eye(width)}))
    for node in reversed(subgraph.nodes):
        if not walk.has(node) or any(name in ends for name in node.output):
            continue
        rule = _RULES.get(node.op_type) if not node.domain else None
        if rule is not None and all(tensors.is_real(name) for name in node.output):
            rule(walk, node)
    return walk.sum


class _Walk:
    """The sum so far. A rule takes the weights of a node's output and gives them to its inputs."""

    def __init__(self, tensors: Tensors, begun: WeightedSum) -> None:
        self.tensors = tensors
        self.sum = begun

    def has(self, node: onnx.NodeProto) -> bool:
        return any(name in self.sum.weights for name in node.output)

    def take(self, tensor: str) -> _Weights:
        """The weights of a tensor, which is no longer part of the sum."""
        width, margins = self.tensors.width(tensor), len(self.sum.constants)
        return self.sum.weights.pop(tensor, np.zeros((width or 0, margins)))

    def can_take(self, name: str) -> bool:
        """Whether an input has reals of shape [rows, columns] that vary from row to row."""
        return self.tensors.width(name) is not None and self.tensors.is_real(name)

    def constant(self, name: str, width: int) -> _Weights | None:
        """A constant as a row of some number of columns; None if it is something else."""
        value = self.tensors.constants.get(name)
        if value is None or (value.size != 1 and (value.size, *value.shape[-1:]) != (width, width)):
            return None
        return np.broadcast_to(value.astype(np.float64).ravel(), (width,))

    def give(self, name: str, weights: _Weights) -> None:
        """Add a tensor's weights; a single column stands for all, a constant goes to the constants."""
        constant = self.constant(name, len(weights))
        if constant is not None:
            # A weight of 0 is no term, even of an infinite constant.
            used = weights.any(axis=1)
            self.sum.constants += constant[used] @ weights[used]
            return
        if self.tensors.width(name) == 1:
            weights = weights.sum(axis=0, keepdims=True)
        known = self.sum.weights.get(name)
        self.sum.weights[name] = weights if known is None else known + weights


_Rule = Callable[[_Walk, onnx.NodeProto], None]


def _same(walk: _Walk, node: onnx.NodeProto) -> None:
    if walk.can_take(node.input[0]):
        walk.give(node.input[0], walk.take(node.output[0]))


def _negative(walk: _Walk, node: onnx.NodeProto) -> None:
    if walk.can_take(node.input[0]):
        walk.give(node.input[0], -walk.take(node.output[0]))


def _added(*signs: float) -> _Rule:
    def rule(walk: _Walk, node: onnx.NodeProto) -> None:
        width = walk.tensors.width(node.output[0]) or 0
        if all(walk.can_take(name) or walk.constant(name, width) is not None for name in node.input):
            weights = walk.take(node.output[0])
            for i, name in enumerate(node.input):
                walk.give(name, weights * (signs[i] if i < len(signs) else 1.0))

    return rule


def _multiplied(walk: _Walk, node: onnx.NodeProto) -> None:
    first, second = node.input
    if first in walk.tensors.constants:
        first, second = second, first
    _stretch(walk, node, first, second, inverse=False)


def _divided(walk: _Walk, node: onnx.NodeProto) -> None:
    _stretch(walk, node, *node.input, inverse=True)


def _stretch(walk: _Walk, node: onnx.NodeProto, x: str, factor: str, *, inverse: bool) -> None:
    width = walk.tensors.width(node.output[0])
    constant = walk.constant(factor, width) if width is not None else None
    if constant is None or not walk.can_take(x) or (inverse and not constant.all()):
        return
    factors = 1.0 / constant if inverse else constant
    walk.give(x, walk.take(node.output[0]) * factors[:, np.newaxis])


def _product(walk: _Walk, node: onnx.NodeProto) -> None:
    matrix = walk.tensors.constants.get(node.input[1])
    if matrix is not None and matrix.ndim == 2 and walk.can_take(node.input[0]):
        walk.give(node.input[0], matrix.astype(np.float64) @ walk.take(node.output[0]))


def _joined(walk: _Walk, node: onnx.NodeProto) -> None:
    widths = [walk.tensors.width(name) for name in node.input]
    if attributes(node)["axis"] not in (1, -1) or not all(map(walk.can_take, node.input)):
        return
    ends = np.cumsum([width or 0 for width in widths])
    for name, part in zip(node.input, np.split(walk.take(node.output[0]), ends[:-1]), strict=True):
        walk.give(name, part)


def _picked(walk: _Walk, node: onnx.NodeProto) -> None:
    x, width = node.input[0], walk.tensors.width(node.input[0])
    places = walk.tensors.constants.get(node.input[1])
    keeps_rows = attributes(node).get("axis", 0) in (1, -1) and walk.tensors.width(node.output[0]) is not None
    if not keeps_rows or width is None or places is None or not walk.can_take(x):
        return
    weights = walk.take(node.output[0])
    whole = np.zeros((width, weights.shape[1]))
    np.add.at(whole, places.ravel(), weights)
    walk.give(x, whole)


def _split(walk: _Walk, node: onnx.NodeProto) -> None:
    if attributes(node).get("axis", 0) in (1, -1) and walk.can_take(node.input[0]):
        walk.give(node.input[0], np.concatenate([walk.take(name) for name in node.output]))


def _running_sum(walk: _Walk, node: onnx.NodeProto) -> None:
    plain = not any(attributes(node).values())
    axis = walk.tensors.constants.get(node.input[1])
    if plain and axis is not None and int(axis.ravel()[0]) in (1, -1) and walk.can_take(node.input[0]):
        weights = walk.take(node.output[0])
        walk.give(node.input[0], weights[::-1].cumsum(axis=0)[::-1])


def _padded(walk: _Walk, node: onnx.NodeProto) -> None:
    x, width = node.input[0], walk.tensors.width(node.input[0])
    pads = walk.tensors.constants.get(node.input[1])
    filler = walk.tensors.constants.get(node.input[2]) if len(node.input) > 2 else np.zeros(1)
    plain = attributes(node).get("mode", b"constant") == b"constant"
    if not plain or width is None or pads is None or filler is None or pads.size != 4 or pads[0] or pads[2]:
        return
    if pads[1] < 0 or pads[3] < 0 or not walk.can_take(x):
        return
    weights = walk.take(node.output[0])
    before, inner, after = np.split(weights, [pads[1], pads[1] + width])
    walk.sum.constants += float(filler.ravel()[0]) * (before.sum(axis=0) + after.sum(axis=0))
    walk.give(x, inner)


_RULES: dict[str, _Rule] = {
    "Add": _added(),
    "Cast": _same,
    "Concat": _joined,
    "CumSum": _running_sum,
    "Div": _divided,
    "Gather": _picked,
    "Identity": _same,
    "MatMul": _product,
    "Mul": _multiplied,
    "Neg": _negative,
    "Pad": _padded,
    "Split": _split,
    "Sub": _added(1.0, -1.0),
    "Sum": _added(),
}
