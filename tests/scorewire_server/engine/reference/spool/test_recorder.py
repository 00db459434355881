"""The recorder on a real disk: what readers find, bounds, and what fails."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from scorewire_contract.records import segments
from scorewire_contract.records.blocks import Block, Kind
from scorewire_contract.records.ledger import Count, WriterLedger, decode_ledgers, total
from scorewire_contract.records.rows import RowsBlock
from scorewire_contract.records.segments import read_segment
from scorewire_contract.records.source import Source, Start
from scorewire_server.engine.recording import RecordCounts, RecordOptions
from scorewire_server.engine.reference.spool import spooling
from scorewire_server.engine.reference.spool.recorder import Recorder
from scorewire_server.engine.reference.spool.segment_writer import SegmentWriter
from scorewire_server.engine.reference.spool.space import Space
from tests.scorewire_server.engine.recorded import START, SUM, record_of, source_of

WAIT_SECONDS = 60
Make = Callable[..., Recorder]


@dataclass(frozen=True)
class Found:
    """What readers find in the spool of a start."""

    blocks: list[Block]
    rows: list[RowsBlock]
    ledger: WriterLedger

    @property
    def sequences(self) -> list[int]:
        return [sequence for block in self.rows for sequence in block.sequences.tolist()]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes recorders in the folder of the test, and closes them."""
    made: list[Recorder] = []
    monkeypatch.setattr(spooling, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr("scorewire_server.engine.reference.spool.recorder.LOOK_SECONDS", 0.01)

    def one(**options: Any) -> Recorder:
        defaults: dict[str, Any] = {"folder": tmp_path, "start": START, "free_bytes": 0}
        made.append(Recorder(RecordOptions(**(defaults | options)), "0.1.0"))
        return made[-1]

    yield one
    for each in made:
        each.close()


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    end = monotonic() + WAIT_SECONDS
    pause = threading.Event()
    while not condition():
        assert monotonic() < end
        pause.wait(0.001)


def spool_files(folder: Path) -> list[Path]:
    return [
        path for _, path in segments.segments(segments.start_folder(segments.spool_folder(folder), START))
    ]


def read(folder: Path) -> Found:
    """Read all segments; each is whole, and begins with its start block."""
    blocks: list[Block] = []
    rows: list[RowsBlock] = []
    ledger = WriterLedger()
    for number, path in enumerate(spool_files(folder)):
        sources: dict[int, Source] = {}
        found = list(read_segment(path))
        assert all(isinstance(each, Block) for each in found)
        for block in (each for each in found if isinstance(each, Block)):
            match block.header.kind:
                case Kind.START:
                    assert Start.decode(block.body).segment == number
                case Kind.SOURCE:
                    source = Source.decode(block.body)
                    sources[source.source] = source
                case Kind.ROWS:
                    rows.append(RowsBlock.decode(block.body, sources[block.header.source]))
                    assert block.header.first_sequence == rows[-1].sequences.min()
                    assert block.header.rows == rows[-1].row_count
                case Kind.LEDGER:
                    ledger = total(decode_ledgers(block.body))
            blocks.append(block)
        assert isinstance(found[0], Block)
        assert found[0].header.kind == Kind.START
    before = (0, 0)
    for number, block in enumerate(blocks):
        header = block.header
        assert (header.number, header.start) == (number, START)
        assert (header.predictions_before, header.rows_before) == before
        before = before[0] + header.predictions, before[1] + header.rows
    return Found(blocks, rows, ledger)


def assert_balanced(counts: RecordCounts) -> None:
    lost = sum(counts.dropped.values())
    assert counts.offered == counts.sampled_out + lost + counts.buffered + counts.spooled


def test_records_are_written_and_the_spool_is_closed_in_order(make: Make, tmp_path: Path) -> None:
    recorder = make()
    for _ in range(100):
        recorder.lanes.answers.record(record_of(rows=3))
    recorder.lanes.answers.sampled_out(5)
    recorder.lanes.shadows.record(record_of(source=source_of(replace(SUM, source=2))))
    recorder.close()
    found = read(tmp_path)
    assert sorted(found.sequences) == sorted([*range(100), 0])
    assert found.blocks[-1].header.is_last
    assert found.ledger == WriterLedger(101, Count(1, 5), Count(101, 301))
    assert recorder.counts == RecordCounts(offered=306, sampled_out=5, spooled=301)


def test_records_are_written_while_the_recorder_runs(make: Make, tmp_path: Path) -> None:
    recorder = make()
    recorder.lanes.answers.record(record_of())
    until(lambda: recorder.counts.spooled == 1)
    (path,) = spool_files(tmp_path)
    kinds = [each.header.kind for each in read_segment(path, growing=True) if isinstance(each, Block)]
    assert kinds[:3] == [Kind.START, Kind.SOURCE, Kind.ROWS]
    assert_balanced(recorder.counts)


def test_the_folder_of_a_start_is_locked_until_it_is_over(make: Make, tmp_path: Path) -> None:
    recorder = make()
    folder = segments.start_folder(segments.spool_folder(tmp_path), START)
    until(folder.exists)
    with (folder / segments.LOCK).open() as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        recorder.close()
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_blocks_have_a_bound_and_large_predictions_are_cut(make: Make, tmp_path: Path) -> None:
    recorder = make(ring_bytes=64 << 20)
    recorder.lanes.answers.record(record_of(rows=60_000))
    for _ in range(1, 40):
        recorder.lanes.answers.record(record_of(texts=["x" * 100_000], message_bytes=100_020))
    recorder.close()
    found = read(tmp_path)
    assert max(block.header.body_bytes for block in found.blocks) <= 1 << 20
    assert len(found.rows) > 4
    rows = [
        row
        for block in found.rows
        for row in block.index_of_row[block.row_counts.repeat(block.row_counts) > 1]
    ]
    assert rows == list(range(60_000))
    assert found.ledger.spooled == Count(40, 60_039)
    assert_balanced(recorder.counts)


def test_texts_that_are_longer_than_thought_go_to_more_blocks(make: Make, tmp_path: Path) -> None:
    recorder = make(ring_bytes=64 << 20)
    for _ in range(5):
        recorder.lanes.answers.record(record_of(texts=["x" * 400_000], message_bytes=20))
    recorder.close()
    found = read(tmp_path)
    assert max(block.header.body_bytes for block in found.blocks) <= 1 << 20
    assert found.sequences == list(range(5))


@pytest.mark.parametrize("bound", [{"segment_bytes": 2000}, {"segment_seconds": 0.01}])
def test_segments_are_closed_by_size_and_by_age(make: Make, tmp_path: Path, bound: dict[str, float]) -> None:
    recorder = make(**bound)
    for sequence in range(3):
        recorder.lanes.answers.record(record_of(rows=60))
        until(lambda: recorder.counts.buffered == 0)
        until(lambda wanted=sequence: is_closed(tmp_path, wanted))
    recorder.close()
    found = read(tmp_path)
    assert found.sequences == [0, 1, 2]
    ends = [block.header.source for block in found.blocks if block.header.kind == Kind.END]
    assert ends == [0] * (len(ends) - 1) + [1]


def is_closed(folder: Path, segment: int) -> bool:
    paths = spool_files(folder)
    if len(paths) <= segment:
        return False
    blocks = [each for each in read_segment(paths[segment], growing=True) if isinstance(each, Block)]
    return bool(blocks) and blocks[-1].header.kind == Kind.END


def test_a_full_spool_drops_rows_until_there_is_room(make: Make, tmp_path: Path) -> None:
    recorder = make(spool_bytes=20_000)
    sequence = 0
    while not recorder.counts.dropped["spool_full"]:
        recorder.lanes.answers.record(record_of(rows=100))
        sequence += 1
        until(lambda: recorder.counts.buffered == 0)
    until(lambda: "has reached its limit of 20000 bytes" in recorder.counts.problem)
    # The segment is closed, so that the shipper can move it.
    until(lambda: is_closed(tmp_path, 0))
    kept = spool_files(tmp_path)
    for path in kept[:-1] or kept:
        path.unlink()
    until(lambda: not recorder.counts.problem)
    before = recorder.counts.spooled
    recorder.lanes.answers.record(record_of(rows=100))
    until(lambda: recorder.counts.spooled > before)
    assert_balanced(recorder.counts)


def test_a_disk_with_too_little_room_drops_rows(make: Make) -> None:
    recorder = make(free_bytes=1 << 60)
    until(lambda: "bytes free and must keep" in recorder.counts.problem)
    recorder.lanes.answers.record(record_of())
    recorder.close()
    assert recorder.counts.dropped["spool_full"] == 1
    assert_balanced(recorder.counts)


def test_a_folder_that_cannot_be_made_costs_only_the_records(make: Make, tmp_path: Path) -> None:
    blocked = tmp_path / "records"
    blocked.write_text("a file")
    recorder = make(folder=blocked)
    until(lambda: "the spool cannot be written" in recorder.counts.problem)
    recorder.lanes.answers.record(record_of())
    until(lambda: recorder.counts.dropped["disk"] == 1)
    blocked.unlink()
    # The problem is told until rows are written again.
    record_until_more_is_spooled(recorder)
    until(lambda: not recorder.counts.problem)
    recorder.close()
    assert read(blocked).sequences[-1] == read(blocked).ledger.next_sequence - 1
    assert_balanced(recorder.counts)


def record_until_more_is_spooled(recorder: Recorder) -> None:
    before = recorder.counts.spooled
    while recorder.counts.spooled == before:
        recorder.lanes.answers.record(record_of())
        until(lambda: recorder.counts.buffered == 0)


@pytest.mark.parametrize(("error", "segments_then"), [(errno.ENOSPC, 1), (errno.EIO, 2)])
def test_a_write_that_fails_leaves_whole_blocks(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, segments_then: int
) -> None:
    recorder = make()
    recorder.lanes.answers.record(record_of())
    until(lambda: recorder.counts.spooled == 1)
    write = os.write

    def failing(file: int, data: Any) -> int:
        # A part of the block, and then no more.
        if len(data) > 90:
            return write(file, bytes(data)[:90])
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "write", failing)
    looks: list[Path] = []
    ensure_open = SegmentWriter.ensure_open

    def looking(writer: SegmentWriter) -> None:
        looks.append(tmp_path)
        ensure_open(writer)

    monkeypatch.setattr(SegmentWriter, "ensure_open", looking)
    recorder.lanes.answers.record(record_of())
    until(lambda: recorder.counts.dropped["disk"] == 1)
    until(lambda: len(looks) >= 5)
    assert os.strerror(error) in recorder.counts.problem
    monkeypatch.undo()
    record_until_more_is_spooled(recorder)
    recorder.close()
    found = read(tmp_path)
    assert (found.sequences[0], found.sequences[-1]) == (0, found.ledger.next_sequence - 1)
    assert 1 not in found.sequences
    # A disk that is full goes on with its segment; a try that failed left none.
    assert len(spool_files(tmp_path)) == segments_then
    assert_balanced(recorder.counts)


def test_a_spool_that_is_removed_is_made_again(make: Make, tmp_path: Path) -> None:
    recorder = make()
    recorder.lanes.answers.record(record_of())
    until(lambda: recorder.counts.spooled == 1)
    shutil.rmtree(segments.spool_folder(tmp_path))
    recorder.lanes.answers.record(record_of())
    recorder.close()
    (path,) = spool_files(tmp_path)
    rows = [each for each in read_segment(path) if isinstance(each, Block) and each.header.kind == Kind.ROWS]
    assert [each.header.first_sequence for each in rows] == [1]
    assert not recorder.counts.dropped["disk"]
    assert_balanced(recorder.counts)


def test_a_record_that_does_not_fit_its_source_is_dropped_and_others_are_kept(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = make()
    wrong = source_of(replace(SUM, source=2), numbers=("keep", "keep", "keep"))
    recorder.lanes.answers.record(record_of(source=wrong))
    recorder.lanes.answers.record(record_of())
    recorder.close()
    assert read(tmp_path).sequences == [1]
    assert (recorder.counts.dropped["disk"], recorder.counts.spooled) == (1, 1)
    assert "ValueError" in recorder.counts.problem


@pytest.mark.parametrize("method", [(Space, "measure"), (SegmentWriter, "ensure_open")])
def test_an_error_of_the_program_does_not_end_the_thread(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: tuple[type, str]
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(*method, lambda _: 1 / 0)
        recorder = make()
        until(lambda: "ZeroDivisionError" in recorder.counts.problem)
    recorder.lanes.answers.record(record_of())
    recorder.close()
    assert read(tmp_path).sequences == [0]


def test_a_recorder_ends_its_thread(make: Make) -> None:
    recorder = make()
    recorder.close()
    recorder.close()
    assert not any(thread.name == "spool" and thread is recorder._thread for thread in threading.enumerate())
