"""Draws rows of notable values, and writes them as JSON in the many ways that JSON allows."""

from __future__ import annotations

import json
import math
import random
import struct
from dataclasses import dataclass
from typing import Any

_NUMBERS = [
    0.0, -0.0, 1.0, -1.5, 0.1, 1e-45, 5e-324, -5e-324, 2.2250738585072014e-308, 1e30, -1e30, 1.0000001e30,
    1e31, 3.4028236e38, 1e39, 1.7976931348623157e308, 2.0**53 - 1, 2.0**53, 2.0**53 + 2, -(2.0**53), 1e16,
    1e21, 1e22, 16777217.0, math.nan, math.inf, -math.inf,
]  # fmt: skip
_TEXTS = [
    "", "de", "DE", " de ", "pe", "hello", "bye", "Hello", "NaN", "Infinity", "-Infinity", "null", "\u00a0de",
    "日本", "a\x00b", "\x00", "x" * 300, "y" * 5000, '"\\/\b\f\n\r\t', "\u2028\u2029", "\ufeff",
    "\ufffe\uffff", "\U0001f600", "\U0010ffff", "\u0301e", "🏳️‍🌈",
]  # fmt: skip
# A character of each plane of Unicode, without the surrogates.
_PLANES = [
    (0x0000, 0xD7FF),
    (0xE000, 0xFFFF),
    *((plane << 16, plane << 16 | 0xFFFF) for plane in range(1, 17)),
]


@dataclass(frozen=True, slots=True)
class Shape:
    """The features of a model: its numbers and texts in schema order, and those that may be left out."""

    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    optional: frozenset[str]


SHAPES = {
    "echo": Shape(("x", "y"), ("text",), frozenset({"x", "y", "text"})),
    "sum": Shape(("x0", "x1"), ("country",), frozenset({"x1", "country"})),
    "classes": Shape(("x",), (), frozenset()),
    "greeting": Shape((), ("word",), frozenset()),
    "tensors": Shape(("pair[0]", "pair[1]"), ("word",), frozenset({"word"})),
}


class Draw:
    """Draws rows and their JSON; the same seed draws the same."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def model(self) -> str:
        """A model's name; every second one is the echo."""
        return self._chance.choice(["echo", *SHAPES]) if self._chance.random() < 0.7 else "echo"

    def count(self) -> int:
        """A number of rows."""
        return self._chance.choice((1, 1, 1, 2, 3, 8))

    def number(self) -> float:
        """A double: a notable one, any bits at all, or a plain one."""
        chance = self._chance
        kind = chance.random()
        if kind < 0.4:
            return chance.choice(_NUMBERS)
        if kind < 0.6:
            return float(struct.unpack("<d", chance.randbytes(8))[0])
        return float(
            chance.choice((chance.randrange(-20, 20), round(chance.gauss(0, 5), 3), chance.random()))
        )

    def text(self) -> str:
        """A text: a notable one, or characters of any plane."""
        chance = self._chance
        if chance.random() < 0.6:
            return chance.choice(_TEXTS)
        return "".join(chr(chance.randint(*chance.choice(_PLANES))) for _ in range(chance.randrange(12)))

    def json_row(self, shape: Shape, numbers: list[float], texts: list[str], *, alone: bool) -> str:
        """A row as a JSON object, with its members in any order."""
        chance = self._chance
        members = [
            (name, self._json_number(value)) for name, value in zip(shape.numbers, numbers, strict=True)
        ]
        members += [(name, self._json_text(value)) for name, value in zip(shape.texts, texts, strict=True)]
        chance.shuffle(members)
        written = [
            f"{json.dumps(name)}{self._space()}:{self._space()}{value}"
            for name, value in members
            # A row that stands alone may leave a missing value out.
            if not (alone and name in shape.optional and value == "null" and chance.random() < 0.5)
        ]
        return "{" + f",{self._space()}".join(written) + "}"

    def _space(self) -> str:
        return self._chance.choice(("", "", " ", "\n\t"))

    def _json_number(self, value: float) -> str:
        chance = self._chance
        if math.isnan(value):
            return chance.choice(('"NaN"', "null"))
        if math.isinf(value):
            return '"Infinity"' if value > 0 else '"-Infinity"'
        forms = [repr(value), f"{value:.17g}", f"{value:.16e}", f"{value:.20E}"]
        if value == int(value):
            forms.append("-0" if value == 0 and math.copysign(1, value) < 0 else str(int(value)))
        return chance.choice(forms)

    def _json_text(self, value: str) -> str:
        if not value and self._chance.random() < 0.5:
            return "null"
        return json.dumps(value, ensure_ascii=self._chance.random() < 0.5)


def bits(value: Any) -> Any:
    """A value in which two doubles are equal only if their bits are; all NaN are equal."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else struct.pack("<d", value)
    return value
