"""Whether rows of different calls may be scored in one run of a version's graph.

A client must not see with whom it shared a run, so each row must have the scores,
to the last bit, that it has in a run of its own. Two things are asked: that no
operator adds up in an order that may depend on how many rows there are, which a
few scores could hide; and that golden rows show no difference, for functions
that are computed one way in vectors and another way in what is left over.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from scorewire_contract.bundle import Bundle
from scorewire_contract.scoring import Scorer
from scorewire_proto.v1 import schema_pb2

MAX_SHARED_ROWS = 16
# Dearer rows gain little: what a run costs by itself is a few microseconds.
MAX_ROW_NS = 30_000.0
_PROOF_ROWS = 256
# Operators that treat each element or each row by itself, move elements, add up one after the other what
# is scattered, or walk rows through trees.
_STEADY = frozenset({
    "Abs", "Add", "And", "ArgMax", "ArrayFeatureExtractor", "Cast", "Ceil", "Clip", "Concat", "Constant",
    "Div", "Equal", "Exp", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity", "IsInf", "IsNaN",
    "LabelEncoder", "Less", "LessOrEqual", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or",
    "Reciprocal", "Relu", "Reshape", "Round", "ScatterElements", "ScatterND", "Sigmoid", "Sign", "Slice",
    "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "TopK", "TreeEnsemble",
    "TreeEnsembleClassifier", "TreeEnsembleRegressor", "Unsqueeze", "Where", "Xor",
})  # fmt: skip


def max_shared_rows(bundle: Bundle, scorer: Scorer, graph_ns: float) -> int:
    """How many rows of different calls one run may score.

    Args:
        bundle: one whose graph and golden rows have been checked.
        scorer: of the bundle.
        graph_ns: what one row of many costs in the graph, in nanoseconds.
    """
    manifest = bundle.manifest
    apart = (
        graph_ns > MAX_ROW_NS
        or manifest.coding.row_by_row
        or any(output.kind == schema_pb2.OUTPUT_KIND_TEXT for output in manifest.schema.outputs)
    )
    if apart or not _is_steady(bundle.graph) or not _scores_stay(bundle, scorer):
        return 1
    return MAX_SHARED_ROWS


def _is_steady(graph: bytes) -> bool:
    # A graph within a node would be of an operator that is not among them.
    return {node.op_type for node in onnx.ModelProto.FromString(graph).graph.node} <= _STEADY


def _scores_stay(bundle: Bundle, scorer: Scorer) -> bool:
    """Whether golden rows have the same scores alone and in runs of every size; too few prove nothing."""
    rows = bundle.golden.rows
    numbers = np.array(rows.numbers, dtype=np.float64).reshape(rows.row_count, scorer.number_count)
    texts = np.array(rows.texts, dtype=object).reshape(rows.row_count, scorer.text_count)

    def score(chosen: NDArray[np.int64]) -> list[bytes]:
        """The bytes of the scores of these rows."""
        scores = scorer.score(len(chosen), numbers[chosen].ravel(), texts[chosen].ravel().tolist())
        return [row.tobytes() for row in np.concatenate(scores.outputs, axis=1)]

    refused = {error.row for error in bundle.golden.expected.errors}
    taken = np.array([row for row in range(rows.row_count) if row not in refused][:_PROOF_ROWS])
    if len(taken) < MAX_SHARED_ROWS:
        return False
    alone = [score(taken[i : i + 1])[0] for i in range(len(taken))]
    return all(
        alone == [one for i in range(0, len(taken), size) for one in score(taken[i : i + size])]
        for size in range(2, MAX_SHARED_ROWS + 1)
    )
