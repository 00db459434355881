"""JSON of requests and answers, strict in and exact out.

- A number that a double cannot hold is refused, never rounded: an integer beyond 2^53
  must be one that a double has, and 1e999 is no number.
- NaN and the infinities are the texts "NaN", "Infinity" and "-Infinity", in both
  directions, as in protobuf's JSON mapping. A text feature takes them as texts.
- A name that comes twice in one object is refused, and so is text that is not UTF-8.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping
from typing import Any

from scorewire_gateway.errors import RequestError, invalid_field

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# An integer of as many digits may be beyond 2^53.
_SAFE_DIGITS = 15
# The largest double has 309 digits.
_MAX_DIGITS = 310
_SHOWN = 40


class SpecialNumber(str):
    """A text in `_SPECIAL`, which a number feature takes as a number, and a text feature as it is."""

    __slots__ = ()

    def __float__(self) -> float:
        return _SPECIAL[str(self)]

    def __abs__(self) -> float:
        return abs(_SPECIAL[str(self)])


# The SDK takes any real number for a number feature, and any str for a text feature.
numbers.Real.register(SpecialNumber)


def read_json(body: bytes) -> Any:
    """Parse the JSON of a request's body.

    Raises:
        RequestError: the body is not JSON, or has a number or an object that this gateway refuses.
    """
    return _read(_DECODER, body)


def read_tensor_json(body: bytes) -> Any:
    """Parse as `read_json` does, but leave integers as they are: the datatype of a tensor tells its range.

    Raises:
        RequestError: as in `read_json`.
    """
    return _read(_TENSOR_DECODER, body)


def _read(decoder: json.JSONDecoder, body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(f"the body is not UTF-8 at byte {error.start}") from None
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        raise _invalid(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise _invalid("the body has too many arrays or objects within each other") from None


def to_text(value: Any) -> bytes:
    """The JSON of an answer, with its NaN and infinities as texts."""
    try:
        return _ENCODER.encode(value).encode()
    except ValueError:
        return _ENCODER.encode(_with_texts(value)).encode()


def _with_texts(value: Any) -> Any:
    """The value with its NaN and infinities as texts."""
    if isinstance(value, float):
        return value if math.isfinite(value) else special_text(value)
    if isinstance(value, Mapping):
        return {name: _with_texts(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_with_texts(each) for each in value]
    return value


def special_text(value: float) -> str:
    """The text of NaN or an infinity."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = _unique(pairs)
    for name, value in pairs:
        if type(value) is str and value in _SPECIAL:
            found[name] = SpecialNumber(value)
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise invalid_field(name[:_SHOWN], "comes twice in one object")
            seen.add(name)
    return found


def _integer(digits: str) -> int | float:
    if len(digits) <= _SAFE_DIGITS:
        return -0.0 if digits == "-0" else int(digits)
    if len(digits) <= _MAX_DIGITS:
        exact = int(digits)
        # Beyond 1.8e308 there is no double.
        found = float(exact) if abs(exact) < _BEYOND else math.inf
        if found == exact:
            return found
    raise _invalid(f"no double holds the integer {_short(digits)} exactly; round it yourself, or send a text")


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise _invalid(f"no datatype holds the integer {_short(digits)}")
    return int(digits)


def _fraction(digits: str) -> float:
    found = float(digits)
    if math.isinf(found):
        raise _invalid(f'{_short(digits)} is larger than a double can be; infinity is the text "Infinity"')
    return found


def _constant(name: str) -> float:
    raise _invalid(f'the body is not JSON: {name} is written as the text "{name}"')


def _short(digits: str) -> str:
    return digits if len(digits) <= _SHOWN else f"{digits[:_SHOWN]}... ({len(digits):,} characters)"


def _invalid(message: str) -> RequestError:
    return RequestError(message, reason="INVALID_JSON")


_BEYOND = 1 << 1024
_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)
_TENSOR_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_whole, parse_float=_fraction, parse_constant=_constant
)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
