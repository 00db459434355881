"""Reads a request of the protocol: JSON, with or without binary data of tensors behind it.

With the header Inference-Header-Content-Length, the body is that many bytes of JSON
and then the data of those inputs that have the parameter `binary_data_size`, one after
the other.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorewire import Code
from scorewire_gateway.errors import RequestError, invalid_field
from scorewire_gateway.json_values import read_tensor_json
from scorewire_gateway.open_inference.elements import encoded, to_raw
from scorewire_proto.inference import inference_pb2 as pb

HEADER_LENGTH = "Inference-Header-Content-Length"
_SIZE, _BINARY, _ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"
_SHARED_MEMORY = "shared_memory_region"
_INT64, _UINT64 = 2**63, 2**64
_MAX_DIGITS = 20
_FIELDS = {"id", "parameters", "inputs", "outputs"}
_INPUT_FIELDS = {"name", "shape", "datatype", "parameters", "data"}
_OUTPUT_FIELDS = {"name", "parameters"}


@dataclass(frozen=True, slots=True)
class InferCall:
    """A request for the server, and which outputs its client wants as binary data.

    Attributes:
        message: the request.
        binary: whether an output is wanted as binary data, by name.
        all_binary: whether outputs are wanted so that `binary` does not name.
    """

    message: pb.ModelInferRequest
    binary: Mapping[str, bool]
    all_binary: bool

    def wants_binary(self, output: str) -> bool:
        """Whether the client wants an output as binary data."""
        return self.binary.get(output, self.all_binary)


def read_infer_request(body: bytes, header_length: str | None, model: str, version: str) -> InferCall:
    """Read a request.

    Args:
        body: the body.
        header_length: the value of the header Inference-Header-Content-Length; None without it.
        model: the model's name.
        version: the version; "" for the model's default.

    Raises:
        RequestError: the request is not one of the protocol.
    """
    end = len(body) if header_length is None else _length(header_length, len(body))
    request = _object(read_tensor_json(body[:end]), "the request", _FIELDS)
    binary = memoryview(body)[end:]
    message = pb.ModelInferRequest(
        model_name=model, model_version=version, id=_text(request.get("id", ""), "id")
    )
    parameters = dict(_object(request.get("parameters", {}), "parameters"))
    all_binary = _flag(parameters.pop(_ALL_BINARY, False), f"parameters.{_ALL_BINARY}")
    _fill_parameters(message.parameters, parameters, "parameters")
    for index, each in enumerate(_list(request.get("inputs"), "inputs")):
        binary = _add_input(message, each, f"inputs[{index}]", binary)
    if binary:
        raise invalid_field("inputs", f"{len(binary)} bytes of binary data belong to no input")
    outputs = request.get("outputs")
    wanted = {}
    for index, each in enumerate([] if outputs is None else _list(outputs, "outputs")):
        path = f"outputs[{index}]"
        output = _object(each, path, _OUTPUT_FIELDS)
        name = _text(output.get("name"), f"{path}.name")
        parameters = dict(_object(output.get("parameters", {}), f"{path}.parameters"))
        wanted[name] = _flag(parameters.pop(_BINARY, all_binary), f"{path}.parameters.{_BINARY}")
        _fill_parameters(message.outputs.add(name=name).parameters, parameters, f"{path}.parameters")
    return InferCall(message, wanted, all_binary)


def decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The body without its Content-Encoding.

    Raises:
        RequestError: the encoding is not known, the body does not fit it, or has more than `max_bytes`.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise RequestError(
            f"Content-Encoding {encoding[:50]!r} is not known: send gzip, deflate or nothing",
            reason="ENCODING_NOT_KNOWN",
            http_code=415,
        )
    # Either header, that of gzip or that of zlib.
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        content = stream.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise invalid_field("body", f"is not {encoding}: {error}") from None
    if len(content) > max_bytes:
        raise RequestError(
            f"without its compression, the body is longer than {max_bytes} bytes; send fewer rows",
            code=Code.RESOURCE_EXHAUSTED,
            reason="BODY_TOO_LARGE",
            http_code=413,
        )
    if not stream.eof or stream.unused_data:
        raise invalid_field("body", f"is not {encoding} from its begin to its end")
    return content


def _length(text: str, available: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS) or int(text) > available:
        raise invalid_field(
            HEADER_LENGTH, f"is the length of the JSON, at most that of the body, which is {available}"
        )
    return int(text)


def _add_input(message: pb.ModelInferRequest, each: Any, path: str, binary: memoryview) -> memoryview:
    """Add an input to the request; returns the binary data behind its own."""
    given = _object(each, path, _INPUT_FIELDS)
    shape = _list(given.get("shape"), f"{path}.shape")
    if not all(type(size) is int and -_INT64 <= size < _INT64 for size in shape):
        raise invalid_field(f"{path}.shape", "is a list of whole numbers")
    parameters = dict(_object(given.get("parameters", {}), f"{path}.parameters"))
    size = parameters.pop(_SIZE, None)
    datatype = _text(given.get("datatype"), f"{path}.datatype")
    added = message.inputs.add(name=_text(given.get("name"), f"{path}.name"), datatype=datatype, shape=shape)
    _fill_parameters(added.parameters, parameters, f"{path}.parameters")
    if size is not None:
        if type(size) is not int or not 0 <= size <= len(binary):
            raise invalid_field(
                f"{path}.parameters.{_SIZE}",
                f"is a number of bytes behind the JSON, where {len(binary)} are left;"
                f" {HEADER_LENGTH} tells where they begin",
            )
        if "data" in given:
            raise invalid_field(path, f"has both data and {_SIZE}")
        message.raw_input_contents.append(bytes(binary[:size]))
        return binary[size:]
    if "data" in given:
        message.raw_input_contents.append(to_raw(datatype, given["data"], f"{path}.data"))
    elif _SHARED_MEMORY in parameters:
        # The server refuses it, in its own words.
        message.raw_input_contents.append(b"")
    else:
        raise invalid_field(path, f"has neither data nor the parameter {_SIZE}")
    return binary


def _fill_parameters(filled: Any, parameters: Mapping[str, Any], path: str) -> None:
    for name, value in parameters.items():
        encoded(name, path)
        parameter = filled[name]
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, int) and -_INT64 <= value < _INT64:
            parameter.int64_param = value
        elif isinstance(value, int) and 0 <= value < _UINT64:
            parameter.uint64_param = value
        elif isinstance(value, float):
            parameter.double_param = value
        elif isinstance(value, str):
            parameter.string_param = _text(value, path)
        else:
            raise invalid_field(f"{path}.{name[:50]}", "is a text, a number of at most 64 bits or a boolean")


def _object(value: Any, path: str, fields: set[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid_field(path, "is an object")
    if fields is not None and (unknown := value.keys() - fields):
        raise invalid_field(
            path, f"has no field {min(unknown)[:50]!r}; there are {', '.join(sorted(fields))}"
        )
    return value


def _list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise invalid_field(path, "is a list")
    return value


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise invalid_field(path, "is a text")
    encoded(value, path)
    return value


def _flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise invalid_field(path, "is true or false")
    return value
