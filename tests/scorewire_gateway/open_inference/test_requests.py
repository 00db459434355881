from __future__ import annotations

import gzip
import json
import math
import struct
import zlib
from typing import Any

import pytest
from scorewire_gateway.errors import RequestError
from scorewire_gateway.open_inference.elements import from_raw, to_raw
from scorewire_gateway.open_inference.requests import InferCall, decompress, read_infer_request

from tests.scorewire_gateway.open_inference.rest import texts

X = {"name": "x", "shape": [2, 1], "datatype": "FP64", "data": [1, 2.5]}


def read(request: Any, binary: bytes = b"", header_length: str | None = None) -> InferCall:
    header = request if isinstance(request, bytes) else json.dumps(request).encode()
    return read_infer_request(header + binary, header_length, "m", "1.0.0")


def told(request: Any, binary: bytes = b"", header_length: str | None = None) -> str:
    with pytest.raises(RequestError) as caught:
        read(request, binary, header_length)
    assert caught.value.http_code == 400
    return str(caught.value)


def with_data(datatype: str, data: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1], "datatype": datatype, "data": data}]}


@pytest.mark.parametrize(
    ("datatype", "data", "raw"),
    [
        ("FP64", [1, 2.5, None], struct.pack("<3d", 1, 2.5, math.nan)),
        ("FP64", ["Infinity", "-Infinity", "NaN"], struct.pack("<3d", math.inf, -math.inf, math.nan)),
        ("FP64", [[[1], [2]], [[3], [4]]], struct.pack("<4d", 1, 2, 3, 4)),
        ("FP64", [2**53, -(2**53)], struct.pack("<2d", 2**53, -(2**53))),
        ("FP64", [], b""),
        ("FP64", [[], []], b""),
        ("FP32", [0.1], struct.pack("<f", 0.1)),
        ("FP32", [2**25, None, 0.1], struct.pack("<3f", 2**25, math.nan, 0.1)),
        ("INT8", [-128, 127], b"\x80\x7f"),
        ("UINT64", [2**64 - 1], b"\xff" * 8),
        ("INT64", [-(2**63)], b"\0" * 7 + b"\x80"),
        ("BOOL", [True], b"\x01"),
        ("BOOL", [[True], [False]], b"\x01\x00"),
        ("BYTES", ["é", "", None, "a\0b"], texts("é", "", "", "a\0b")),
    ],
)
def test_elements_become_raw_bytes(datatype: str, data: Any, raw: bytes) -> None:
    assert to_raw(datatype, data, "data") == raw


@pytest.mark.parametrize(
    ("datatype", "data", "message"),
    [
        ("FP64", ["1"], "a text is not a number"),
        ("FP64", [True], "elements of FP64 are numbers"),
        ("FP64", [2**53 + 1], "beyond 2^53"),
        ("FP64", [-(2**80)], "beyond 2^53"),
        ("FP32", [1e39], "out of the range of FP32"),
        ("FP32", [0.5, 2**24 + 1], "an integer is not one that FP32 holds"),
        ("FP32", ["inf"], "a text is not a number"),
        ("FP16", [1], "FP16 has no form in JSON"),
        ("INT8", [128], "out of the range of INT8"),
        ("UINT8", [-1], "out of the range of UINT8"),
        ("UINT64", [2**64], "out of the range of UINT64"),
        ("INT64", [1.0], "whole numbers"),
        ("INT64", [True], "whole numbers"),
        ("INT64", [None], "whole numbers"),
        ("BOOL", [1], "true and false"),
        ("BYTES", [1], "elements of BYTES are texts"),
        ("BYTES", ["\ud800"], "lone surrogates"),
        ("FP64", [[1], 2], "lists and elements side by side"),
        ("FP64", [{}], "not an object"),
        ("FP64", 1, "is a list"),
        ("FP64", json.loads("[" * 40 + "]" * 40), "deeper than 32"),
    ],
)
def test_elements_that_a_datatype_does_not_hold_are_refused(datatype: str, data: Any, message: str) -> None:
    assert message in told(with_data(datatype, data))
    assert told(with_data(datatype, data)).startswith("inputs[0].data: ")


def test_elements_come_back_as_json() -> None:
    assert from_raw("FP64", struct.pack("<4d", 1.5, math.nan, math.inf, -math.inf)) == [
        1.5,
        "NaN",
        "Infinity",
        "-Infinity",
    ]
    assert from_raw("UINT64", b"\xff" * 8) == [2**64 - 1]
    assert from_raw("BYTES", texts("é", "", "a\0b")) == ["é", "", "a\0b"]
    assert from_raw("FP16", b"\x00\x3c") == [1.0]
    assert from_raw("BOOL", b"\x01\x00") == [True, False]


def test_parameters_keep_their_types() -> None:
    parameters = {"a": True, "b": 7, "c": 2**63, "d": 0.5, "routing_key": "é"}
    message = read({"inputs": [X], "parameters": parameters}).message
    assert {name: value.WhichOneof("parameter_choice") for name, value in message.parameters.items()} == {
        "a": "bool_param",
        "b": "int64_param",
        "c": "uint64_param",
        "d": "double_param",
        "routing_key": "string_param",
    }
    assert message.parameters["routing_key"].string_param == "é"
    assert message.parameters["c"].uint64_param == 2**63


def test_json_and_binary_inputs_stand_side_by_side() -> None:
    first = {"name": "a", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}
    last = {"name": "c", "shape": [2], "datatype": "BOOL", "parameters": {"binary_data_size": 2}}
    header = json.dumps({"inputs": [first, X, last]}).encode()
    binary = struct.pack("<d", 7) + b"\x01\x00"
    message = read(header, binary, str(len(header))).message
    assert list(message.raw_input_contents) == [binary[:8], struct.pack("<2d", 1, 2.5), binary[8:]]
    assert not message.inputs[0].parameters


def test_outputs_are_binary_where_asked_for() -> None:
    outputs = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}]
    call = read({"inputs": [X], "parameters": {"binary_data_output": True}, "outputs": outputs})
    assert [call.wants_binary(name) for name in "abc"] == [True, False, True]
    assert not call.message.parameters
    assert not call.message.outputs[1].parameters
    call = read({"inputs": [X], "outputs": [{"name": "a", "parameters": {"binary_data": True}}]})
    assert [call.wants_binary(name) for name in "ab"] == [True, False]


BINARY = {"name": "x", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (b"", "the body is not JSON"),
        (b"\xff\xfe", "the body is not UTF-8"),
        (b"[" * 100_000, "too many arrays or objects"),
        (b'{"id": 1e999}', "1e999 is larger than a double can be"),
        (b'{"id": NaN}', 'NaN is written as the text "NaN"'),
        (b'{"id": "a", "id": "b"}', "id: comes twice in one object"),
        (b'{"id": 1' + b"0" * 5000 + b"}", "no datatype holds the integer 1000"),
        ([], "the request: is an object"),
        ({}, "inputs: is a list"),
        ({"inputs": [X], "input": 1}, "has no field 'input'; there are id, inputs, outputs, parameters"),
        ({"inputs": [X], "id": 7}, "id: is a text"),
        ({"inputs": [X], "id": "\ud800"}, "id: a text is not valid Unicode"),
        ({"inputs": [7]}, "inputs[0]: is an object"),
        ({"inputs": [{**X, "name": None}]}, "inputs[0].name: is a text"),
        ({"inputs": [{**X, "datatype": 7}]}, "inputs[0].datatype: is a text"),
        ({"inputs": [{**X, "shape": [2.0]}]}, "inputs[0].shape: is a list of whole numbers"),
        ({"inputs": [{**X, "shape": [True]}]}, "inputs[0].shape: is a list of whole numbers"),
        ({"inputs": [{**X, "shape": [2**63]}]}, "inputs[0].shape: is a list of whole numbers"),
        ({"inputs": [{"name": "x", "shape": [1], "datatype": "FP64"}]}, "has neither data nor"),
        ({"inputs": [BINARY]}, "where 0 are left; Inference-Header-Content-Length tells"),
        ({"inputs": [X], "parameters": {"a": []}}, "parameters.a: is a text, a number"),
        ({"inputs": [X], "parameters": {"a": 2**64}}, "parameters.a: is a text, a number"),
        ({"inputs": [X], "parameters": {"binary_data_output": 1}}, "is true or false"),
        ({"inputs": [X], "outputs": {}}, "outputs: is a list"),
        (
            {"inputs": [X], "outputs": [{"name": "a", "parameters": {"binary_data": "yes"}}]},
            "is true or false",
        ),
    ],
)
def test_what_is_no_request_is_refused(request_: Any, message: str) -> None:
    assert message in told(request_)


@pytest.mark.parametrize("length", ["", "-1", "1.0", "9" * 30, "0" * 5000, "１", "100000"])
def test_a_header_length_that_does_not_fit_is_refused(length: str) -> None:
    assert "is the length of the JSON, at most that of the body" in told({"inputs": [X]}, b"", length)


def test_binary_data_must_fit_their_sizes() -> None:
    header = json.dumps({"inputs": [BINARY]}).encode()
    assert "where 7 are left" in told(header, b"1234567", str(len(header)))
    assert "2 bytes of binary data belong to no input" in told(header, b"1234567890", str(len(header)))
    for size in (-1, 8.0, True, "8", 2**70):
        header = json.dumps({"inputs": [{**BINARY, "parameters": {"binary_data_size": size}}]}).encode()
        assert "is a number of bytes behind the JSON" in told(header, b"12345678", str(len(header)))
    header = json.dumps({"inputs": [{**BINARY, "data": [1]}]}).encode()
    assert "has both data and binary_data_size" in told(header, b"12345678", str(len(header)))


def test_bodies_are_decompressed_up_to_the_bound() -> None:
    body = b"x" * 1000
    assert decompress(gzip.compress(body), "gzip", 1000) == body
    assert decompress(zlib.compress(body), "deflate", 1000) == body
    assert decompress(body, "", 1000) == body
    for compressed, encoding, code in (
        (gzip.compress(b"x" * 1001), "gzip", 413),
        (gzip.compress(b"\0" * 50_000_000), "gzip", 413),
        (gzip.compress(body)[:-1], "gzip", 400),
        (gzip.compress(body) + b"1", "gzip", 400),
        (body, "gzip", 400),
        (body, "br", 415),
    ):
        with pytest.raises(RequestError) as caught:
            decompress(compressed, encoding, 1000)
        assert caught.value.http_code == code
