from __future__ import annotations

import tracemalloc

import pytest

from scorewire_contract.coding import RowError
from scorewire_contract.records.ledger import Count, WriterLedger
from scorewire_proto.v1 import errors_pb2
from scorewire_server.engine.reference.spool.lane import Lane
from tests.scorewire_server.engine.recorded import START, record_of

SIZE = record_of().memory_bytes


def lane_of(max_bytes: int = 10 * SIZE) -> Lane:
    return Lane(START, 3, max_bytes, lambda: None)


def test_records_leave_in_their_order_and_are_counted_at_each_step() -> None:
    lane = lane_of()
    for sequence in range(3):
        assert lane.next_id() == f"019aa1b2-c3d4-7e5f-8a9b-0c1d2e3f0003-{sequence}"
        lane.record(record_of(rows=2))
    assert (lane.offered, lane.buffered, lane.is_waiting) == (6, 6, True)
    assert [sequence for sequence, _, _ in lane.take()] == [0, 1, 2]
    assert (lane.buffered, lane.is_waiting) == (6, False)
    lane.count("", 2, 4)
    lane.count("disk", 1, 2)
    assert (lane.offered, lane.buffered) == (6, 0)
    nothing = Count()
    assert lane.ledger == WriterLedger(3, nothing, Count(2, 4), (nothing, nothing, nothing, Count(1, 2)))


def test_what_is_left_out_takes_no_number() -> None:
    lane = lane_of()
    lane.sampled_out(7)
    assert (lane.ledger.next_sequence, lane.offered, lane.buffered) == (0, 7, 0)
    assert lane.ledger.sampled_out == Count(1, 7)


def test_a_full_lane_drops_records_that_keep_their_numbers_until_some_leave() -> None:
    lane = lane_of(2 * SIZE)
    for _ in range(3):
        lane.record(record_of())
    assert lane.ledger.dropped_by_cause["ring_full"] == Count(1, 1)
    assert (lane.ledger.next_sequence, lane.offered, lane.buffered) == (3, 3, 2)
    assert [sequence for sequence, _, _ in lane.take()] == [0, 1]
    lane.record(record_of())
    assert [sequence for sequence, _, _ in lane.take()] == [3]


def test_a_record_that_never_fits_is_too_large() -> None:
    lane = lane_of(2 * SIZE)
    lane.record(record_of(rows=1000))
    assert lane.ledger.dropped_by_cause["too_large"] == Count(1, 1000)
    assert (lane.ledger.next_sequence, lane.offered, lane.buffered, lane.is_waiting) == (1, 1000, 0, False)


def test_the_memory_of_a_record_has_that_of_its_errors() -> None:
    reason = errors_pb2.ERROR_REASON_MISSING_VALUE

    def errors() -> list[RowError]:
        return [RowError(row, reason, "x0", f"x0 of row {row} is missing: {'x' * 80}") for row in range(1000)]

    tracemalloc.start()
    kept = errors()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    without = record_of(rows=1000)
    assert record_of(rows=1000, errors=kept).memory_bytes - without.memory_bytes >= held


def test_a_closed_lane_drops_further_records() -> None:
    lane = lane_of()
    lane.record(record_of())
    lane.close()
    lane.record(record_of())
    assert (lane.ledger.next_sequence, lane.offered, lane.buffered) == (2, 2, 1)
    assert lane.ledger.dropped_by_cause["ring_full"] == Count(1, 1)
    assert len(list(lane.take())) == 1


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_record_that_comes_while_the_lane_is_closed_is_taken_or_dropped(is_taken: bool) -> None:
    taken: list[int] = []

    def close() -> None:
        lane.close()
        if is_taken:
            taken.extend(sequence for sequence, _, _ in lane.take())

    lane = Lane(START, 3, 10 * SIZE, close)
    lane.record(record_of(rows=2))
    assert taken == [0] * is_taken
    assert (lane.offered, lane.buffered, lane.is_waiting) == (2, 2 * is_taken, False)
    assert lane.ledger.dropped_by_cause["ring_full"].rows == 2 * (not is_taken)


def test_records_wake_the_thread_that_takes_them() -> None:
    woken: list[int] = []
    lane = Lane(START, 0, 2 * SIZE, lambda: woken.append(1))
    for _ in range(3):
        lane.record(record_of())
    assert len(woken) == 2
