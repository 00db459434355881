"""The ledger adds up, or says what does not."""

from __future__ import annotations

import pytest

from scorewire_contract.records.ledger import CAUSES
from scorewire_server.engine.recording import RecordCounts
from scorewire_server.records.ledger import imbalance, ledger_of
from scorewire_server.records.shipper_status import ShippedRows

DROPPED = {"ring_full": 5, "too_large": 0, "spool_full": 3, "disk": 2}
COUNTS = RecordCounts(offered=100, sampled_out=30, dropped=DROPPED, buffered=10, spooled=50)
SHIPPED = ShippedRows(seen=45, stored=30, pending=10, set_aside=4, expired=1)


def test_rows_that_the_shipper_has_not_seen_are_pending() -> None:
    ledger = ledger_of(COUNTS, SHIPPED, "the disk is full")
    assert ledger.offered == ledger.sampled_out + sum(DROPPED.values()) + ledger.buffered + ledger.spooled
    assert ledger.spooled == ledger.stored + ledger.pending + ledger.set_aside + ledger.expired
    assert ledger.pending == 15
    message = ledger.to_message()
    assert {each.cause: each.rows for each in message.dropped} == {"ring_full": 5, "spool_full": 3, "disk": 2}
    assert message.problem == "the disk is full"
    assert message.pending == 15


def test_sums_that_hold_are_no_imbalance() -> None:
    seen = ShippedRows(seen=50, stored=30, pending=15, set_aside=4, expired=1)
    assert imbalance(COUNTS, seen) == ""
    assert imbalance(RecordCounts(), ShippedRows()) == ""
    assert tuple(RecordCounts().dropped) == CAUSES


@pytest.mark.parametrize(
    ("counts", "shipped", "says"),
    [
        (RecordCounts(offered=3, spooled=2), ShippedRows(), "of 3 rows of answers, 2"),
        (COUNTS, ShippedRows(seen=45, stored=30), "of 45 rows that the shipper has seen, 30"),
        (COUNTS, ShippedRows(seen=51, stored=51), "has seen 51 rows, and 50"),
        (COUNTS, SHIPPED, "has seen 45 rows, and 50"),
    ],
)
def test_sums_that_do_not_hold_are_told(counts: RecordCounts, shipped: ShippedRows, says: str) -> None:
    assert says in imbalance(counts, shipped)
