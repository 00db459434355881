"""The ledger of a server's records, as the SDK and the command show it."""

from __future__ import annotations

from scorewire._cli.rendering import ledger_text
from scorewire._ledger import ledger_from
from scorewire_proto.v1 import models_pb2

COUNTS = {
    "offered": 12_000,
    "sampled_out": 1_000,
    "buffered": 100,
    "spooled": 10_895,
    "stored": 10_000,
    "pending": 800,
    "set_aside": 95,
    "expired": 0,
}


def test_the_message_becomes_a_ledger_whose_sums_hold() -> None:
    message = models_pb2.RecordLedger(**COUNTS, problem="the disk is full")
    message.dropped.add(cause="ring_full", rows=5)
    ledger = ledger_from(message)
    assert {name: getattr(ledger, name) for name in COUNTS} == COUNTS
    assert ledger.dropped == {"ring_full": 5}
    assert ledger.offered == ledger.sampled_out + ledger.lost + ledger.buffered + ledger.spooled
    assert ledger_text(ledger).splitlines() == [
        "records: 12,000 rows offered = 1,000 sampled out + 5 dropped + 100 buffered + 10,895 spooled",
        "spooled: 10,895 rows = 10,000 stored + 800 pending + 95 set aside + 0 expired",
        "[red]dropped: 5 ring_full[/]",
        "[red]problem: the disk is full[/]",
    ]


def test_a_ledger_without_losses_and_problems_is_two_lines() -> None:
    assert len(ledger_text(ledger_from(models_pb2.RecordLedger(offered=1, spooled=1))).splitlines()) == 2
