"""The rules for graphs, checked before any runtime sees a graph.

A model is a program, and bundles come from elsewhere. A bundle is refused if its
graph breaks one of these rules:

- The graph uses standard operators only, and brings no functions or training steps.
- The graph names no other file and does not configure the runtime.
- Graph, constants and nesting are of bounded size, and every constant has as many
  values as its shape says.
- No operator makes a huge tensor out of the values of a small constant.
- No operator is random or in training mode, since golden rows prove nothing about a
  score that differs at the next call.
- Inputs and outputs are those of the manifest, or of the explanation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import onnx
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper

from scorewire_proto.bundle.v1 import manifest_pb2

MAX_GRAPH_BYTES = 1 << 30
MAX_NODES = 100_000
MAX_DEPTH = 8
# The most elements of a constant, and the most that an operator may make from the values of a constant.
MAX_ELEMENTS = 1 << 28
MAX_GROWN_ELEMENTS = 1 << 24
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
# Operators whose output has the size that the values of an input say, and the position of that input.
_GROWING = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Resize": 3, "Upsample": 1, "Pad": 1}
_RANDOM = frozenset({
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
})  # fmt: skip
# Operators whose training mode is random, or mixes the rows of a call. For Dropout the mode is an input.
_TRAINABLE = frozenset({"BatchNormalization", "Dropout"})
_MODE_INPUT = 2
# Keys of metadata that onnxruntime reads as its configuration.
_CONFIGURING = frozenset({"ort_config"})

_ELEMENT_TYPES = {
    manifest_pb2.ELEMENT_TYPE_FLOAT: onnx.TensorProto.FLOAT,
    manifest_pb2.ELEMENT_TYPE_DOUBLE: onnx.TensorProto.DOUBLE,
    manifest_pb2.ELEMENT_TYPE_STRING: onnx.TensorProto.STRING,
    manifest_pb2.ELEMENT_TYPE_INT8: onnx.TensorProto.INT8,
    manifest_pb2.ELEMENT_TYPE_INT16: onnx.TensorProto.INT16,
    manifest_pb2.ELEMENT_TYPE_INT32: onnx.TensorProto.INT32,
    manifest_pb2.ELEMENT_TYPE_INT64: onnx.TensorProto.INT64,
    manifest_pb2.ELEMENT_TYPE_UINT8: onnx.TensorProto.UINT8,
    manifest_pb2.ELEMENT_TYPE_UINT16: onnx.TensorProto.UINT16,
    manifest_pb2.ELEMENT_TYPE_UINT32: onnx.TensorProto.UINT32,
    manifest_pb2.ELEMENT_TYPE_UINT64: onnx.TensorProto.UINT64,
    manifest_pb2.ELEMENT_TYPE_BOOL: onnx.TensorProto.BOOL,
}


class AuditError(ValueError):
    """A graph breaks a rule; the message says which."""


def audit(graph: bytes, manifest: manifest_pb2.Manifest) -> None:
    """Check a graph against the rules and against its manifest.

    Raises:
        AuditError: the graph breaks a rule; the message says which.
    """
    _audit(graph, manifest, [output.name for output in manifest.schema.outputs])


def audit_explanation(
    graph: bytes, manifest: manifest_pb2.Manifest, explanation: manifest_pb2.Explanation
) -> None:
    """Check the graph of an explanation against the rules, its bundle's manifest and the explanation.

    Raises:
        AuditError: the graph breaks a rule; the message says which.
    """
    try:
        trees = [term.input for output in explanation.outputs for term in output.trees]
        linear = [term.values for output in explanation.outputs for term in output.linear]
        _audit(graph, manifest, [*trees, *linear])
        if has_subgraphs(graph):
            raise AuditError("a node contains a graph, so a row decides how long it runs")
    except AuditError as error:
        raise AuditError(f"of the explanation: {error}") from None


def _audit(graph: bytes, manifest: manifest_pb2.Manifest, outputs: Sequence[str]) -> None:
    if len(graph) > MAX_GRAPH_BYTES:
        raise AuditError(f"the graph has {len(graph)} bytes, more than {MAX_GRAPH_BYTES}")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(graph)
    except DecodeError:
        raise AuditError("the graph is not an ONNX model") from None
    if model.functions:
        raise AuditError("the graph defines functions of its own")
    if model.training_info:
        raise AuditError("the graph contains training steps")
    for opset in model.opset_import:
        _check_domain(opset.domain)
    if configuring := sorted(_CONFIGURING & {entry.key for entry in model.metadata_props}):
        raise AuditError(f"the graph's metadata would configure the runtime: {configuring[0]}")
    _check_signature(model.graph, manifest, outputs)
    node_count = 0
    for part in _graphs(model.graph, 0):
        node_count += len(part.node)
        if node_count > MAX_NODES:
            raise AuditError(f"the graph has more than {MAX_NODES} nodes")
        _check_graph(part)


def has_subgraphs(graph: bytes) -> bool:
    """Whether a node of an audited graph contains a graph, as Loop, Scan and If do."""
    return sum(1 for _ in _graphs(onnx.ModelProto.FromString(graph).graph, 0)) > 1


def _graphs(graph: onnx.GraphProto, depth: int) -> Iterator[onnx.GraphProto]:
    """The graph, and the graphs inside its nodes, at any depth."""
    if depth > MAX_DEPTH:
        raise AuditError(f"the graph nests deeper than {MAX_DEPTH}")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g, depth + 1)
            for inner in attribute.graphs:
                yield from _graphs(inner, depth + 1)


def _check_graph(graph: onnx.GraphProto) -> None:
    constants: dict[str, onnx.TensorProto] = {}
    for tensor in graph.initializer:
        _check_tensor(tensor)
        constants[tensor.name] = tensor
    for sparse in graph.sparse_initializer:
        _check_sparse(sparse)
    for node in graph.node:
        _check_domain(node.domain)
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors):
                _check_tensor(tensor)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                _check_sparse(sparse)
            if node.op_type == "Constant" and attribute.name == "value" and node.output:
                constants[node.output[0]] = attribute.t
        _check_repeatable(node, constants)
        position = _GROWING.get(node.op_type)
        if position is not None and position < len(node.input) and node.input[position] in constants:
            _check_growth(node, constants[node.input[position]])


def _check_domain(domain: str) -> None:
    if domain not in DOMAINS:
        raise AuditError(f"the graph uses operators of domain {domain!r}; only standard operators may serve")


def _check_repeatable(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
    """Check that a node gives the same answer each time."""
    if node.op_type in _RANDOM:
        raise AuditError(f"a node of type {node.op_type} is random, so golden rows prove nothing")
    if node.op_type not in _TRAINABLE:
        return
    training = any(
        (attribute.name == "training_mode" and attribute.i)
        or (attribute.name == "is_test" and not attribute.i)
        for attribute in node.attribute
    )
    if node.op_type == "Dropout" and len(node.input) > _MODE_INPUT and node.input[_MODE_INPUT]:
        mode = constants.get(node.input[_MODE_INPUT])
        training = training or mode is None or bool(numpy_helper.to_array(mode).any())
    if training:
        raise AuditError(f"a node of type {node.op_type} is in training mode")


def _check_sparse(sparse: onnx.SparseTensorProto) -> None:
    _check_tensor(sparse.values)
    _check_tensor(sparse.indices)
    if math.prod(sparse.dims) > MAX_ELEMENTS or any(size < 0 for size in sparse.dims):
        raise AuditError(
            f"constant {sparse.values.name!r} has more than {MAX_ELEMENTS} elements, or a negative size"
        )


def _check_tensor(tensor: onnx.TensorProto) -> None:
    """Check that the values are in the graph, and as many as the shape says."""
    if tensor.external_data or tensor.data_location != onnx.TensorProto.DEFAULT:
        raise AuditError(f"constant {tensor.name!r} is stored in another file")
    if tensor.HasField("segment"):
        raise AuditError(f"constant {tensor.name!r} is stored in segments")
    if any(size < 0 for size in tensor.dims):
        raise AuditError(f"constant {tensor.name!r} has a negative size")
    elements = math.prod(tensor.dims)
    if elements > MAX_ELEMENTS:
        raise AuditError(f"constant {tensor.name!r} has {elements} elements, more than {MAX_ELEMENTS}")
    # In every field an element takes half a byte or more.
    if elements > 2 * tensor.ByteSize() and elements > 1:
        raise AuditError(
            f"constant {tensor.name!r} has fewer values than the {elements} elements of its shape"
        )
    if tensor.HasField("raw_data") and tensor.data_type in _ITEM_BYTES:
        needed = elements * _ITEM_BYTES[tensor.data_type]
        if len(tensor.raw_data) != needed:
            raise AuditError(
                f"constant {tensor.name!r} has {len(tensor.raw_data)} bytes, and its shape needs {needed}"
            )


def _check_growth(node: onnx.NodeProto, sizes: onnx.TensorProto) -> None:
    if sizes.data_type not in (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.FLOAT):
        raise AuditError(f"a node of type {node.op_type} takes its sizes from a constant that is not numeric")
    # Python's integers do not overflow. The comparison is false for NaN, which is refused, too.
    grown = math.prod(max(1, abs(size)) for size in numpy_helper.to_array(sizes).ravel().tolist())
    if not grown <= MAX_GROWN_ELEMENTS:
        raise AuditError(f"a node of type {node.op_type} makes more than {MAX_GROWN_ELEMENTS} elements")


def _check_signature(graph: onnx.GraphProto, manifest: manifest_pb2.Manifest, outputs: Sequence[str]) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {
        value.name: value.type.tensor_type.elem_type for value in graph.input if value.name not in constants
    }
    wanted = {part.name: _ELEMENT_TYPES.get(part.type, 0) for part in manifest.coding.inputs}
    if inputs != wanted:
        raise AuditError(f"the graph takes {_names(inputs)}, the manifest feeds {_names(wanted)}")
    answered = {value.name for value in graph.output}
    for output in outputs:
        if output not in answered:
            raise AuditError(
                f"the graph has the outputs {sorted(answered)}, and not {output!r} of the schema"
            )


def _names(values: dict[str, int]) -> str:
    return ", ".join(
        f"{name} ({onnx.TensorProto.DataType.Name(kind)})" for name, kind in sorted(values.items())
    )


def _item_bytes() -> dict[int, int]:
    """Bytes of an element by type, for types that fill whole bytes."""
    sizes = {}
    for kind in (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BOOL,
        onnx.TensorProto.INT8,
        onnx.TensorProto.INT16,
        onnx.TensorProto.INT32,
        onnx.TensorProto.INT64,
        onnx.TensorProto.UINT8,
        onnx.TensorProto.UINT16,
        onnx.TensorProto.UINT32,
        onnx.TensorProto.UINT64,
    ):
        sizes[int(kind)] = helper.tensor_dtype_to_np_dtype(kind).itemsize
    return sizes


_ITEM_BYTES = _item_bytes()
