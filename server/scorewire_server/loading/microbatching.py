"""Decides whether rows of different calls may share one run of a version's graph.

A caller must not notice with whom it shared a run, so each row must get the same
scores, to the last bit, as in a run of its own. Two checks must pass:

- Every operator is in a list of operators that treat each row by itself. Others may
  add up in an order that depends on the number of rows, which a few rows could hide.
- Golden rows have the same scores alone and in runs of every size. Vectorized code
  may compute the last elements of a run in another way than the others.
"""

from __future__ import annotations

import onnx

from scorewire_contract.bundle import Bundle
from scorewire_contract.scoring import Scorer
from scorewire_proto.v1 import schema_pb2
from scorewire_server.loading.golden_rows import GoldenRows

MAX_SHARED_ROWS = 16
# A run of onnxruntime costs a few microseconds by itself, and one of a program some tenths of one. So sharing
# runs saves little for rows that cost more.
MAX_ROW_NS = 30_000.0
_PROOF_ROWS = 256
# Operators that treat each element or each row by itself, move elements, walk rows through trees, or add
# up scattered values one after the other.
_ROWWISE_OPERATORS = frozenset({
    "Abs", "Add", "And", "ArgMax", "ArrayFeatureExtractor", "Cast", "Ceil", "Clip", "Concat", "Constant",
    "Div", "Equal", "Exp", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity", "IsInf", "IsNaN",
    "LabelEncoder", "Less", "LessOrEqual", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or",
    "Reciprocal", "Relu", "Reshape", "Round", "ScatterElements", "ScatterND", "Sigmoid", "Sign", "Slice",
    "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "TopK", "TreeEnsemble",
    "TreeEnsembleClassifier", "TreeEnsembleRegressor", "Unsqueeze", "Where", "Xor",
})  # fmt: skip


def max_shared_rows(bundle: Bundle, scorer: Scorer, graph_ns: float) -> int:
    """The most rows, of different calls, that one run may score; 1 if runs are not shared.

    Args:
        bundle: a bundle whose graph was audited and whose golden rows have the expected scores.
        scorer: the bundle's scorer.
        graph_ns: nanoseconds that the graph takes per row of a large batch.
    """
    manifest = bundle.manifest
    unshared = (
        graph_ns > MAX_ROW_NS
        or manifest.coding.row_by_row
        or any(output.kind == schema_pb2.OUTPUT_KIND_TEXT for output in manifest.schema.outputs)
    )
    if unshared or not _is_rowwise(bundle.graph) or not _scores_do_not_change(bundle, scorer):
        return 1
    return MAX_SHARED_ROWS


def _is_rowwise(graph: bytes) -> bool:
    # Operators that contain graphs are not in the list.
    return {node.op_type for node in onnx.ModelProto.FromString(graph).graph.node} <= _ROWWISE_OPERATORS


def _scores_do_not_change(bundle: Bundle, scorer: Scorer) -> bool:
    """Whether golden rows have the same scores alone and in runs of every size.

    False for fewer golden rows than a run may share, since they prove nothing.
    """
    golden = GoldenRows(bundle, scorer, _PROOF_ROWS)
    taken = golden.indices
    if len(taken) < MAX_SHARED_ROWS:
        return False
    alone = golden.score_alone()
    return all(
        alone == [one for i in range(0, len(taken), size) for one in golden.score(taken[i : i + size])]
        for size in range(2, MAX_SHARED_ROWS + 1)
    )
