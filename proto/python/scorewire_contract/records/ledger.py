"""The ledger of each writer: what became of the predictions that it was offered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from scorewire_contract.records.blocks import BlockError
from scorewire_contract.records.identity import MAX_WRITERS

# Why an engine drops records.
CAUSES = ("ring_full", "too_large", "spool_full", "disk")
_HEAD_BYTES = 8
_PAIRS = 2 + len(CAUSES)
_FIELDS = 1 + 2 * _PAIRS


@dataclass(frozen=True, slots=True)
class Count:
    """Predictions and their rows.

    A prediction that was cut into parts counts with its first part.
    """

    predictions: int = 0
    rows: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.predictions + other.predictions, self.rows + other.rows)


Counts: TypeAlias = "tuple[Count, ...]"
_NOTHING = Count()


@dataclass(frozen=True, slots=True)
class WriterLedger:
    """The counts of one writer since the start.

    Attributes:
        next_sequence: the next sequence number.
        sampled_out: what the policy left out; it takes no sequence number.
        spooled: what is in blocks.
        dropped: what was dropped, by cause, in the order of `CAUSES`.
    """

    next_sequence: int = 0
    sampled_out: Count = _NOTHING
    spooled: Count = _NOTHING
    dropped: Counts = (_NOTHING,) * len(CAUSES)

    @property
    def dropped_by_cause(self) -> dict[str, Count]:
        """What was dropped, by cause."""
        return dict(zip(CAUSES, self.dropped, strict=True))

    @property
    def all_dropped(self) -> Count:
        """What was dropped, whatever the cause."""
        return sum(self.dropped, _NOTHING)


def total(ledgers: Iterable[WriterLedger]) -> WriterLedger:
    """The sum of ledgers."""
    result = WriterLedger()
    for each in ledgers:
        result = WriterLedger(
            result.next_sequence + each.next_sequence,
            result.sampled_out + each.sampled_out,
            result.spooled + each.spooled,
            tuple(map(Count.__add__, result.dropped, each.dropped)),
        )
    return result


def encode_ledgers(ledgers: Sequence[WriterLedger]) -> bytes:
    """The body of a ledger block, from the ledgers of the writers 0, 1, 2 and so on."""
    values = [
        value
        for each in ledgers
        for value in (
            each.next_sequence,
            *(
                number
                for count in (each.sampled_out, each.spooled, *each.dropped)
                for number in (count.predictions, count.rows)
            ),
        )
    ]
    return np.array([len(ledgers), _FIELDS], "<u4").tobytes() + np.array(values, "<u8").tobytes()


def decode_ledgers(body: bytes) -> list[WriterLedger]:
    """Read the body of a ledger block: the ledger of each writer.

    Fields behind those that this version knows are skipped.

    Raises:
        BlockError: the body is no ledger.
    """
    if len(body) < _HEAD_BYTES:
        raise BlockError("a ledger is too short")
    writers, fields = np.frombuffer(body, "<u4", 2).tolist()
    fits = writers <= MAX_WRITERS and fields >= _FIELDS
    if not fits or len(body) != _HEAD_BYTES + 8 * writers * fields:
        raise BlockError(f"a ledger of {len(body)} bytes has {writers} writers and {fields} fields")
    values = np.frombuffer(body, "<u8", offset=_HEAD_BYTES).reshape(writers, fields)
    return [_ledger(row) for row in values[:, :_FIELDS].tolist()]


def _ledger(values: list[int]) -> WriterLedger:
    sampled_out, spooled, *dropped = (Count(*values[at : at + 2]) for at in range(1, _FIELDS, 2))
    return WriterLedger(values[0], sampled_out, spooled, tuple(dropped))
