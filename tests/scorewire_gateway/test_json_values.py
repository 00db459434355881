"""JSON is read strictly, and written so that every double comes back as it was."""

from __future__ import annotations

import json
import math
import random
import struct

import pytest
from scorewire_gateway.errors import RequestError
from scorewire_gateway.json_values import SpecialNumber, read_json, to_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", -0.0),
        ("-0.0", -0.0),
        ("5e-324", 5e-324),
        ("1.7976931348623157e308", 1.7976931348623157e308),
        ("9007199254740991", 2.0**53 - 1),
        ("9007199254740992", 2.0**53),
        ("-9007199254740992", -(2.0**53)),
        ("9007199254740994", 2.0**53 + 2),
        ("100000000000000000000", 1e20),
        ("1" + "0" * 22, 1e22),
        ("1" + "0" * 400 + "e-400", 1.0),
    ],
)
def test_a_number_is_read_exactly(text: str, value: float) -> None:
    found = read_json(f'{{"x": {text}}}'.encode())["x"]
    assert struct.pack("<d", found) == struct.pack("<d", value)


@pytest.mark.parametrize(
    "text", ["9007199254740993", "-9007199254740993", "1" + "0" * 308 + "1", "9" * 309, "9" * 310, "9" * 5000]
)
def test_an_integer_that_no_double_holds_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="no double holds the integer") as caught:
        read_json(f'{{"x": {text}}}'.encode())
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["1e999", "-1e309", "1" * 400 + ".0", "1e99999999999999999999"])
def test_a_number_beyond_the_doubles_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="larger than a double can be"):
        read_json(f"[{text}]".encode())


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_a_special_number_is_a_text_and_never_a_bare_word(text: str) -> None:
    found = read_json(f'{{"x": "{text}"}}'.encode())["x"]
    assert isinstance(found, SpecialNumber)
    assert str(found) == text
    assert repr(float(found)) == repr(float(text))
    assert repr(abs(found)) == repr(abs(float(text)))
    with pytest.raises(RequestError, match=f'written as the text "{text}"'):
        read_json(f'{{"x": {text}}}'.encode())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"x": 1,}', "not JSON"),
        (b"{'x': 1}", "not JSON"),
        (b'{"x": 01}', "not JSON"),
        (b'{"x": +1}', "not JSON"),
        (b'{"x": .5}', "not JSON"),
        (b'{"x": 0x10}', "not JSON"),
        (b'{"x": "a\nb"}', "not JSON"),
        (b'{"x": 1} {"x": 1}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"x": "\xff"}', "not UTF-8 at byte 7"),
        ('{"x": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"x": 1, "x": 1}', "x: comes twice"),
        (b'{"row": {"a": {"b": 1, "b": 2}}}', "b: comes twice"),
        (b"[" * 100_000, "within each other"),
        (b'{"a":' * 100_000, "within each other"),
    ],
)
def test_what_is_not_strict_json_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        read_json(body)


def test_every_double_is_written_so_that_it_is_read_back() -> None:
    chance = random.Random(7)
    doubles = [struct.unpack("<d", chance.randbytes(8))[0] for _ in range(5000)]
    doubles += [math.nan, math.inf, -math.inf, -0.0, 5e-324, 2.0**53, 2.0**53 + 2, 0.1, 1e22, 1e-7]
    told = json.loads(to_text({"values": doubles, "nested": [{"x": math.nan}]}), parse_constant=pytest.fail)
    for value, text in zip(doubles, told["values"], strict=True):
        assert repr(float(text)) == repr(value)
        assert isinstance(text, str) == (not math.isfinite(value))
    assert told["nested"] == [{"x": "NaN"}]
