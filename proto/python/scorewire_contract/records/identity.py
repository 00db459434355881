"""The ids of starts, writers and predictions.

A start of a server has a UUID of version 7, whose last two bytes are zero. A writer has
that UUID with the writer's number in the last two bytes. The prediction_id of an answer
is the writer's UUID, "-", and the writer's sequence number for it.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from uuid import UUID

MAX_WRITERS = 1 << 16
_PREDICTION_ID = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-(0|[1-9][0-9]{0,19})")
_WRITER_BITS = 16


@dataclass(frozen=True, slots=True, order=True)
class PredictionId:
    """Which prediction of which start.

    Attributes:
        start: the UUID of the start.
        writer: the number of the writer.
        sequence: the writer's sequence number.
    """

    start: UUID
    writer: int
    sequence: int

    def __str__(self) -> str:
        return f"{writer_uuid(self.start, self.writer)}-{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> PredictionId:
        """The id with this text.

        Raises:
            ValueError: the text is no prediction_id.
        """
        found = _PREDICTION_ID.fullmatch(text)
        sequence = int(found[2]) if found else 0
        if found is None or sequence >> 64:
            raise ValueError(f"{text!r} is no prediction_id: it has the form <uuid>-<number>")
        start, writer = split_writer(UUID(found[1]))
        return cls(start, writer, sequence)


def new_start() -> UUID:
    """The UUID of a new start: of version 7, so that later starts have higher UUIDs, and unique."""
    milliseconds = time.time_ns() // 1_000_000 & (1 << 48) - 1
    value = milliseconds << 80 | 7 << 76 | secrets.randbits(12) << 64
    return UUID(int=value | 0b10 << 62 | secrets.randbits(46) << _WRITER_BITS)


def writer_uuid(start: UUID, writer: int) -> UUID:
    """The UUID of a writer of a start.

    Raises:
        ValueError: no start has this UUID, or no writer has this number.
    """
    if start.int % MAX_WRITERS or not 0 <= writer < MAX_WRITERS:
        raise ValueError(f"{start} has no writer {writer}")
    return UUID(int=start.int | writer)


def split_writer(writer: UUID) -> tuple[UUID, int]:
    """The UUID of a writer's start, and the writer's number."""
    return UUID(int=writer.int >> _WRITER_BITS << _WRITER_BITS), writer.int % MAX_WRITERS
