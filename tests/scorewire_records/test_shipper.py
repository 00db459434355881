"""The shipper moves each row once, counts what is damaged, and is stopped by nothing in the spool."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import pytest

from scorewire_contract.records.blocks import FORMAT, HEADER_BYTES, Kind, crc32c
from scorewire_contract.records.segments import DAMAGED, LOCK, segment_path, spool_folder, start_folder
from scorewire_records.shipper import Shipper
from scorewire_records.shipper_status import RowCounts
from scorewire_records.start_state import StartState, StartStates
from scorewire_records.tables import to_table
from tests.records.vectors import segments as vectors
from tests.records.vectors.files import FOLDER, FORMAT_1
from tests.scorewire_records.spools import SpoolWriter, source
from tests.scorewire_records.stores import MemoryStore

SOURCE = source()


@pytest.fixture(params=["blocks", "segments"])
def store(request: pytest.FixtureRequest) -> MemoryStore:
    return MemoryStore(whole_segments=request.param == "segments")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    with SpoolWriter(tmp_path) as writer:
        yield writer


def shipper_of(records: Path, store: MemoryStore) -> Shipper:
    return Shipper(records, store, StartStates(records), Event())


def ship(records: Path, store: MemoryStore) -> Shipper:
    """A shipper that has just been started, after its first pass."""
    shipper = shipper_of(records, store)
    shipper.ship()
    return shipper


def state_of(records: Path, writer: SpoolWriter) -> StartState:
    state = StartStates(records).get(writer.start)
    assert state is not None
    return state


def damaged_files(records: Path) -> list[Path]:
    return sorted((spool_folder(records) / DAMAGED).glob("*"))


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)


def test_all_rows_of_an_ended_start_are_stored_and_its_folder_is_removed(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    for _ in range(3):
        writer.write(SOURCE, 10, per_call=2)
        writer.close_segment()
    writer.write(SOURCE, 5)
    writer.stop()
    shipper = ship(tmp_path, store)
    assert store.rows(writer.start) == 65
    assert store.sequences(writer.start) == [*(each // 2 for each in range(60)), *range(30, 35)]
    assert not writer.folder.exists()
    assert shipper.problems == {}
    state = state_of(tmp_path, writer)
    assert (state.rows, state.stored, state.set_aside, state.missing) == (65, 65, 0, 0)
    assert state.ended
    assert state.gone
    assert state.ledgers[0].next_sequence == 35


def test_a_segment_that_grows_is_shipped_block_by_block_or_once_it_is_closed(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    shipper = shipper_of(tmp_path, store)
    seen = []
    for _ in range(3):
        writer.write(SOURCE, 10)
        shipper.ship()
        seen.append(store.rows(writer.start))
    assert seen == ([0, 0, 0] if store.whole_segments else [10, 20, 30])
    # It has its last block, but the server still holds the lock.
    writer.close_segment(is_last=True)
    shipper.ship()
    assert store.rows(writer.start) == 30
    assert not segment_path(writer.folder, 0).exists()
    assert writer.folder.exists()
    writer.kill()
    shipper.ship()
    assert not writer.folder.exists()
    assert store.sequences(writer.start) == list(range(30))


def test_starts_are_shipped_in_the_order_of_their_names(tmp_path: Path) -> None:
    store = MemoryStore(whole_segments=True)
    starts = []
    for _ in range(3):
        with SpoolWriter(tmp_path) as writer:
            writer.write(SOURCE, 1)
            starts.append(writer.start)
    ship(tmp_path, store)
    assert list(store._blocks) == sorted(starts)


def test_a_torn_tail_is_cut_and_nothing_is_set_aside(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    writer.write(SOURCE, 10)
    writer.kill()
    _, offset, _ = writer.blocks[-2]
    os.truncate(segment_path(writer.folder, 0), offset + HEADER_BYTES + 40)
    shipper = ship(tmp_path, store)
    assert store.sequences(writer.start) == list(range(10))
    state = state_of(tmp_path, writer)
    assert (state.rows, state.stored, state.set_aside, state.torn_bytes) == (10, 10, 0, HEADER_BYTES + 40)
    assert not state.ended
    assert damaged_files(tmp_path) == []
    assert shipper.problems == {}


def test_a_damaged_block_is_set_aside_and_counted_once(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    for _ in range(5):
        writer.write(SOURCE, 10)
    writer.close_segment()
    writer.write(SOURCE, 10)
    writer.kill()
    rows = [(offset, header) for segment, offset, header in writer.blocks if header.kind == Kind.ROWS]
    path = segment_path(writer.folder, 0)
    original = path.read_bytes()
    flip(path, rows[2][0] + HEADER_BYTES + 100)
    ship(tmp_path, store)
    assert store.sequences(writer.start) == [*range(20), *range(30, 60)]
    state = state_of(tmp_path, writer)
    assert (state.rows, state.stored, state.set_aside, state.pieces) == (60, 50, 10, 1)
    (aside,) = damaged_files(tmp_path)
    assert aside.name == f"{writer.start}-00000000-{rows[2][0]}.bytes"
    damaged = aside.read_bytes()
    assert len(damaged) == state.set_aside_bytes
    assert sum(a != b for a, b in zip(damaged, original[rows[2][0] :], strict=False)) == 1


def test_a_damaged_last_block_counts_by_its_own_header(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    writer.write_rows(SOURCE, writer.write(SOURCE, 7))
    writer.kill()
    _, offset, header = writer.blocks[-1]
    assert header.kind == Kind.ROWS
    flip(segment_path(writer.folder, 0), offset + HEADER_BYTES + 100)
    ship(tmp_path, store)
    state = state_of(tmp_path, writer)
    assert (state.rows, state.stored, state.set_aside) == (24, 17, 7)


def test_a_segment_of_another_start_is_set_aside_and_counts_nothing(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    writer.kill()
    with SpoolWriter(tmp_path / "elsewhere") as other:
        other.write(SOURCE, 7)
        other.close_segment()
        other.write_rows(SOURCE, other.write(SOURCE, 7))
    strange = segment_path(other.folder, 1).read_bytes()
    segment_path(writer.folder, 1).write_bytes(strange)
    ship(tmp_path, store)
    assert store.sequences(writer.start) == list(range(10))
    state = state_of(tmp_path, writer)
    assert (state.rows, state.stored, state.set_aside) == (10, 10, 0)
    (aside,) = damaged_files(tmp_path)
    assert aside.read_bytes() == strange


def test_rows_whose_source_was_damaged_use_the_source_of_the_segment_before(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    writer.close_segment()
    writer.write(SOURCE, 10)
    writer.kill()
    sources = [(segment, offset) for segment, offset, header in writer.blocks if header.kind == Kind.SOURCE]
    assert [segment for segment, _ in sources] == [0, 1]
    flip(segment_path(writer.folder, 1), sources[1][1] + HEADER_BYTES + 20)
    ship(tmp_path, store)
    assert store.rows(writer.start) == 20
    assert state_of(tmp_path, writer).pieces == 1


def test_rows_whose_source_is_nowhere_are_set_aside(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    writer.close_segment()
    writer.write(SOURCE, 10)
    writer.kill()
    flip(segment_path(writer.folder, 0), writer.blocks[1][1] + HEADER_BYTES + 20)
    ship(tmp_path, store)
    state = state_of(tmp_path, writer)
    assert (state.rows, state.stored, state.set_aside, state.pieces) == (20, 10, 10, 2)


def test_an_open_segment_that_someone_removed_hides_nothing_of_the_next_one(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    shipper = ship(tmp_path, store)
    writer.close_segment()
    segment_path(writer.folder, 0).unlink()
    for _ in range(2):
        writer.write(SOURCE, 10)
    writer.stop()
    shipper.ship()
    lost = 10 if store.whole_segments else 0
    state = state_of(tmp_path, writer)
    assert (state.rows, state.stored, state.set_aside, state.missing) == (30, 30 - lost, lost, 0)
    assert store.sequences(writer.start) == list(range(lost, 30))


def test_a_segment_that_someone_removed_counts_as_set_aside(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    for _ in range(3):
        writer.write(SOURCE, 10)
        writer.close_segment()
    writer.kill()
    segment_path(writer.folder, 1).unlink()
    ship(tmp_path, store)
    state = state_of(tmp_path, writer)
    assert (state.rows, state.stored, state.set_aside) == (30, 20, 10)


def test_what_does_not_belong_in_the_spool_is_reported_and_left_alone(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    writer.kill()
    spool = spool_folder(tmp_path)
    (spool / "notes.txt").write_text("mine")
    (spool / "backup").mkdir()
    (writer.folder / "00000007.segment").mkdir()
    (writer.folder / "x.segment").write_bytes(b"?")
    shipper = ship(tmp_path, store)
    assert store.rows(writer.start) == 10
    assert set(shipper.problems) == {"spool", str(writer.start)}
    assert "_spool/backup, _spool/notes.txt" in shipper.problems["spool"]
    assert "00000007.segment" in shipper.problems[str(writer.start)]
    assert (spool / "notes.txt").read_text() == "mine"
    assert (writer.folder / "x.segment").exists()


def test_a_segment_of_a_newer_format_waits_and_others_do_not(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    writer.kill()
    path = segment_path(writer.folder, 0)
    data = bytearray(path.read_bytes())
    data[8:10] = (FORMAT + 1).to_bytes(2, "little")
    data[92:96] = crc32c(bytes(data[:92])).to_bytes(4, "little")
    path.write_bytes(data)
    with SpoolWriter(tmp_path) as other:
        other.write(SOURCE, 3)
    shipper = ship(tmp_path, store)
    assert f"format is {FORMAT + 1}" in shipper.problems[str(writer.start)]
    assert path.read_bytes() == data
    assert store.rows(other.start) == 3


def test_what_an_earlier_release_left_is_stored_beside_what_comes(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    """A server that is started again after an upgrade finds segments of format 1."""
    folder = start_folder(spool_folder(tmp_path), vectors.START)
    folder.mkdir()
    (folder / LOCK).touch()
    segment_path(folder, 0).write_bytes((FOLDER / f"{FORMAT_1}.segment").read_bytes())
    rows = writer.write(SOURCE, 3)
    writer.close_segment()
    shipper = ship(tmp_path, store)
    assert shipper.problems == {}
    assert store.rows(vectors.START) == 4 + 4 + 2 + 4
    old, new = store.blocks(vectors.START), store.blocks(writer.start)
    assert {name for each in old for name in each.rows.principals} == {""}
    assert {each.source.principal for each in old} == {"drop"}
    assert to_table(vectors.START, old[0].source, old[0].rows)["principal"].null_count == 4
    assert [list(each.rows.principals) for each in new] == [list(rows.principals)]
    assert not folder.exists()
    assert damaged_files(tmp_path) == []


def test_a_store_that_fails_gets_everything_later_and_once(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    shipper = shipper_of(tmp_path, store)
    writer.write(SOURCE, 10)
    shipper.ship()
    store.problem = "the database is down"
    writer.write(SOURCE, 10)
    flip_at = writer.blocks[-2][1]
    writer.write(SOURCE, 10)
    flip(segment_path(writer.folder, 0), flip_at + HEADER_BYTES + 100)
    writer.close_segment()
    for _ in range(3):
        shipper.ship()
        assert shipper.problems == {"store": "records cannot be stored: the database is down"}
    store.problem = ""
    shipper.ship()
    assert shipper.problems == {}
    assert store.sequences(writer.start) == [*range(10), *range(20, 30)]
    state = state_of(tmp_path, writer)
    assert (state.stored, state.set_aside, state.pieces) == (20, 10, 1)


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_block_that_the_store_refuses_is_set_aside_and_counted_once(
    tmp_path: Path, writer: SpoolWriter, is_killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    for _ in range(3):
        writer.write(SOURCE, 10)
    _, offset, header = writer.blocks[-4]
    block = segment_path(writer.folder, 0).read_bytes()[offset:][: writer.blocks[-3][1] - offset]
    store.refuses = {12}
    with monkeypatch.context() as patch:
        if is_killed:

            def pass_over(*arguments: Any) -> None:
                MemoryStore.pass_over(store, *arguments)
                raise RuntimeError

            patch.setattr(store, "pass_over", pass_over)
        ship(tmp_path, store)
    shipper = ship(tmp_path, store)
    state = shipper.position(writer.start)
    assert state is not None
    assert (state.rows, state.stored, state.set_aside, state.refused, state.missing) == (30, 20, 0, 10, 0)
    writer.stop()
    shipper.ship()
    assert shipper.problems == {}
    assert store.sequences(writer.start) == [*range(10), *range(20, 30)]
    state = state_of(tmp_path, writer)
    assert (state.rows, state.stored, state.set_aside, state.refused, state.missing) == (30, 20, 0, 10, 0)
    (aside,) = damaged_files(tmp_path)
    assert aside.read_bytes() == block
    counts = RowCounts.of(30, state)
    assert counts == RowCounts(seen=30, stored=20, pending=0, set_aside=10, expired=0)
    assert header.rows == 10


def test_a_new_shipper_goes_on_where_the_last_one_was(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    for _ in range(4):
        writer.write(SOURCE, 10)
        writer.write(SOURCE, 10)
        ship(tmp_path, store)
        writer.close_segment()
    writer.stop()
    ship(tmp_path, store)
    assert store.sequences(writer.start) == list(range(80))
    assert state_of(tmp_path, writer).stored == 80


def test_a_fault_is_logged_once_and_other_starts_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    position = store.position
    with SpoolWriter(tmp_path) as first, SpoolWriter(tmp_path) as second:

        def faulty(start: UUID) -> int:
            if start == first.start:
                raise RuntimeError("a fault")
            return position(start)

        monkeypatch.setattr(store, "position", faulty)
        for each in (first, second):
            each.write(SOURCE, 10)
        shipper = shipper_of(tmp_path, store)
        for _ in range(3):
            shipper.ship()
            assert "a fault" in shipper.problems[str(first.start)]
        assert store.rows(second.start) == 10
    assert [record.message for record in caplog.records] == [f"start {first.start} cannot be shipped"]


def test_a_store_that_was_restored_from_a_backup_is_reported(tmp_path: Path, writer: SpoolWriter) -> None:
    store = MemoryStore()
    shipper = shipper_of(tmp_path, store)
    for _ in range(2):
        writer.write(SOURCE, 10)
        writer.close_segment()
    writer.write(SOURCE, 10)
    shipper.ship()
    store.forget(writer.start, after=3)
    writer.write(SOURCE, 10)
    writer.close_segment()
    shipper = ship(tmp_path, store)
    assert store.sequences(writer.start) == [*range(10), *range(20, 40)]
    assert "10 rows that it had confirmed" in shipper.problems["restored"]
    assert "0 of them were stored again, and 10 are lost" in shipper.problems["restored"]
    state = state_of(tmp_path, writer)
    assert (state.stored, state.missing) == (30, 10)


def test_a_database_after_files_lacks_nothing(tmp_path: Path, writer: SpoolWriter) -> None:
    files, database = MemoryStore(whole_segments=True), MemoryStore()
    with SpoolWriter(tmp_path) as ended:
        ended.write(SOURCE, 10)
        ended.stop()
    writer.write(SOURCE, 10)
    writer.close_segment()
    writer.write(SOURCE, 10)
    ship(tmp_path, files)
    writer.kill()
    for _ in range(2):
        shipper = ship(tmp_path, database)
        assert shipper.problems == {}
        states = [state_of(tmp_path, each) for each in (ended, writer)]
        assert [(state.rows, state.stored, state.missing) for state in states] == [(10, 10, 0), (20, 20, 0)]
    assert files.sequences(writer.start) == list(range(10))
    assert database.sequences(writer.start) == list(range(10, 20))


def test_a_state_that_cannot_be_understood_is_put_aside_and_begun_again(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    writer.close_segment()
    ship(tmp_path, store)
    path = StartStates(tmp_path).path(writer.start)
    path.write_text('{"start": 7}')
    writer.write(SOURCE, 10)
    writer.close_segment()
    shipper = ship(tmp_path, store)
    assert "cannot be understood" in shipper.problems[path.name]
    assert store.rows(writer.start) == 20
    state = state_of(tmp_path, writer)
    assert (state.rows, state.stored, state.set_aside) == (20, 20, 0)


def test_a_young_folder_without_a_segment_is_left_alone(tmp_path: Path, store: MemoryStore) -> None:
    with SpoolWriter(tmp_path) as writer:
        pass
    ship(tmp_path, store)
    assert writer.folder.exists()


def test_a_stopped_shipper_stops_between_starts(
    tmp_path: Path, store: MemoryStore, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    writer.stop()
    stop = Event()
    stop.set()
    Shipper(tmp_path, store, StartStates(tmp_path), stop).ship()
    assert store.rows(writer.start) == 0
