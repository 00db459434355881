"""Writes an ensemble as ONNX: prepared input, one TreeEnsemble, link function, outputs.

One TreeEnsemble (ai.onnx.ml 5) adds all trees in their order, in float or in double,
as the library does. A base score becomes a first tree of one leaf, because starting
from it rounds differently from adding it last. The covers of the trees stay beside the
graph, in the node's own order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.graph import ELEMENT_TYPES, ML_DOMAIN, Covers, Graph, ModelOutput
from scorewire_training.export.trees.ensemble import (
    LIGHTGBM_ZERO,
    Classes,
    CodeRounding,
    Decision,
    Ensemble,
    Link,
    NodeMode,
    Tree,
)

# The first version of ai.onnx.ml with TreeEnsemble.
ML_OPSET = 5
# XGBoost's bound for the exponent of a sigmoid, a float: so no probability is 0 because exp overflows.
_XGBOOST_MAX_EXPONENT = 88.7


def emit_margin(graph: Graph, ensemble: Ensemble, x: str, input_type: str, feature_count: int) -> str:
    """Add the trees; returns the margins, [rows, targets] of the ensemble's element type."""
    dtype = np.dtype(ensemble.element_type)
    if input_type != ensemble.element_type:
        x = graph.node("Cast", [x], to=ELEMENT_TYPES[ensemble.element_type])
    x = _prepare(graph, ensemble, x, feature_count, dtype)
    graph.ml_opset = ML_OPSET
    parts = _parts(ensemble)
    margin = graph.node("TreeEnsemble", [x], domain=ML_DOMAIN, **_attributes(ensemble, parts, dtype))
    if all(tree.cover is not None for tree in ensemble.trees):
        graph.covers[margin] = Covers(
            nodes=np.concatenate([part.node_covers for part in parts]),
            leaves=np.concatenate([part.leaf_covers for part in parts]),
        )
    if ensemble.divisor != 1:
        margin = graph.node("Div", [margin, graph.constant(np.array(ensemble.divisor, dtype))])
    return margin


def emit_link(
    graph: Graph,
    link: Link,
    slope: float,
    margin: str,
    *,
    targets: int,
    dtype: np.dtype[np.floating],
    least_margin: float,
) -> str:
    """Add the link function of slope * margin; returns [rows, targets].

    Margins in float are XGBoost's. No margin is below `least_margin`.
    """

    def constant(value: float) -> str:
        return graph.constant(np.array(value, dtype))

    def exp(x: str) -> str:
        # In float, onnxruntime computes all elements by the same formula.
        return graph.node("Exp", [x]) if dtype == np.float32 else graph.curve("Exp", x, targets)

    if slope != 1:
        margin = graph.node("Mul", [margin, constant(slope)])
    match link:
        case Link.IDENTITY:
            prediction = margin
        case Link.SIGMOID:
            # Written out, because the Sigmoid operator is an approximation in float.
            exponent = graph.node("Neg", [margin])
            if dtype == np.float32 and least_margin < -_XGBOOST_MAX_EXPONENT:
                exponent = graph.node("Min", [exponent, constant(_XGBOOST_MAX_EXPONENT)])
            odds = exp(exponent)
            prediction = graph.node("Reciprocal", [graph.node("Add", [odds, constant(1)])])
        case Link.SOFTMAX:
            prediction = graph.node("Softmax", [margin], axis=1)
        case Link.EXP:
            prediction = exp(margin)
        case Link.EXP_OF_DOUBLE:
            wide = graph.curve("Exp", graph.node("Cast", [margin], to=TensorProto.DOUBLE), targets)
            prediction = graph.node("Cast", [wide], to=ELEMENT_TYPES[dtype.name])
        case Link.SOFTPLUS:
            # Written out, because Softplus has no kernel in double.
            prediction = graph.node("Log", [graph.node("Add", [exp(margin), constant(1)])])
        case Link.SIGNED_SQUARE:
            prediction = graph.node("Mul", [margin, graph.node("Abs", [margin])])
        case Link.STEP:
            above = graph.node("Greater", [margin, constant(0)])
            prediction = graph.node("Cast", [above], to=ELEMENT_TYPES[dtype.name])
    return prediction


def emit_classes(
    graph: Graph,
    classes: Classes,
    *,
    margin: str,
    prediction: str,
    targets: int,
    dtype: np.dtype[np.floating],
) -> list[ModelOutput]:
    """Add probabilities [rows, classes] and the label [rows, 1] of a classifier."""
    single = targets == 1 and len(classes.labels) == 2
    if single:
        rest = graph.node("Sub", [graph.constant(np.array(1, dtype)), prediction])
        probabilities = graph.node("Concat", [rest, prediction], axis=1)
    else:
        probabilities = prediction
    decision = classes.decision
    if single and decision is not Decision.LARGEST_PROBABILITY:
        on_margin = decision is not Decision.PROBABILITY_OVER_HALF
        bound = graph.constant(np.array(0 if on_margin else 0.5, dtype))
        op_type = "GreaterOrEqual" if decision is Decision.MARGIN_FROM_ZERO else "Greater"
        second = graph.node(op_type, [margin if on_margin else prediction, bound])
        label = graph.node("Cast", [second], to=TensorProto.INT64)
    else:
        by_probability = decision in (Decision.LARGEST_PROBABILITY, Decision.PROBABILITY_OVER_HALF)
        label = graph.node("ArgMax", [probabilities if by_probability else margin], axis=1, keepdims=1)
    return [
        ModelOutput(
            name="probabilities",
            kind=schema_pb2.OUTPUT_KIND_PROBABILITY,
            tensor=probabilities,
            width=len(classes.labels),
            class_labels=classes.labels,
        ),
        ModelOutput(
            name="label",
            kind=schema_pb2.OUTPUT_KIND_CLASS,
            tensor=label,
            width=1,
            class_labels=classes.labels,
        ),
    ]


def _prepare(
    graph: Graph, ensemble: Ensemble, x: str, feature_count: int, dtype: np.dtype[np.floating]
) -> str:
    """Add the library's conversions of values before its trees read them."""
    if ensemble.missing_value is not None:
        equal = graph.node("Equal", [x, graph.constant(np.array(ensemble.missing_value, dtype))])
        x = graph.node("Where", [equal, graph.constant(np.array(np.nan, dtype)), x])
    if ensemble.zero_is_missing:
        # Other features get a bound that no absolute value is below.
        bounds = np.full((1, feature_count), -1, dtype)
        bounds[0, sorted(ensemble.zero_is_missing)] = LIGHTGBM_ZERO
        zero = graph.node("LessOrEqual", [graph.node("Abs", [x]), graph.constant(bounds)])
        x = graph.node("Where", [zero, graph.constant(np.array(np.nan, dtype)), x])
    if coded := ensemble.coded_features():
        is_coded = np.zeros((1, feature_count), dtype=np.bool_)
        is_coded[0, coded] = True
        whole = _whole(graph, ensemble.code_rounding, x, dtype)
        x = graph.node("Where", [graph.constant(is_coded), whole, x])
    return x


def _whole(graph: Graph, rounding: CodeRounding, x: str, dtype: np.dtype[np.floating]) -> str:
    """Add the rounding of category codes to whole numbers; NaN stays NaN."""
    if rounding is CodeRounding.TOWARDS_ZERO:
        fraction = graph.node("Mod", [x, graph.constant(np.array(1, dtype))], fmod=1)
        return graph.node("Sub", [x, fraction])
    floor = graph.node("Floor", [x])
    if rounding is CodeRounding.FLOOR:
        return floor
    is_whole = graph.node("Equal", [x, floor])
    return graph.node("Where", [is_whole, x, graph.constant(np.array(np.nan, dtype))])


def _parts(ensemble: Ensemble) -> list[_Part]:
    parts: list[_Part] = []
    inner_count = leaf_count = 0
    for tree, column in _columns(ensemble):
        part = _Part(tree, column, inner_count, leaf_count)
        inner_count += len(part.feature)
        leaf_count += len(part.leaf_values)
        parts.append(part)
    return parts


def _attributes(
    ensemble: Ensemble, parts: Sequence[_Part], dtype: np.dtype[np.floating]
) -> dict[str, object]:
    members = [codes for part in parts for codes in part.members]
    attributes: dict[str, object] = {
        "n_targets": ensemble.target_count,
        "aggregate_function": 1,  # SUM
        "post_transform": 0,  # NONE
        "tree_roots": np.array([part.root for part in parts]),
        "nodes_featureids": _joined(part.feature for part in parts),
        "nodes_truenodeids": _joined(part.true_ids for part in parts),
        "nodes_falsenodeids": _joined(part.false_ids for part in parts),
        "nodes_trueleafs": _joined(part.true_leafs for part in parts),
        "nodes_falseleafs": _joined(part.false_leafs for part in parts),
        "nodes_missing_value_tracks_true": _joined(part.missing_true for part in parts),
        "nodes_modes": _tensor([part.mode for part in parts], np.dtype(np.uint8)),
        "nodes_splits": _tensor([part.threshold for part in parts], dtype),
        "leaf_targetids": _joined(part.leaf_targets for part in parts),
        "leaf_weights": _tensor([part.leaf_values for part in parts], dtype),
    }
    if members:
        # NaN ends each set.
        attributes["membership_values"] = _tensor([np.append(codes, np.nan) for codes in members], dtype)
    return attributes


def _columns(ensemble: Ensemble) -> Iterator[tuple[Tree, int | None]]:
    """Every tree once for each of its targets, because an ONNX leaf has one target.

    A tree is written only once, with None, if each leaf counts towards a single
    target, as in a forest of classes that is grown to the end.
    """
    for target, value in enumerate(ensemble.base):
        if value != 0 or not ensemble.trees:
            yield _leaf_tree(float(value), target), 0
    for tree in ensemble.trees:
        if len(tree.targets) > 1 and (np.count_nonzero(tree.values[tree.is_leaf], axis=1) <= 1).all():
            yield tree, None
            continue
        for column in range(len(tree.targets)):
            yield tree, column


def _leaf_tree(value: float, target: int) -> Tree:
    whole = np.zeros(1, np.int64)
    return Tree(
        is_leaf=np.ones(1, np.bool_),
        feature=whole,
        mode=whole,
        threshold=np.zeros(1),
        true_child=whole,
        false_child=whole,
        missing_true=np.zeros(1, np.bool_),
        values=np.array([[value]]),
        targets=(target,),
        cover=np.ones(1),
    )


class _Part:
    """A tree with the leaves of one target, or each leaf with its own target, numbered as in ONNX.

    Inner nodes and leaves are numbered separately, from `inner_start` and
    `leaf_start`. A tree of one leaf becomes a node with that leaf on both sides.
    """

    def __init__(self, tree: Tree, column: int | None, inner_start: int, leaf_start: int) -> None:
        is_leaf = tree.is_leaf
        inner = np.flatnonzero(~is_leaf)
        numbers = np.where(
            is_leaf, leaf_start + np.cumsum(is_leaf) - 1, inner_start + np.cumsum(~is_leaf) - 1
        )
        true_child, false_child = tree.true_child[inner], tree.false_child[inner]
        if not len(inner):
            inner = true_child = false_child = np.zeros(1, np.int64)
        self.root = inner_start
        self.feature = tree.feature[inner]
        self.missing_true = tree.missing_true[inner]
        self.true_ids, self.true_leafs = numbers[true_child], is_leaf[true_child]
        self.false_ids, self.false_leafs = numbers[false_child], is_leaf[false_child]
        leaves = tree.values[is_leaf]
        chosen = np.abs(leaves).argmax(axis=1) if column is None else np.full(len(leaves), column)
        self.leaf_values = leaves[np.arange(len(leaves)), chosen]
        self.leaf_targets = np.asarray(tree.targets)[chosen]
        self.node_covers = self.leaf_covers = np.zeros(0)
        if tree.cover is not None:
            self.node_covers, self.leaf_covers = tree.cover[inner], tree.cover[is_leaf]
        self.mode, self.threshold = tree.mode[inner], tree.threshold[inner]
        self.members: list[NDArray[np.float64]] = []
        for i in np.flatnonzero(self.mode == NodeMode.MEMBER):
            codes = tree.members.get(int(inner[i]), np.zeros(0))
            if len(codes):
                self.members.append(codes)
                self.threshold[i] = 0
            else:
                # No value is in the empty set, and no value is below -inf.
                self.mode[i], self.threshold[i] = NodeMode.LESS, -np.inf


def _joined(parts: Iterable[NDArray[np.int64] | NDArray[np.bool_]]) -> NDArray[np.int64]:
    return np.concatenate(list(parts)).astype(np.int64)


def _tensor(parts: Iterable[NDArray[Any]], dtype: np.dtype[Any]) -> TensorProto:
    return numpy_helper.from_array(np.concatenate(list(parts)).astype(dtype))
