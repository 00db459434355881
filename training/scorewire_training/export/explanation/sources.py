"""Which of the caller's columns each column of a graph's tensors is computed from.

The walk goes from the inputs on. Operators that compute each column from the column at
the same place, or only move columns, keep columns apart; a product with a matrix mixes
those with weights other than 0. Every other operator is taken to mix all that it reads,
which is never wrong, but may call a column mixed that is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import reduce

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from scorewire_training.export.explanation.subgraphs import Subgraph, Tensors, attributes, read_by
from scorewire_training.export.explanation.tree_nodes import TreeNodes
from scorewire_training.export.graph import ML_DOMAIN

Features = frozenset[int]
# For one row of a tensor the number of the set of features of each element; a single
# number if it is not known which elements belong to a row.
_Sets = NDArray[np.int64]

_NOTHING = 0

# These compute each element from the elements at the same place.
_ELEMENTWISE = frozenset(
    """
    Abs Add And Cast Ceil Celu Clip Cos Div Elu Equal Erf Exp Floor Greater GreaterOrEqual HardSigmoid
    Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mod Mul Neg Not Or Pow Reciprocal
    Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Tan Tanh ThresholdedRelu Where Xor
    """.split()  # noqa: SIM905 - a list would take a line for each
)
_ELEMENTWISE_OF_ML = frozenset({"Binarizer", "LabelEncoder"})
# These move elements, and compute none. The first input has them, for Concat every input.
_MOVING = frozenset(
    """
    Concat Expand Flatten Gather Pad Reshape Slice Split Squeeze Tile Transpose Unsqueeze
    """.split()  # noqa: SIM905 - as above
)


class ColumnSources:
    """The features that each column of the tensors of a subgraph is computed from.

    Args:
        subgraph: the subgraph.
        tensors: what is known of its tensors.
        inputs: for each input the features of each column of a row, or those of the
            whole input if it has no rows.
        opaque: tensors that are taken to mix all that they are computed from.
    """

    def __init__(
        self,
        subgraph: Subgraph,
        tensors: Tensors,
        inputs: Mapping[str, list[Features] | Features],
        opaque: Collection[str] = (),
    ) -> None:
        self._tensors = tensors
        self._known: list[Features] = [frozenset()]
        self._numbers: dict[Features, int] = {frozenset(): _NOTHING}
        self._sets: dict[str, _Sets] = {}
        for name, own in inputs.items():
            listed = own if isinstance(own, list) else [own]
            numbers = np.array([self._number(features) for features in listed], np.int64)
            self._sets[name] = self._fit(name, numbers)
        for node in subgraph.nodes:
            made = None if node.output[0] in opaque else self._apply(node)
            for place, name in enumerate(node.output):
                if name:
                    whole = self._all_of(node) if made is None else made[place]
                    self._sets[name] = self._fit(name, whole)

    def of(self, tensor: str) -> list[Features]:
        """The features of each column of a tensor of shape [rows, columns]."""
        width = self._tensors.width(tensor)
        if width is None:
            raise ValueError(f"{tensor} is no tensor of rows and columns")
        return [self._known[number] for number in np.broadcast_to(self._sets[tensor], (width,)).tolist()]

    def _apply(self, node: onnx.NodeProto) -> list[_Sets] | None:
        """The sets of a node's outputs; None if no rule is known to hold."""
        plain, of_ml = not node.domain, node.domain == ML_DOMAIN
        if any(name not in self._tensors.row_shapes for name in node.output if name):
            return None
        if (plain and node.op_type in _ELEMENTWISE) or (of_ml and node.op_type in _ELEMENTWISE_OF_ML):
            return self._elementwise(node)
        rule = (_RULES if plain else _RULES_OF_ML if of_ml else {}).get(node.op_type)
        found = None if rule is None else rule(self, node)
        if found is None and plain and node.op_type in _MOVING:
            found = self._moved(node)
        return found

    def _elementwise(self, node: onnx.NodeProto) -> list[_Sets]:
        shape = self._tensors.row_shapes[node.output[0]]
        parts = []
        for name in node.input:
            if not name or name in self._tensors.constants:
                continue
            own = self._sets[name]
            # Other inputs stand at other places of a row, if they have rows at all.
            if name not in self._tensors.row_shapes or own.ndim != len(shape):
                own = np.array(self._merge(own))
            parts.append(np.broadcast_to(own, shape))
        return [reduce(self._united, parts, np.full(shape, _NOTHING, np.int64))]

    def _moved(self, node: onnx.NodeProto) -> list[_Sets] | None:
        """The node itself, run on the sets of one row: it moves them as it moves numbers."""
        feeds: dict[str, NDArray[np.int64]] = {}
        movable = node.input if node.op_type == "Concat" else node.input[:1]
        for place, name in enumerate(node.input):
            if not name:
                continue
            if name in movable and name in self._tensors.row_shapes:
                feeds[name] = self._sets[name][np.newaxis]
            elif name in movable or name not in self._tensors.constants:
                return None
            else:
                is_filler = node.op_type == "Pad" and place == 2
                filler = np.zeros((), np.int64)
                feeds[name] = filler if is_filler else self._tensors.constants[name]
        inputs = [_value(name) for name in feeds]
        graph = helper.make_graph([node], "moved", inputs, [_value(name) for name in node.output])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
        try:
            moved = ReferenceEvaluator(model).run(None, feeds)
        except Exception:
            return None
        rows = [np.asarray(sets)[0] if np.shape(sets)[:1] == (1,) else None for sets in moved]
        shapes = [self._tensors.row_shapes[name] for name in node.output]
        if any(sets is None or sets.shape != shape for sets, shape in zip(rows, shapes, strict=True)):
            return None
        return [sets for sets in rows if sets is not None]

    def _product(self, node: onnx.NodeProto) -> list[_Sets] | None:
        """MatMul with a matrix: each column of the result from the columns with weights."""
        x, matrix = self._sets[node.input[0]], self._tensors.constants.get(node.input[1])
        if matrix is None or matrix.ndim != 2 or x.ndim != 1 or len(x) != len(matrix):
            return None
        return [np.array([self._merge(x[column != 0]) for column in matrix.T], np.int64)]

    def _affine(self, node: onnx.NodeProto) -> list[_Sets] | None:
        """Gemm with a matrix and constant addends."""
        settings = attributes(node)
        x, matrix = self._sets[node.input[0]], self._tensors.constants.get(node.input[1])
        if matrix is None or x.ndim != 1 or settings.get("transA", 0):
            return None
        if len(node.input) > 2 and node.input[2] not in self._tensors.constants:
            return None
        columns = matrix if settings.get("transB", 0) else matrix.T
        if columns.shape[1:] != x.shape:
            return None
        return [np.array([self._merge(x[column != 0]) for column in columns], np.int64)]

    def _looked_up(self, node: onnx.NodeProto) -> list[_Sets] | None:
        """Gather of rows of a constant table, at places that are computed."""
        table, places = self._tensors.constants.get(node.input[0]), node.input[1]
        if table is None or attributes(node).get("axis", 0) or places not in self._tensors.row_shapes:
            return None
        own = self._sets[places]
        return [
            np.broadcast_to(own.reshape(own.shape + (1,) * (table.ndim - 1)), own.shape + table.shape[1:])
        ]

    def _one_hot(self, node: onnx.NodeProto) -> list[_Sets] | None:
        """OneHot on the last axis, and OneHotEncoder: each element becomes several."""
        if node.input[0] not in self._tensors.row_shapes or attributes(node).get("axis", -1) != -1:
            return None
        own = self._sets[node.input[0]]
        return [np.broadcast_to(own[..., np.newaxis], self._tensors.row_shapes[node.output[0]])]

    def _extracted(self, node: onnx.NodeProto) -> list[_Sets] | None:
        places = self._tensors.constants.get(node.input[1])
        return None if places is None else [self._sets[node.input[0]][..., places.ravel()]]

    def _trees(self, node: onnx.NodeProto) -> list[_Sets] | None:
        """TreeEnsemble: each target from the columns that its trees read."""
        x, read = self._sets[node.input[0]], TreeNodes.read(node).columns_by_target()
        if x.ndim != 1 or read is None:
            return None
        return [np.array([self._merge(x[columns]) for columns in read], np.int64)]

    def _fit(self, name: str, sets: _Sets) -> _Sets:
        """Sets in the shape of one row of a tensor; one set for all if it has no rows."""
        shape = self._tensors.row_shapes.get(name)
        if shape is None:
            return np.array(self._merge(sets), np.int64)
        return np.broadcast_to(sets, shape)

    def _all_of(self, node: onnx.NodeProto) -> _Sets:
        """The features of all that a node reads."""
        read = [self._sets[name] for name in read_by(node) if name in self._sets]
        return np.array(self._merge(np.concatenate([np.zeros(1, np.int64), *(r.ravel() for r in read)])))

    def _number(self, features: Features) -> int:
        number = self._numbers.setdefault(features, len(self._known))
        if number == len(self._known):
            self._known.append(features)
        return number

    def _merge(self, sets: _Sets) -> np.int64:
        """The union of all sets of an array."""
        known = (self._known[number] for number in np.unique(sets).tolist())
        return np.int64(self._number(frozenset[int]().union(*known)))

    def _united(self, one: _Sets, other: _Sets) -> _Sets:
        """The unions of the sets at the same places."""
        if np.array_equal(one, other):
            return one
        pairs, places = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1, return_inverse=True)
        united = [self._number(self._known[a] | self._known[b]) for a, b in pairs.T.tolist()]
        return np.array(united, np.int64)[places.ravel()].reshape(one.shape)


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, None)


# The operators that only move elements take the same inputs from this version on.
_OPSET = 17

_Rule = Callable[[ColumnSources, onnx.NodeProto], "list[_Sets] | None"]
_RULES: dict[str, _Rule] = {
    "Gather": ColumnSources._looked_up,
    "Gemm": ColumnSources._affine,
    "MatMul": ColumnSources._product,
    "OneHot": ColumnSources._one_hot,
}
_RULES_OF_ML: dict[str, _Rule] = {
    "ArrayFeatureExtractor": ColumnSources._extracted,
    "OneHotEncoder": ColumnSources._one_hot,
    "TreeEnsemble": ColumnSources._trees,
}
