from __future__ import annotations

import pytest

from scorewire_contract.records.blocks import BlockError
from scorewire_contract.records.ledger import (
    CAUSES,
    Count,
    WriterLedger,
    decode_ledgers,
    encode_ledgers,
    total,
)

LEDGER = WriterLedger(9, Count(1, 10), Count(2, 20), (Count(3, 30), Count(4, 40), Count(5, 50), Count(6, 60)))


@pytest.mark.parametrize("ledgers", [[], [LEDGER], [WriterLedger(), LEDGER, WriterLedger((1 << 64) - 1)]])
def test_ledgers_are_read_as_they_were_written(ledgers: list[WriterLedger]) -> None:
    assert decode_ledgers(encode_ledgers(ledgers)) == ledgers


def test_fields_of_a_later_version_are_skipped() -> None:
    body = encode_ledgers([LEDGER])
    later = body[:4] + (14).to_bytes(4, "little") + body[8:] + bytes(8)
    assert decode_ledgers(later) == [LEDGER]


@pytest.mark.parametrize("cut", [slice(0), slice(7), slice(-8), slice(8, None)])
def test_a_body_of_another_length_is_refused(cut: slice) -> None:
    with pytest.raises(BlockError):
        decode_ledgers(encode_ledgers([LEDGER])[cut])


def test_a_ledger_of_more_writers_than_a_start_can_have_is_refused() -> None:
    writers = (1 << 16) + 1
    with pytest.raises(BlockError):
        decode_ledgers(encode_ledgers([WriterLedger()] * writers))


def test_drops_are_told_by_cause() -> None:
    assert list(LEDGER.dropped_by_cause) == list(CAUSES)
    assert LEDGER.dropped_by_cause["disk"] == Count(6, 60)
    assert LEDGER.all_dropped == Count(18, 180)


def test_the_total_is_the_sum_of_all_fields() -> None:
    double = total([LEDGER, LEDGER])
    assert double.next_sequence == 18
    assert double.sampled_out == Count(2, 20)
    assert double.all_dropped == Count(36, 360)
    assert total([]) == WriterLedger()
