"""The ZipMap operator of converted classifiers, taken out of a graph."""

from __future__ import annotations

import onnx
from onnx import TensorProto


def take_out_zipmaps(graph: onnx.GraphProto) -> dict[str, tuple[str, ...]]:
    """Replace outputs that are a dictionary for each row by tables, in place.

    skl2onnx and CatBoost write such dictionaries by default. The columns of a table
    are in the order of the classes.

    Returns:
        The classes by the name of the output.
    """
    found = {}
    outputs = {value.name: value for value in graph.output}
    for node in graph.node:
        if (node.op_type, node.domain) != ("ZipMap", "ai.onnx.ml") or node.output[0] not in outputs:
            continue
        labels = [
            label.decode() if isinstance(label, bytes) else str(label)
            for attribute in node.attribute
            for label in (*attribute.ints, *attribute.strings)
        ]
        node.CopyFrom(onnx.helper.make_node("Identity", node.input, node.output))
        table = onnx.helper.make_tensor_type_proto(TensorProto.FLOAT, ["rows", len(labels)])
        outputs[node.output[0]].type.CopyFrom(table)
        found[node.output[0]] = tuple(labels)
    return found
