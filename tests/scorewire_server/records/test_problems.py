"""What is wrong with records is found by looks at both sides' counts."""

from __future__ import annotations

from scorewire_contract.records.ledger import CAUSES
from scorewire_server.engine.recording import RecordCounts
from scorewire_server.records.problems import DROP_SECONDS, REST_SECONDS, SILENCE_SECONDS, Problems
from scorewire_server.records.shipper_status import ShippedRows, ShipperStatus


class _Looks:
    """Looks at the clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._problems = Problems(lambda: self.now)
        self._told = 0

    def look(
        self, counts: RecordCounts, *, rows: ShippedRows | None = None, problem: str = "", told: bool = True
    ) -> list[str]:
        self.now += 1
        self._told += told
        status = ShipperStatus(told=str(self._told), problem=problem, rows=rows or ShippedRows())
        return self._problems.find(counts, status)


def _dropped(**causes: int) -> RecordCounts:
    dropped = dict.fromkeys(CAUSES, 0) | causes
    return RecordCounts(offered=sum(causes.values()), dropped=dropped)


def test_nothing_is_wrong_with_counts_that_grow() -> None:
    looks = _Looks()
    for rows in range(100):
        assert looks.look(RecordCounts(offered=rows, spooled=rows), rows=ShippedRows()) == []


def test_both_sides_problems_are_told_while_they_last() -> None:
    looks = _Looks()
    assert looks.look(RecordCounts(problem="no space"), problem="no database") == ["no space", "no database"]
    assert looks.look(RecordCounts()) == []


def test_drops_are_a_problem_for_a_minute() -> None:
    looks = _Looks()
    looks.look(_dropped())
    (problem,) = looks.look(_dropped(ring_full=7))
    assert problem.startswith("7 rows were dropped within a minute (ring_full)")
    assert "--records-ring-bytes" in problem
    looks.now += DROP_SECONDS / 2
    found = looks.look(_dropped(ring_full=9, disk=1))
    assert [each.partition(":")[0] for each in found] == [
        "9 rows were dropped within a minute (ring_full)",
        "1 rows were dropped within a minute (disk)",
    ]
    looks.now += DROP_SECONDS / 2
    found = looks.look(_dropped(ring_full=9, disk=1))
    assert found[0].startswith("2 rows")
    looks.now += DROP_SECONDS / 2
    assert looks.look(_dropped(ring_full=9, disk=1)) == []


def test_drops_before_the_first_look_are_told() -> None:
    assert _Looks().look(_dropped(disk=3))[0].startswith("3 rows")


def test_a_shipper_that_tells_nothing_is_a_problem() -> None:
    looks = _Looks()
    assert looks.look(RecordCounts()) == []
    looks.now += SILENCE_SECONDS
    assert "has told nothing for" in looks.look(RecordCounts(), told=False)[0]
    assert looks.look(RecordCounts()) == []


def test_sums_that_do_not_hold_at_rest_are_a_problem() -> None:
    looks = _Looks()
    wrong = RecordCounts(offered=3, spooled=2)
    rows = ShippedRows(seen=2, stored=2)
    # While both sides count, they are read at different times.
    assert looks.look(wrong, rows=rows) == []
    looks.now += REST_SECONDS
    (problem,) = looks.look(wrong, rows=rows)
    assert "does not add up: of 3 rows of answers, 2" in problem
    right = RecordCounts(offered=4, spooled=4)
    assert looks.look(right, rows=rows) == []
    looks.now += REST_SECONDS
    (problem,) = looks.look(right, rows=rows)
    assert "the shipper has seen 2 rows, and 4" in problem
    # Then the database is away, and the shipper knows less.
    assert looks.look(right, rows=rows, problem="no database") == ["no database"]
    rows = ShippedRows(seen=4, stored=4)
    assert looks.look(right, rows=rows) == []
    looks.now += REST_SECONDS
    assert looks.look(right, rows=rows) == []


def test_a_silent_shipper_is_not_held_to_the_sums() -> None:
    looks = _Looks()
    counts = RecordCounts(offered=4, spooled=4)
    assert looks.look(counts) == []
    looks.now += REST_SECONDS
    assert looks.look(counts, told=False) == []
