"""Writes the server's responses as the protocol has them over HTTP."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from scorewire_gateway.open_inference.elements import from_raw
from scorewire_gateway.open_inference.requests import InferCall
from scorewire_proto.inference import inference_pb2 as pb

# The server's extensions that are not there over HTTP, since the gateway changes no models.
_ABSENT = "model_repository"


def write_infer_response(response: pb.ModelInferResponse, call: InferCall) -> tuple[bytes, int | None]:
    """Write a response.

    Args:
        response: the server's response; its outputs are raw.
        call: the request.

    Returns:
        The body, and the length of its JSON if binary data follow; else None.
    """
    answer: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id:
        answer["id"] = response.id
    if response.parameters:
        answer["parameters"] = {
            name: getattr(value, str(value.WhichOneof("parameter_choice")))
            for name, value in sorted(response.parameters.items())
        }
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        described: dict[str, Any] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": list(output.shape),
        }
        if call.wants_binary(output.name):
            described["parameters"] = {"binary_data_size": len(raw)}
            binary.append(raw)
        else:
            described["data"] = from_raw(output.datatype, raw)
        outputs.append(described)
    answer["outputs"] = outputs
    header = to_bytes(answer)
    return (header + b"".join(binary), len(header)) if binary else (header, None)


def to_bytes(value: Any) -> bytes:
    """A value as JSON, in ASCII: a model's text may have lone surrogates, which UTF-8 cannot have."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def server_metadata(response: pb.ServerMetadataResponse) -> dict[str, Any]:
    """The description of the server, with the extensions that are there over HTTP."""
    described = to_json(response)
    described["extensions"] = [each for each in described["extensions"] if each != _ABSENT]
    return described


def to_json(message: Message) -> dict[str, Any]:
    """A message as JSON: all fields by name, and 64-bit integers as numbers, as in Triton's answers."""
    return {
        field.name: _field(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if field.type != FieldDescriptor.TYPE_MESSAGE or field.is_repeated or message.HasField(field.name)
    }


def _field(field: Any, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if not field.is_repeated:
            return to_json(value)
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        return dict(value) if is_map else [to_json(each) for each in value]
    if field.type == FieldDescriptor.TYPE_ENUM and field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return list(value) if field.is_repeated else value
