"""Reads rows from the tensors of the Open Inference Protocol, and writes scores as tensors.

The tensors are those that the manifest names. Without such names there is one tensor
of shape [rows, 1] for each feature, with FP64 for numbers and BYTES for texts. A
model whose features are all numbers also takes them in one tensor of shape
[rows, features], under any other name. Numbers may have every datatype, as long as a
double holds the value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.scoring import Scores
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.inference import inference_pb2 as pb
from scorewire_proto.v1 import schema_pb2
from scorewire_server.engine.encodings.tensor_elements import (
    BYTES,
    DATATYPES,
    LENGTH,
    InputTensor,
    as_numbers,
    as_texts,
    check_parameters,
    path_of,
    read_elements,
)
from scorewire_server.errors import clip, invalid_field

# The parameter with which a client asks for answers that are not raw.
_NOT_RAW = "binary_data_output"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of shape [rows, *dims]; `optional` if a request may leave it out."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    optional: bool = False

    @property
    def width(self) -> int:
        """Values per row."""
        return math.prod(self.dims)


class TensorCodec:
    """Reads and writes the tensors of one version; safe to share between threads.

    Raises:
        ValueError: the manifest's tensors do not fit its schema.
    """

    def __init__(self, manifest: manifest_pb2.Manifest) -> None:
        schema = manifest.schema
        self._model = manifest.model
        if manifest.HasField("tensors"):
            self.inputs = tuple(Tensor(t.name, t.datatype, tuple(t.dims)) for t in manifest.tensors.inputs)
            self.outputs = tuple(Tensor(t.name, t.datatype, tuple(t.dims)) for t in manifest.tensors.outputs)
        else:
            self.inputs = tuple(map(_input_of, schema.features))
            self.outputs = tuple(map(_output_of, schema.outputs))
        _check(self.inputs, self.outputs, schema)
        kinds = [feature.kind == schema_pb2.FEATURE_KIND_NUMBER for feature in schema.features]
        self._number_count, self._text_count = sum(kinds), len(kinds) - sum(kinds)
        self._starts: dict[str, int] = {}
        first = 0
        for tensor in self.inputs:
            self._starts[tensor.name] = sum(kind == kinds[first] for kind in kinds[:first])
            first += tensor.width
        self._inputs = {tensor.name: tensor for tensor in self.inputs}
        self._output_indices = {tensor.name: index for index, tensor in enumerate(self.outputs)}
        self._tensor_of: dict[str, str] = {}
        features = iter(schema.features)
        for tensor in self.inputs:
            self._tensor_of |= {next(features).name: tensor.name for _ in range(tensor.width)}

    def start(self, name: str) -> int:
        """The position of an input's first value in a row, among the numbers or among the texts."""
        return self._starts[name]

    def read(
        self, message: pb.ModelInferRequest, max_rows: int
    ) -> tuple[int, NDArray[np.float64], list[str]]:
        """The rows of a request: their number, their numbers and their texts, row-major.

        Of more than `max_rows` rows only the number is returned, since absent tensors would
        take memory for each row.

        Raises:
            InvalidRequestError: the tensors do not fit the model.
        """
        self._check_wanted(message)
        tensors = list(read_elements(message, self._model))
        if not tensors:
            raise invalid_field("inputs", "there are no inputs")
        counts = {each.shape[0] for each, _ in tensors}
        if len(counts) > 1:
            raise invalid_field("inputs", f"inputs have different numbers of rows: {sorted(counts)}")
        (count,) = counts
        if count > max_rows:
            return count, np.empty(0), []
        if self._is_fused(message):
            return count, self._fused(*tensors[0]), []
        # All shapes are checked against the elements before memory is allocated for the rows.
        self._check_inputs([each for each, _ in tensors])
        numbers = np.full((count, self._number_count), np.nan)
        texts = np.full((count, self._text_count), "", dtype=object)
        for each, values in tensors:
            tensor, start = self._inputs[each.name], self._starts[each.name]
            if tensor.datatype == BYTES:
                texts[:, start : start + tensor.width] = as_texts(each, values).reshape(count, tensor.width)
            else:
                filled = as_numbers(each, values).reshape(count, tensor.width)
                numbers[:, start : start + tensor.width] = filled
        return count, numbers.ravel(), texts.ravel().tolist()

    def _check_inputs(self, sent: Sequence[InputTensor]) -> None:
        seen: set[str] = set()
        for each in sent:
            tensor = self._inputs.get(each.name)
            if tensor is None or each.name in seen:
                what = "it is sent twice" if tensor else "there is no such input"
                raise invalid_field(path_of(each), f"{what}; the model takes {', '.join(self._starts)}"[:180])
            seen.add(each.name)
            row = tuple(each.shape[1:])
            if row != tensor.dims and (tensor.width, math.prod(row)) != (1, 1):
                raise invalid_field(
                    path_of(each), f"its shape is {list(each.shape)}, not {[-1, *tensor.dims]}"
                )
            if tensor.datatype == BYTES != each.datatype:
                raise invalid_field(path_of(each), f"its datatype is {clip(each.datatype)}, not BYTES")
        if absent := [t.name for t in self.inputs if t.name not in seen and not t.optional]:
            raise invalid_field(f"inputs[{clip(absent[0])}]", "the input is missing")

    def _check_wanted(self, message: pb.ModelInferRequest) -> None:
        seen: set[str] = set()
        for wanted in message.outputs:
            if wanted.name not in self._output_indices or wanted.name in seen:
                known = ", ".join(self._output_indices)[:150]
                what = "it is asked for twice" if wanted.name in seen else "there is no such output"
                raise invalid_field(f"outputs[{clip(wanted.name)}]", f"{what}; there are {known}")
            seen.add(wanted.name)
            check_parameters(wanted.parameters)

    def write(self, request: pb.ModelInferRequest, response: pb.ModelInferResponse, scores: Scores) -> None:
        """Fill in the outputs that a request asks for.

        Outputs are raw, as Triton's are, unless the request's parameter `binary_data_output`
        is false.

        Raises:
            InvalidRequestError: a row has an error, and the protocol has no errors by row.
        """
        if scores.errors:
            error = scores.errors[0]
            name = clip(self._tensor_of[error.feature])
            raise invalid_field(f"inputs[{name}]", f"row {error.row}: {error.message}")
        raw = not (_NOT_RAW in request.parameters and not request.parameters[_NOT_RAW].bool_param)
        for name in [each.name for each in request.outputs] or list(self._output_indices):
            index = self._output_indices[name]
            tensor, values = self.outputs[index], scores.outputs[index]
            output = response.outputs.add(
                name=name, datatype=tensor.datatype, shape=(len(values), *tensor.dims)
            )
            dtype, field = DATATYPES[tensor.datatype]
            if tensor.datatype == BYTES:
                elements: Any = [text.encode("utf-8", "surrogatepass") for text in values.ravel().tolist()]
                content = b"".join(LENGTH.pack(len(each)) + each for each in elements) if raw else b""
            else:
                cast = values.astype(dtype)
                elements, content = cast.ravel(), cast.tobytes() if raw else b""
            if raw:
                response.raw_output_contents.append(content)
            else:
                getattr(output.contents, field).extend(
                    elements if isinstance(elements, list) else elements.tolist()
                )

    def _is_fused(self, message: pb.ModelInferRequest) -> bool:
        alone = len(message.inputs) == 1 and not self._text_count
        return alone and message.inputs[0].name not in self._inputs

    def _fused(self, each: InputTensor, values: Any) -> NDArray[np.float64]:
        if list(each.shape[1:]) != [self._number_count]:
            raise invalid_field(
                path_of(each),
                f"there is no such input, and with shape {list(each.shape)} it is not all features at once:"
                f" that is {[-1, self._number_count]}",
            )
        return as_numbers(each, values)


def _input_of(feature: schema_pb2.Feature) -> Tensor:
    datatype = "FP64" if feature.kind == schema_pb2.FEATURE_KIND_NUMBER else BYTES
    return Tensor(feature.name, datatype, (1,), optional=feature.missing_allowed)


def _output_of(output: schema_pb2.OutputSchema) -> Tensor:
    datatype = {schema_pb2.OUTPUT_KIND_CLASS: "INT64", schema_pb2.OUTPUT_KIND_TEXT: BYTES}
    return Tensor(output.name, datatype.get(output.kind, "FP64"), (output.width,))


def _check(inputs: Sequence[Tensor], outputs: Sequence[Tensor], schema: schema_pb2.Schema) -> None:
    """Check that tensors cover every feature and output of a schema once, and never mix numbers and texts.

    Raises:
        ValueError: they do not.
    """
    features = [feature.kind == schema_pb2.FEATURE_KIND_TEXT for feature in schema.features]
    if sum(tensor.width for tensor in inputs) != len(features):
        raise ValueError("the input tensors of the manifest and the features of its schema differ in number")
    kinds_of_values = [tensor.datatype == BYTES for tensor in inputs for _ in range(tensor.width)]
    widths = [(o.name, o.width, o.kind == schema_pb2.OUTPUT_KIND_TEXT) for o in schema.outputs]
    known = {tensor.datatype for tensor in (*inputs, *outputs)} <= set(DATATYPES)
    distinct = len({tensor.name for tensor in inputs}) == len(inputs)
    if (
        not (known and distinct and all(tensor.width for tensor in inputs))
        or kinds_of_values != features
        or [(t.name, t.width, t.datatype == BYTES) for t in outputs] != widths
    ):
        raise ValueError("the manifest's tensors do not fit its schema")
