"""Requests and responses of the protocol over HTTP, as an independent client writes and reads them."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any

import httpx

from scorewire_proto.inference import inference_pb2 as pb
from tests.conformance.inference import raw, unraw

HEADER = "Inference-Header-Content-Length"


def post(
    http: httpx.Client, message: pb.ModelInferRequest, is_binary: Callable[[], bool], **headers: str
) -> httpx.Response:
    """Send a request with raw contents over HTTP.

    Args:
        http: the client of the gateway.
        message: the request.
        is_binary: whether the next tensor is sent, or wanted, as binary data.
        headers: further headers.
    """
    contents = b""
    inputs = []
    for tensor, content in zip(message.inputs, message.raw_input_contents, strict=True):
        described: dict[str, Any] = {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "datatype": tensor.datatype,
        }
        if tensor.datatype in ("FP16", "STRING") or is_binary():
            described["parameters"] = {"binary_data_size": len(content)}
            contents += content
        else:
            described["data"] = [json_of(each) for each in unraw(tensor.datatype, content)]
        inputs.append(described)
    request: dict[str, Any] = {"inputs": inputs, "parameters": {"binary_data_output": is_binary()}}
    if message.id:
        request["id"] = message.id
    for name, value in message.parameters.items():
        request["parameters"].setdefault(name, getattr(value, value.WhichOneof("parameter_choice")))
    if message.outputs:
        request["outputs"] = [
            {"name": each.name, "parameters": {"binary_data": is_binary()}} for each in message.outputs
        ]
    header = json.dumps(request).encode()
    path = f"/v2/models/{message.model_name}"
    if message.model_version:
        path += f"/versions/{message.model_version}"
    if contents:
        headers[HEADER] = str(len(header))
    return http.post(f"{path}/infer", content=header + contents, headers=headers)


def json_of(value: Any) -> Any:
    """An element as the gateway takes it in JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value


def read(answer: httpx.Response) -> pb.ModelInferResponse:
    """The message that an answer stands for, with raw contents."""
    length = int(answer.headers.get(HEADER, len(answer.content)))
    described, contents = json.loads(answer.content[:length]), answer.content[length:]
    response = pb.ModelInferResponse(
        model_name=described["model_name"],
        model_version=described["model_version"],
        id=described.get("id", ""),
    )
    for name, value in described.get("parameters", {}).items():
        response.parameters[name].string_param = value
    for output in described["outputs"]:
        response.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
        if "data" in output:
            special = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
            texts = output["datatype"] == "BYTES"
            data = [each if texts or not isinstance(each, str) else special[each] for each in output["data"]]
            response.raw_output_contents.append(raw(output["datatype"], data))
        else:
            size = output["parameters"]["binary_data_size"]
            response.raw_output_contents.append(contents[:size])
            contents = contents[size:]
    assert not contents
    return response


def texts(*values: str) -> bytes:
    """Raw BYTES."""
    return b"".join(struct.pack("<I", len(each.encode())) + each.encode() for each in values)
