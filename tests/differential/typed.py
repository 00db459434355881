"""Makes typed calls to both engines, and compares the responses byte for byte."""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Callable

import grpc

from tests.conformance.wire import Wire
from tests.differential.comparison import DisagreementError, outcome_of
from tests.differential.requests import (
    NUMBERS_OF_NOTE,
    TEXTS_OF_NOTE,
    bytes_field,
    group,
    varint,
    varint_field,
)

# The service, and each feature's field number and whether it is a text.
SERVICES = {
    "sum.v1.Sum": ((1, False), (2, False), (3, True)),
    "sum.v2.Sum": ((1, False), (2, False), (3, True)),
    "classes.v1.Classes": ((1, False),),
    "greeting.v1.Greeting": ((1, True),),
    "tensors.v1.Tensors": ((1, False), (2, False), (3, True)),
    "trees.v1.Trees": ((1, False), (2, False), (3, False)),
}
VERSIONS = ["", "", "", "1.0.0", "1.1.0", "2.0.0-rc.1", "9.9.9"]
EXPLAINS = ["", "0", "1", "2", "7", "all", "-1", "1.5", "4294967296", "9" * 18, "9" * 19, "9" * 5000]
EXPLAINED = [(), (), ("value",), ("",), ("label",), ("nothing",), ("nothing", "value"), ("x" * 3000,)]
_TIMEOUT_SECONDS = 60


class TypedRequests:
    """Draws typed messages, good and bad; the same seed draws the same messages."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def draw(self) -> tuple[str, bytes, list[tuple[str, str]]]:
        """Draw the path, the message and the metadata of a unary call."""
        chance = self._chance
        service, fields = chance.choice(list(SERVICES.items()))
        batch = chance.random() < 0.5
        kind: Callable[[bytes], bytes] = chance.choice((bytes, bytes, bytes, self._mutated, self._cut))
        data = kind(self._rows(fields) if batch else self._row(fields))
        metadata = [("scorewire-routing-key", f"user-{chance.randrange(1000)}")]
        if version := chance.choice(VERSIONS):
            metadata.append(("scorewire-version", version))
        if chance.random() < 0.3:
            metadata.append(("scorewire-explain", chance.choice(EXPLAINS)))
            metadata += [("scorewire-explain-output", each) for each in chance.choice(EXPLAINED)]
        return f"/scorewire.models.{service}Service/{'PredictBatch' if batch else 'Predict'}", data, metadata

    def stream(self, count: int) -> tuple[str, list[bytes]]:
        """Draw the path and the messages of a stream; the last message may end it."""
        service, fields = self._chance.choice(list(SERVICES.items()))
        rows = [self._row(fields) for _ in range(count)]
        if self._chance.random() < 0.5:
            rows.append(self._cut(self._row(fields)))
        return f"/scorewire.models.{service}Service/PredictStream", rows

    def _rows(self, fields: tuple[tuple[int, bool], ...]) -> bytes:
        count = self._chance.choice((0, 1, 2, 3, 17, 1001))
        parts = [bytes_field(1, self._row(fields)) for _ in range(count)]
        if self._chance.random() < 0.1:
            parts.append(self._unknown())
        return b"".join(parts)

    def _row(self, fields: tuple[tuple[int, bool], ...]) -> bytes:
        chance, parts = self._chance, []
        for number, is_text in fields:
            for _ in range(chance.choice((0, 1, 1, 1, 1, 1, 2))):
                # Sometimes a field has the other wire type, and so counts as unknown.
                if is_text != (chance.random() < 0.02):
                    parts.append(bytes_field(number, chance.choice(TEXTS_OF_NOTE).encode()))
                else:
                    value = chance.choice((chance.gauss(0, 100), chance.choice(NUMBERS_OF_NOTE)))
                    parts.append(varint(number << 3 | 1) + struct.pack("<d", value))
        if chance.random() < 0.2:
            parts.append(self._unknown())
        if chance.random() < 0.3:
            chance.shuffle(parts)
        return b"".join(parts)

    def _mutated(self, data: bytes) -> bytes:
        changed = bytearray(data or b"\0")
        changed[self._chance.randrange(len(changed))] = self._chance.randrange(256)
        return bytes(changed)

    def _cut(self, data: bytes) -> bytes:
        return data[: self._chance.randrange(len(data) or 1)]

    def _unknown(self) -> bytes:
        return self._chance.choice((varint_field(900, 7), bytes_field(901, b"\xff"), group(902, b"")))


def compare_typed(reference: Wire, native: Wire, *, count: int, seed: int) -> Counter[str]:
    """Make generated calls to both engines, some of them streams; returns counts of the outcomes.

    Raises:
        DisagreementError: two responses differ.
    """
    requests, outcomes = TypedRequests(seed), Counter[str]()
    for number in range(count):
        if number % 10 == 0:
            path, messages = requests.stream(8)
            wanted, found = (_stream(wire, path, messages) for wire in (reference, native))
        else:
            path, data, metadata = requests.draw()
            wanted, found = (_unary(wire, path, data, metadata) for wire in (reference, native))
            messages = [data]
        if wanted != found:
            raise DisagreementError(f"{path} {messages[-1][:2000]!r}\nreference: {wanted}\nnative: {found}")
        outcomes[wanted[0]] += 1
    return outcomes


def _unary(wire: Wire, path: str, data: bytes, metadata: list[tuple[str, str]]) -> tuple[str, object]:
    try:
        return "OK", wire.unary(path)(data, timeout=_TIMEOUT_SECONDS, metadata=metadata)
    except grpc.RpcError as error:
        return outcome_of(error)


def _stream(wire: Wire, path: str, messages: list[bytes]) -> tuple[str, object]:
    answers: list[bytes] = []
    metadata = [("scorewire-routing-key", "user-7")]
    call = wire.channel.stream_stream(path)(iter(messages), timeout=_TIMEOUT_SECONDS, metadata=metadata)
    try:
        answers.extend(call)
    except grpc.RpcError as error:
        reason, told = outcome_of(error)
        return reason, (answers, told)
    return "OK", answers
