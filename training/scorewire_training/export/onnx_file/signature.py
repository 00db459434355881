"""The tensors of an ONNX file, and the check that they hold rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.zipmaps import take_out_zipmaps

MAX_VALUES = 4096
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
# Metadata that configures onnxruntime; only the server may do that.
_CONFIGURING = frozenset({"ort_config"})
_RE_EXPORT = "export the model with tensors of shape [rows, ...], the rows free and the rest fixed"


@dataclass(frozen=True, slots=True)
class ElementKind:
    """An element type under its names in manifests, in the Open Inference Protocol and in numpy."""

    element: manifest_pb2.ElementType.ValueType
    datatype: str
    dtype: type[np.generic]


_KINDS: dict[int, ElementKind] = {
    TensorProto.FLOAT: ElementKind(manifest_pb2.ELEMENT_TYPE_FLOAT, "FP32", np.float32),
    TensorProto.DOUBLE: ElementKind(manifest_pb2.ELEMENT_TYPE_DOUBLE, "FP64", np.float64),
    TensorProto.STRING: ElementKind(manifest_pb2.ELEMENT_TYPE_STRING, "BYTES", np.object_),
    TensorProto.INT8: ElementKind(manifest_pb2.ELEMENT_TYPE_INT8, "INT8", np.int8),
    TensorProto.INT16: ElementKind(manifest_pb2.ELEMENT_TYPE_INT16, "INT16", np.int16),
    TensorProto.INT32: ElementKind(manifest_pb2.ELEMENT_TYPE_INT32, "INT32", np.int32),
    TensorProto.INT64: ElementKind(manifest_pb2.ELEMENT_TYPE_INT64, "INT64", np.int64),
    TensorProto.UINT8: ElementKind(manifest_pb2.ELEMENT_TYPE_UINT8, "UINT8", np.uint8),
    TensorProto.UINT16: ElementKind(manifest_pb2.ELEMENT_TYPE_UINT16, "UINT16", np.uint16),
    TensorProto.UINT32: ElementKind(manifest_pb2.ELEMENT_TYPE_UINT32, "UINT32", np.uint32),
    TensorProto.UINT64: ElementKind(manifest_pb2.ELEMENT_TYPE_UINT64, "UINT64", np.uint64),
    TensorProto.BOOL: ElementKind(manifest_pb2.ELEMENT_TYPE_BOOL, "BOOL", np.bool_),
}


@dataclass(frozen=True, slots=True)
class InputTensor:
    """An input of shape [rows, dims...]."""

    name: str
    kind: ElementKind
    dims: tuple[int, ...]

    @property
    def width(self) -> int:
        """Values per row."""
        return math.prod(self.dims)


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a graph.

    Attributes:
        inputs: the inputs.
        outputs: name and element type of each output.
        one_row: whether the graph is declared for a single row.
        class_labels: the classes of the outputs that were a dictionary for each row.
    """

    inputs: tuple[InputTensor, ...]
    outputs: tuple[tuple[str, ElementKind], ...]
    one_row: bool
    class_labels: Mapping[str, tuple[str, ...]]


def read_file(content: bytes) -> tuple[onnx.ModelProto, Signature]:
    """Read a self-contained model from a file's content, with its signature.

    Unused imports of operator sets and metadata for the runtime are removed.
    Dictionaries of classes become tables.

    Raises:
        UnsupportedModelError: the content is not an ONNX model, the graph needs other
            files or non-standard operators, or a tensor does not hold rows.
    """
    model = _parse(content)
    class_labels = take_out_zipmaps(model.graph)
    return model, _read_signature(model, class_labels)


def _parse(content: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise UnsupportedModelError("the file is not an ONNX model", "give a .onnx file") from None
    if not model.graph.output:
        raise UnsupportedModelError("the file is not an ONNX model", "give a .onnx file")
    if model.functions:
        raise UnsupportedModelError("the graph brings functions of its own", "inline them, by onnx.inliner")
    if model.training_info:
        raise UnsupportedModelError("the graph carries training steps", "export the model for inference")
    for graph in _graphs(model.graph):
        for tensor in _constants(graph):
            if tensor.external_data or tensor.data_location != TensorProto.DEFAULT:
                raise UnsupportedModelError(
                    f"constant {tensor.name!r} lies in another file",
                    "save the model in one file, by onnx.save(model, save_as_external_data=False)",
                )
        for node in graph.node:
            if node.domain not in _DOMAINS:
                raise UnsupportedModelError(
                    f"the graph uses operators of domain {node.domain!r}",
                    "only the standard ones may serve: export the model without them",
                )
    opsets = [each for each in model.opset_import if each.domain in _DOMAINS]
    metadata = [each for each in model.metadata_props if each.key not in _CONFIGURING]
    del model.opset_import[:], model.metadata_props[:]
    model.opset_import.extend(opsets)
    model.metadata_props.extend(metadata)
    return model


def _read_signature(model: onnx.ModelProto, class_labels: Mapping[str, tuple[str, ...]]) -> Signature:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs, one_row = [], []
    for value in model.graph.input:
        if value.name in constants:
            continue
        tensor = value.type.tensor_type
        if not tensor.HasField("shape") or not tensor.shape.dim:
            raise UnsupportedModelError(f"input {value.name!r} has no shape of rows", _RE_EXPORT)
        first, *rest = tensor.shape.dim
        if any(dim.dim_value < 1 for dim in rest):
            raise UnsupportedModelError(f"input {value.name!r} has a row of no fixed shape", _RE_EXPORT)
        if first.dim_value > 1:
            raise UnsupportedModelError(
                f"input {value.name!r} is fixed at {first.dim_value} rows", _RE_EXPORT
            )
        one_row.append(first.dim_value == 1)
        inputs.append(InputTensor(value.name, _kind(value), tuple(dim.dim_value for dim in rest)))
    if not inputs:
        raise UnsupportedModelError("the graph takes nothing", _RE_EXPORT)
    if (values := sum(each.width for each in inputs)) > MAX_VALUES:
        raise UnsupportedModelError(
            f"the graph takes {values} values per row, more than {MAX_VALUES}",
            "bundles are for rows; serve models of images and texts elsewhere",
        )
    outputs = tuple((value.name, _kind(value)) for value in model.graph.output)
    return Signature(tuple(inputs), outputs, any(one_row), class_labels)


def with_free_rows(model: onnx.ModelProto, signature: Signature) -> onnx.ModelProto:
    """A copy of a model whose tensors are declared for any number of rows."""
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    names = {each.name for each in signature.inputs} | {name for name, _ in signature.outputs}
    for value in (*freed.graph.input, *freed.graph.output):
        shape = value.type.tensor_type.shape
        if value.name in names and shape.dim:
            shape.dim[0].Clear()
            shape.dim[0].dim_param = "rows"
    # Shapes of inner tensors were inferred for one row.
    del freed.graph.value_info[:]
    return freed


def _kind(value: onnx.ValueInfoProto) -> ElementKind:
    if not value.type.HasField("tensor_type"):
        raise UnsupportedModelError(f"{value.name!r} is not a tensor", "export the model with tensors alone")
    element = value.type.tensor_type.elem_type
    if element not in _KINDS:
        name = TensorProto.DataType.Name(element)
        raise UnsupportedModelError(f"{value.name!r} has elements of type {name}", "cast them to FLOAT")
    return _KINDS[element]


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
            for inner in attribute.graphs:
                yield from _graphs(inner)


def _constants(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
