"""Reads the elements of tensors, from raw bytes or from the typed fields of InferTensorContents."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.coding import LARGEST_WHOLE
from scorewire_proto.inference import inference_pb2 as pb
from scorewire_server.errors import clip, invalid_field

InputTensor: TypeAlias = pb.ModelInferRequest.InferInputTensor

BYTES = "BYTES"
# For each datatype: numpy's type, and the field of InferTensorContents.
DATATYPES: Mapping[str, tuple[str, str]] = {
    "BOOL": ("?", "bool_contents"),
    "UINT8": ("u1", "uint_contents"),
    "UINT16": ("<u2", "uint_contents"),
    "UINT32": ("<u4", "uint_contents"),
    "UINT64": ("<u8", "uint64_contents"),
    "INT8": ("i1", "int_contents"),
    "INT16": ("<i2", "int_contents"),
    "INT32": ("<i4", "int_contents"),
    "INT64": ("<i8", "int64_contents"),
    "FP16": ("<f2", ""),
    "FP32": ("<f4", "fp32_contents"),
    "FP64": ("<f8", "fp64_contents"),
    BYTES: ("O", "bytes_contents"),
}
# The length before each element of raw BYTES.
LENGTH = struct.Struct("<I")
# The most sizes in a shape, since the product of very many sizes takes long.
_MAX_RANK = 32
_UNSUPPORTED = ("shared_memory_region", "classification")


def read_elements(message: pb.ModelInferRequest, model: str) -> Iterator[tuple[InputTensor, Any]]:
    """Each tensor of a request with its elements, flat: an array of numbers, or a list of bytes.

    Args:
        message: the request.
        model: the model's name, for error messages.

    Raises:
        InvalidRequestError: elements are missing, do not fit their shape, or are sent in a wrong field.
    """
    raws = message.raw_input_contents
    for each in message.inputs:
        check_parameters(each.parameters)
        if raws and each.HasField("contents"):
            raise invalid_field(
                path_of(each),
                "contents field must not be specified when using raw_input_contents for"
                f" '{clip(each.name)}' for model '{model}'",
            )
    if raws and len(raws) != len(message.inputs):
        raise invalid_field("raw_input_contents", f"there are {len(raws)} for {len(message.inputs)} inputs")
    for index, each in enumerate(message.inputs):
        if each.datatype not in DATATYPES:
            raise invalid_field(path_of(each), f"{clip(each.datatype)!r} is not a datatype of the protocol")
        if len(each.shape) > _MAX_RANK:
            raise invalid_field(
                path_of(each), f"its shape has {len(each.shape)} sizes, more than {_MAX_RANK}"
            )
        if not each.shape or any(size < 0 for size in each.shape):
            raise invalid_field(path_of(each), f"its shape is {list(each.shape)}, not [rows, ...]")
        values = _raw(each, raws[index]) if raws else _typed(each)
        if len(values) != math.prod(each.shape):
            raise invalid_field(
                path_of(each), f"{len(values)} elements do not fit its shape, {list(each.shape)}"
            )
        yield each, values


def _raw(each: InputTensor, content: bytes) -> Any:
    if each.datatype != BYTES:
        dtype = np.dtype(DATATYPES[each.datatype][0])
        if len(content) % dtype.itemsize:
            raise invalid_field(
                path_of(each), f"{len(content)} raw bytes are not a whole number of {each.datatype} values"
            )
        return np.frombuffer(content, dtype=dtype)
    elements, position = [], 0
    while position < len(content):
        begin = position + LENGTH.size
        if begin > len(content):
            raise invalid_field(path_of(each), "its raw bytes end within a length")
        position = begin + LENGTH.unpack_from(content, position)[0]
        if position > len(content):
            raise invalid_field(path_of(each), "its raw bytes end within an element")
        elements.append(content[begin:position])
    return elements


def _typed(each: InputTensor) -> Any:
    dtype, field = DATATYPES[each.datatype]
    if not field:
        raise invalid_field(path_of(each), f"{each.datatype} can only be sent in raw_input_contents")
    if surplus := [found.name for found, _ in each.contents.ListFields() if found.name != field]:
        raise invalid_field(path_of(each), f"{each.datatype} belongs in {field}, not in {surplus[0]}")
    elements = list(getattr(each.contents, field))
    if each.datatype == BYTES:
        return elements
    try:
        return np.array(elements, dtype=dtype)
    except OverflowError:
        raise invalid_field(path_of(each), f"a number is out of the range of {each.datatype}") from None


def as_numbers(each: InputTensor, values: Any) -> NDArray[np.float64]:
    """The elements of a tensor as doubles.

    Raises:
        InvalidRequestError: the tensor has texts, or an integer beyond 2^53.
    """
    if each.datatype == BYTES:
        raise invalid_field(path_of(each), "its datatype is BYTES, and the model takes numbers there")
    if each.datatype in ("INT64", "UINT64") and len(values):
        limit = int(LARGEST_WHOLE)
        if int(values.max()) > limit or int(values.min()) < -limit:
            raise invalid_field(
                path_of(each), "a number is beyond 2^53, where a double does not hold every integer"
            )
    return np.asarray(values, dtype=np.float64)


def as_texts(each: InputTensor, values: list[bytes]) -> NDArray[np.object_]:
    """The elements of a tensor as texts.

    Raises:
        InvalidRequestError: an element is not UTF-8.
    """
    texts = np.empty(len(values), dtype=object)
    try:
        texts[:] = [value.decode("utf-8") for value in values]
    except UnicodeDecodeError:
        raise invalid_field(path_of(each), "an element is not UTF-8 text") from None
    return texts


def check_parameters(parameters: Mapping[str, pb.InferParameter]) -> None:
    """Check that a request has no parameter that this server does not support.

    Raises:
        InvalidRequestError: it has one.
    """
    for name in _UNSUPPORTED:
        if name in parameters:
            raise invalid_field(f"parameters[{name}]", "this server does not support this parameter")


def path_of(each: InputTensor) -> str:
    """The path of a tensor in error messages: inputs[name]."""
    return f"inputs[{clip(each.name)}]"
