"""Generates requests of every kind, good and bad, in every legal encoding and in some illegal ones."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

MODEL, VERSION, FINGERPRINT, ROUTING_KEY, ROWS, EXPLAIN = range(1, 7)
TOP_K, OUTPUT = range(1, 3)
ROW_COUNT, NUMBERS, TEXTS = range(1, 4)
CORRELATION_ID, REQUEST = 1, 2
# Numbers and texts per row of the bundles of tests.conformance.engines.write_models and tests.tree_bundles.
SHAPES = {
    "sum": (2, 1),
    "classes": (1, 0),
    "greeting": (0, 1),
    "tensors": (2, 1),
    "trees": (3, 0),
    "broken": (2, 1),
    "nobody": (1, 1),
}
NUMBERS_OF_NOTE = [
    0.0, -0.0, 1.0, -1.5, 0.1, 1e-45, 5e-324, 1e30, -1e30, 1.0000001e30, 1e31, 3.4028236e38, 1e39, 1e308,
    2.0**53, 16777217.0, float("nan"), float("inf"), float("-inf"),
]  # fmt: skip
TEXTS_OF_NOTE = [
    "", "de", "DE", " de ", "\tPe\n", "pe", "hello", "bye", "Hello", "hello ", "\x0b\x0cde\r", "\u00a0de",
    "d\u0130", "日本", "a\x00b", "hello\x00", "\x00", "x" * 300, "?",
]  # fmt: skip
VERSIONS = ["", "", "", "1.0.0", "1.1.0", "2.0.0-rc.1", "3.0.0", "9.9.9", "champion", "é" * 300, "a\nb'\"%"]


def varint(value: int, padding: int = 0) -> bytes:
    """Encode a varint; padding makes it longer than necessary."""
    out = b""
    while value > 0x7F or padding > 0:
        if value <= 0x7F:
            padding -= 1
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def varint_field(number: int, value: int, padding: int = 0) -> bytes:
    """A varint field."""
    return varint(number << 3) + varint(value, padding)


def bytes_field(number: int, content: bytes) -> bytes:
    """A field of bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def group(number: int, content: bytes) -> bytes:
    """A group."""
    return varint(number << 3 | 3) + content + varint(number << 3 | 4)


class Requests:
    """Draws requests; the same seed draws the same requests. If `keyed`, each has a routing key."""

    def __init__(self, seed: int, *, keyed: bool = False) -> None:
        self._chance = random.Random(seed)
        self._keyed = keyed
        self._kinds: list[Callable[[], bytes]] = [
            *[self._good] * 6,
            *[self._shaped_wrong] * 2,
            *[self._mutated] * 3,
            self._truncated,
            self._deep,
        ]

    def unary(self) -> bytes:
        """Draw a PredictRequest, or bytes that are not one."""
        data = self._chance.choice(self._kinds)()
        return bytes_field(ROUTING_KEY, self._key()) + data if self._keyed else data

    def _key(self) -> bytes:
        chance = self._chance
        return chance.choice((b"user-%d" % chance.randrange(10_000), "ключ".encode(), b"x" * 200))

    def streamed(self) -> bytes:
        """Draw a PredictStreamRequest, or bytes that are not one."""
        chance, data = self._chance, self.unary()
        parts = [bytes_field(REQUEST, data)]
        if chance.random() < 0.9:
            correlation_id = chance.choice((0, 1, 127, 128, chance.getrandbits(64)))
            parts.append(varint_field(CORRELATION_ID, correlation_id))
        if chance.random() < 0.2:
            parts.append(self._unknown())
        if chance.random() < 0.05:
            parts.append(bytes_field(REQUEST, self.unary()))
        chance.shuffle(parts)
        return b"".join(parts)

    def _good(self) -> bytes:
        chance = self._chance
        model = chance.choice(list(SHAPES))
        number_count, text_count = SHAPES[model]
        rows = chance.choice((1, 1, 1, 2, 3, 17, 200))
        return self._write(model, rows, self._numbers(rows * number_count), self._texts(rows * text_count))

    def _shaped_wrong(self) -> bytes:
        chance = self._chance
        model = chance.choice(["", "sum", "classes", "greeting", "日本" * 200, "x" * 5000])
        rows = chance.choice((0, 1, 2, 1000, 1001, 2**31, 2**32 - 1, 2**32 + 1))
        return self._write(model, rows, self._numbers(chance.randrange(5)), self._texts(chance.randrange(4)))

    def _mutated(self) -> bytes:
        chance, data = self._chance, bytearray(self._good())
        for _ in range(chance.choice((1, 1, 2, 8))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        return bytes(data)

    def _truncated(self) -> bytes:
        data = self._good()
        return data[: self._chance.randrange(len(data))]

    def _deep(self) -> bytes:
        """Draw nested groups, about as deep as protobuf allows."""
        chance, content = self._chance, b""
        for _ in range(chance.choice((3, 50, 96, 97, 98, 99, 100, 101, 102, 300))):
            content = group(chance.choice((7, 100)), content)
        data = self._write("sum", 1, [1.0, 2.0], ["de"])
        return data + content if chance.random() < 0.5 else data + bytes_field(ROWS, content)

    def _numbers(self, count: int) -> list[float]:
        chance = self._chance
        odd = chance.random() < 0.5
        return [
            chance.choice(NUMBERS_OF_NOTE) if odd and chance.random() < 0.3 else chance.gauss(0, 100)
            for _ in range(count)
        ]

    def _texts(self, count: int) -> list[str]:
        return [self._chance.choice(TEXTS_OF_NOTE) for _ in range(count)]

    def _write(self, model: str, rows: int, numbers: list[float], texts: list[str]) -> bytes:
        """Encode the fields in one of many ways."""
        chance = self._chance
        inner = [varint_field(ROW_COUNT, rows, chance.choice((0, 0, 0, 1)))] if rows else []
        inner += self._runs(numbers)
        inner += [bytes_field(TEXTS, text.encode()) for text in texts]
        if chance.random() < 0.1:
            inner.insert(chance.randrange(len(inner) + 1), self._unknown())
        cut = chance.randrange(len(inner) + 1) if chance.random() < 0.2 else len(inner)
        parts = [bytes_field(MODEL, model.encode())]
        if chance.random() < 0.1:
            parts.insert(0, bytes_field(MODEL, b"other"))
        if chance.random() < 0.3:
            parts.append(bytes_field(VERSION, chance.choice(VERSIONS).encode()))
        if chance.random() < 0.1:
            parts.append(bytes_field(FINGERPRINT, chance.choice((b"", b"0" * 16, "é'\n".encode() * 99))))
        if chance.random() < 0.1:
            parts.append(bytes_field(ROUTING_KEY, b"customer-7"))
        if chance.random() < 0.2:
            parts.append(self._unknown())
        if chance.random() < 0.25:
            parts += [bytes_field(EXPLAIN, self._explain()) for _ in range(chance.choice((1, 1, 1, 2)))]
        parts.append(bytes_field(ROWS, b"".join(inner[:cut])))
        if cut < len(inner):
            parts.append(bytes_field(ROWS, b"".join(inner[cut:])))
        return b"".join(parts)

    def _explain(self) -> bytes:
        chance = self._chance
        top_k = chance.choice((None, 0, 1, 2, 3, 5, 2**32 - 1, 2**32 + 2))
        output = chance.choice((None, b"", b"value", b"label", b"nothing", b"\xff"))
        parts = [] if top_k is None else [varint_field(TOP_K, top_k)]
        parts += [] if output is None else [bytes_field(OUTPUT, output)]
        parts += [self._unknown()] if chance.random() < 0.1 else []
        chance.shuffle(parts)
        return b"".join(parts)

    def _runs(self, numbers: list[float]) -> list[bytes]:
        """Encode numbers as one packed run, as several runs, one by one, or mixed."""
        chance = self._chance
        if chance.random() < 0.6:
            return [_packed(numbers)] if numbers else []
        runs: list[bytes] = []
        while numbers:
            size = chance.randrange(len(numbers) + 1)
            packed = chance.random() < 0.5
            runs.append(_packed(numbers[:size]) if packed else _single(numbers[:size]))
            numbers = numbers[size:]
        return runs

    def _unknown(self) -> bytes:
        chance = self._chance
        number = chance.choice((6, 15, 16, 2047, 2048, 2**29 - 1))
        return chance.choice(
            (
                varint_field(number, chance.getrandbits(64)),
                bytes_field(number, b"\xff\x00"),
                varint(number << 3 | 1) + b"12345678",
                varint(number << 3 | 5) + b"1234",
                group(number, varint_field(3, 1) + group(9, b"")),
                # A known field with the wrong wire type.
                varint(ROWS << 3 | 1) + b"12345678",
                varint_field(MODEL, 5),
                varint_field(TEXTS, 5),
            )
        )


def _packed(numbers: list[float]) -> bytes:
    return bytes_field(NUMBERS, struct.pack(f"<{len(numbers)}d", *numbers))


def _single(numbers: list[float]) -> bytes:
    return b"".join(varint(NUMBERS << 3 | 1) + struct.pack("<d", number) for number in numbers)
