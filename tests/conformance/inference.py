"""Calls of the Open Inference Protocol, as its clients make them."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from scorewire_proto.inference import inference_pb2 as pb
from tests.conformance.wire import Wire

SERVICE = "/inference.GRPCInferenceService"
INFER = f"{SERVICE}/ModelInfer"
STREAM = f"{SERVICE}/ModelStreamInfer"
DTYPES = {
    "FP64": "<f8",
    "FP32": "<f4",
    "FP16": "<f2",
    "INT64": "<i8",
    "INT32": "<i4",
    "INT8": "i1",
    "UINT8": "u1",
    "UINT64": "<u8",
    "BOOL": "?",
}


def raw(datatype: str, values: Any) -> bytes:
    """Encode elements as raw bytes."""
    if datatype != "BYTES":
        return np.asarray(values, dtype=DTYPES[datatype]).tobytes()
    texts = [value if isinstance(value, bytes) else value.encode() for value in values]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def unraw(datatype: str, content: bytes) -> list[Any]:
    """Decode raw bytes to a flat list of elements."""
    if datatype != "BYTES":
        return list(np.frombuffer(content, dtype=DTYPES[datatype]).tolist())
    texts, position = [], 0
    while position < len(content):
        (length,) = struct.unpack_from("<I", content, position)
        texts.append(content[position + 4 : position + 4 + length].decode())
        position += 4 + length
    return texts


def infer_request(
    model: str, tensors: dict[str, tuple[str, list[int], Any]], **fields: Any
) -> pb.ModelInferRequest:
    """A request with raw tensors; each has a datatype, a shape and flat elements, by name."""
    request = pb.ModelInferRequest(model_name=model, **fields)
    for name, (datatype, shape, values) in tensors.items():
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(raw(datatype, values))
    return request


def infer(wire: Wire, request: pb.ModelInferRequest, **options: Any) -> pb.ModelInferResponse:
    """The response to a request."""
    return pb.ModelInferResponse.FromString(wire.call(INFER, request.SerializeToString(), **options))


def told(response: pb.ModelInferResponse) -> dict[str, list[Any]]:
    """The elements of all raw outputs, by name."""
    return {
        output.name: unraw(output.datatype, content)
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def sum_tensors(x0: Any = (1.0,), x1: Any = (2.0,), country: Any = ("de",)) -> dict[str, Any]:
    """The tensors of the model `sum`."""
    return {
        "x0": ("FP64", [len(x0), 1], x0),
        "x1": ("FP64", [len(x1), 1], x1),
        "country": ("BYTES", [len(country), 1], country),
    }
