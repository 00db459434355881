"""Whether what a graph computes before its trees has the same bits everywhere."""

from __future__ import annotations

import onnx

# These move, compare or round numbers as IEEE 754 says, element by element. Sums of many elements are not
# among them, because their order differs, nor are exponentials and powers. The sums of trees have an order.
# The kernel has a list of those that it runs, in `compile/mod.rs`.
_EXACT = frozenset(
    """
    Abs Add And ArgMax ArrayFeatureExtractor Cast Ceil Clip Concat Constant ConstantOfShape Div
    Equal Expand Flatten Floor Gather GatherElements GatherND Greater GreaterOrEqual Identity
    IsInf IsNaN LabelEncoder Less LessOrEqual Max Min Mod Mul Neg Not OneHot Or Pad Range Relu
    Reshape Round Shape Sign Slice Split Sqrt Squeeze Sub Tile Transpose TreeEnsemble Unsqueeze
    Where Xor
    """.split()  # noqa: SIM905 - a list would take a line for each
)


def has_exact_inputs(graph: onnx.GraphProto) -> bool:
    """Whether a graph has trees, and all that they read comes from exact operators."""
    made_by = {tensor: node for node in graph.node for tensor in node.output}
    waiting = [node.input[0] for node in graph.node if node.op_type == "TreeEnsemble"]
    if not waiting:
        return False
    seen = set(waiting)
    while waiting:
        node = made_by.get(waiting.pop())
        if node is None:
            continue
        if node.op_type not in _EXACT:
            return False
        new = set(node.input) - seen
        seen |= new
        waiting += new
    return True
