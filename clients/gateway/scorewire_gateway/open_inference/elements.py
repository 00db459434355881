"""The elements of tensors: from JSON to the raw bytes of the protocol, and back.

Raw bytes are row-major and little-endian. A BOOL is one byte; an element of BYTES has
its length before it, in four bytes. In JSON, NaN and the infinities are the texts
"NaN", "Infinity" and "-Infinity"; null is a missing value, which is NaN or the empty
text. Integers that the datatype does not hold, and numbers beyond its range, are refused. Other
numbers are rounded to the nearest one of the datatype.
"""

from __future__ import annotations

import math
import struct
from itertools import chain
from typing import Any

import numpy as np

from scorewire_gateway.errors import invalid_field
from scorewire_gateway.json_values import special_text

BYTES, BOOL = "BYTES", "BOOL"
_FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
_INTEGERS = {
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
}
_DTYPES = {BOOL: "?", **_FLOATS, **_INTEGERS}
_LENGTH = struct.Struct("<I")
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf, None: math.nan}
# Up to here a double holds every integer.
_MAX_EXACT = 2**53
_MAX_DEPTH = 32


def to_raw(datatype: str, data: Any, path: str) -> bytes:
    """The raw bytes of a tensor.

    Args:
        datatype: its datatype; the server refuses one that the protocol does not have.
        data: its elements as JSON has them: a list, flat or nested.
        path: the path of the elements in the request, for errors.

    Raises:
        RequestError: an element is not one of the datatype.
    """
    elements = _flatten(data, path)
    if datatype == BYTES:
        return b"".join(_text_to_raw(each, path) for each in elements)
    if datatype == BOOL:
        if not set(map(type, elements)) <= {bool}:
            raise invalid_field(path, "elements of BOOL are true and false")
        return bytes(elements)
    if datatype in _INTEGERS:
        return _integers_to_raw(datatype, elements, path)
    if datatype == "FP16":
        raise invalid_field(path, "FP16 has no form in JSON: send FP32, or binary data")
    if datatype in _FLOATS:
        return _floats_to_raw(datatype, elements, path)
    return b""


def from_raw(datatype: str, raw: bytes) -> list[Any]:
    """The elements of a tensor of the server, as JSON has them, flat."""
    if datatype == BYTES:
        return _texts_from_raw(raw)
    values = np.frombuffer(raw, dtype=_DTYPES[datatype])
    elements: list[Any] = values.tolist()
    if datatype in _FLOATS and not np.isfinite(values).all():
        return [each if math.isfinite(each) else special_text(each) for each in elements]
    return elements


def _flatten(data: Any, path: str) -> list[Any]:
    if not isinstance(data, list):
        raise invalid_field(path, "is a list of elements")
    elements: list[Any] = data
    for _ in range(_MAX_DEPTH):
        kinds = set(map(type, elements))
        if list not in kinds:
            if dict in kinds:
                raise invalid_field(path, "an element is a number, a text, a boolean or null, not an object")
            return elements
        if len(kinds) > 1:
            raise invalid_field(path, "has lists and elements side by side")
        elements = list(chain.from_iterable(elements))
    raise invalid_field(path, f"has lists within lists deeper than {_MAX_DEPTH}")


def _text_to_raw(element: Any, path: str) -> bytes:
    if element is None:
        return _LENGTH.pack(0)
    if not isinstance(element, str):
        raise invalid_field(path, "elements of BYTES are texts")
    content = encoded(element, path)
    return _LENGTH.pack(len(content)) + content


def encoded(text: str, path: str) -> bytes:
    """A text as UTF-8.

    Raises:
        RequestError: the text has lone surrogates.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise invalid_field(path, "a text is not valid Unicode: it has lone surrogates") from None


def _integers_to_raw(datatype: str, elements: list[Any], path: str) -> bytes:
    if not set(map(type, elements)) <= {int}:
        raise invalid_field(path, f"elements of {datatype} are whole numbers, without a decimal point")
    dtype = np.dtype(_INTEGERS[datatype])
    limits = np.iinfo(dtype)
    for extreme in (min(elements, default=0), max(elements, default=0)):
        if not limits.min <= extreme <= limits.max:
            raise invalid_field(path, f"a number is out of the range of {datatype}")
    return np.array(elements, dtype=dtype).tobytes()


def _floats_to_raw(datatype: str, elements: list[Any], path: str) -> bytes:
    kinds = set(map(type, elements))
    if not kinds <= {float, int}:
        if not kinds <= {float, int, str, type(None)}:
            raise invalid_field(path, f"elements of {datatype} are numbers")
        elements = [_special(each, path) if isinstance(each, str | None) else each for each in elements]
    if int in kinds and any(type(each) is int and abs(each) > _MAX_EXACT for each in elements):
        raise invalid_field(path, "an integer is beyond 2^53, where a double does not hold every integer")
    doubles = np.array(elements, dtype="<f8")
    if datatype == "FP64":
        return doubles.tobytes()
    with np.errstate(over="ignore"):
        values = doubles.astype(_FLOATS[datatype])
    if (np.isinf(values) & ~np.isinf(doubles)).any():
        raise invalid_field(path, f"a number is out of the range of {datatype}")
    if int in kinds:
        is_whole = np.array([type(each) is int for each in elements])
        if (values[is_whole] != doubles[is_whole]).any():
            raise invalid_field(path, f"an integer is not one that {datatype} holds: send FP64")
    return values.tobytes()


def _special(element: str | None, path: str) -> float:
    try:
        return _SPECIAL[element]
    except KeyError:
        raise invalid_field(
            path, 'a text is not a number; NaN and infinities are "NaN", "Infinity" and "-Infinity"'
        ) from None


def _texts_from_raw(raw: bytes) -> list[str]:
    elements, position = [], 0
    while position < len(raw):
        begin = position + _LENGTH.size
        position = begin + _LENGTH.unpack_from(raw, position)[0]
        # As the server writes them: a text of a model may have lone surrogates.
        elements.append(raw[begin:position].decode("utf-8", "surrogatepass"))
    return elements
