"""Messages and metadata that no generated client sends, each with a name that tells what is odd."""

from __future__ import annotations

from collections.abc import Iterator

from tests.property.encoding import (
    BYTES,
    FIXED32,
    FIXED64,
    GROUP_END,
    GROUP_START,
    bytes_field,
    group,
    tag,
    varint,
)

_DEEP = 10_000
_NAME = 1
# Not UTF-8: a truncated character, an overlong one, a surrogate, one above U+10FFFF, a lone byte.
_NO_TEXTS = {
    "a cut character": b"\xe2\x82",
    "an overlong slash": b"\xc0\xaf",
    "a high surrogate": b"\xed\xa0\x80",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "a character beyond the last": b"\xf4\x90\x80\x80",
    "a lone continuation": b"\x80",
}
_TEXTS = {
    "a NUL": b"\x00",
    "a NUL within": b"su\x00m",
    "the last character": b"\xf4\x8f\xbf\xbf",
    "a character that is none": b"\xef\xbf\xbf",
    "a right-to-left mark": "\u202emus".encode(),
    "a byte order mark": b"\xef\xbb\xbfsum",
    "a line break": b"sum\r\ngrpc-status: 0",
    "percent signs": b"%00%zz%",
    "many characters": "é".encode() * 50_000,
    "a megabyte": b"x" * (1 << 20),
}


def messages() -> Iterator[tuple[str, bytes]]:
    """Bytes for a message whose first field is a text."""
    yield "nothing", b""
    for name, content in (_NO_TEXTS | _TEXTS).items():
        yield f"{name} in a name", bytes_field(_NAME, content)
        yield f"{name} in an unknown field", bytes_field(1000, content)
    good = bytes_field(_NAME, b"sum")
    for number in (_NAME, 1000):
        where = "a known" if number == _NAME else "an unknown"
        for wire_type in (6, 7):
            yield f"wire type {wire_type} of {where} field", good + tag(number, wire_type) + b"\x00"
        yield f"a number for {where} field", good + tag(number, 0) + varint(5)
        yield f"eight bytes for {where} field", good + tag(number, FIXED64) + b"12345678"
        yield f"four bytes for {where} field", good + tag(number, FIXED32) + b"1234"
        yield f"a group for {where} field", good + group(number, b"")
        yield f"a group within its like for {where} field", good + group(number, group(number, b""))
        yield f"a group without an end for {where} field", good + tag(number, GROUP_START)
        yield f"the end of a group that never began for {where} field", good + tag(number, GROUP_END)
        yield (
            f"a group with another's end for {where} field",
            (good + tag(number, GROUP_START) + tag(number + 1, GROUP_END)),
        )
        yield f"a length beyond the end of {where} field", good + tag(number, BYTES) + varint(1 << 20)
        yield f"a length of ten bytes for {where} field", good + tag(number, BYTES) + varint(2**64 - 1)
        yield f"a negative length of {where} field", good + tag(number, BYTES) + varint(2**32 - 1)
    yield "a field 0", good + tag(0, 0) + b"\x00"
    yield "a field beyond the last", good + varint((2**29) << 3) + b"\x00"
    yield "the last field", good + varint((2**29 - 1) << 3) + b"\x00"
    yield "a tag of ten bytes", good + varint(99 << 3, padding=8) + b"\x00"
    yield "a tag of eleven bytes", good + b"\x80" * 10 + b"\x00"
    yield "a number of eleven bytes", good + tag(1000, 0) + b"\x80" * 10 + b"\x00"
    yield "a number beyond 64 bits", good + tag(1000, 0) + b"\xff" * 9 + b"\x7f"
    yield "a tag and no value", good + tag(1000, 0)
    yield "a length of a padded number", good + tag(1000, BYTES) + varint(1, padding=3) + b"x"
    for depth in (99, 100, 101, _DEEP):
        yield (
            f"{depth} groups in each other",
            good + tag(1000, GROUP_START) * depth + tag(1000, GROUP_END) * depth,
        )
    nested = b""
    for _ in range(200):
        nested = bytes_field(5, nested)
    yield "messages within messages", good + nested
    yield "a field ten thousand times", bytes_field(_NAME, b"sum") * 10_000
    yield "an unknown field ten thousand times", good + (tag(1000, 0) + b"\x01") * 10_000


def metadata() -> Iterator[tuple[str, tuple[tuple[str, str | bytes], ...]]]:
    """Metadata for a good call."""
    yield "an empty value", (("x-empty", ""),)
    yield "a key that comes often", tuple(("x-many", str(number)) for number in range(50))
    yield "bytes", (("x-some-bin", bytes(range(256))),)
    yield "no bytes", (("x-none-bin", b""),)
    yield "a long value", (("x-long", "v" * 4000),)
    yield "every printable character", (("x-all", "".join(map(chr, range(33, 127)))),)
    yield "spaces around", (("x-spaces", "  a  "),)
    yield "an odd key", (("x-._-0", "v"),)
    for name, value in (("empty", ""), ("unknown", "9.9.9"), ("odd", "!\"#$%&'()"), ("long", "1" * 4000)):
        yield f"a version that is {name}", (("scorewire-version", value),)
        yield f"a routing key that is {name}", (("scorewire-routing-key", value),)
    yield "a version twice", (("scorewire-version", "1.0.0"), ("scorewire-version", "1.1.0"))
