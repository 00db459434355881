"""Whatever a crash or a disk leaves of a spool, rows are stored once, and what is lost is counted."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pyarrow.dataset as ds
import pytest

from scorewire_contract.records.blocks import Header, Kind
from scorewire_contract.records.segments import DAMAGED, segment_path, spool_folder
from scorewire_records.parquet_store import ParquetStore
from scorewire_records.shipper import Shipper
from scorewire_records.start_state import StartState, StartStates
from scorewire_records.store import Store
from tests.scorewire_records.spools import SpoolWriter, source
from tests.scorewire_records.stores import MemoryStore

SOURCE = source(numbers=("age",), features=("age", "country"))
TORN_OFFSETS, FLIPPED_BYTES, KILLS = 1000, 100, 20
SEED = 16


def ship(records: Path, store: Store, states: StartStates | None = None) -> Shipper:
    shipper = Shipper(records, store, states or StartStates(records), Event())
    shipper.ship()
    return shipper


def ship_to_parquet(records: Path) -> Shipper:
    states = StartStates(records)
    return ship(records, ParquetStore(records, states), states)


def stored_sequences(records: Path) -> list[int]:
    files = [path for path in records.rglob("*.parquet") if not path.name.startswith(".")]
    ids = ds.dataset(files, format="parquet").to_table(columns=["prediction_id"])["prediction_id"].to_pylist()
    return sorted(int(each.rpartition("-")[2]) for each in ids)


def state_of(records: Path, writer: SpoolWriter) -> StartState:
    state = StartStates(records).get(writer.start)
    assert state is not None
    return state


def blocks_of(writer: SpoolWriter, segment: int) -> list[tuple[int, int, Header]]:
    """Where each block of a segment begins and ends, and its header."""
    found = [(offset, header) for number, offset, header in writer.blocks if number == segment]
    ends = [offset for offset, _ in found[1:]] + [segment_path(writer.folder, segment).stat().st_size]
    return [(offset, end, header) for (offset, header), end in zip(found, ends, strict=True)]


@pytest.fixture
def spool(tmp_path: Path) -> tuple[Path, SpoolWriter]:
    """A spool of two segments, whose server was killed."""
    records = tmp_path / "original"
    with SpoolWriter(records) as writer:
        for segment in range(2):
            for _ in range(12):
                writer.write(SOURCE, 5)
            if segment == 0:
                writer.close_segment()
    return records, writer


@pytest.mark.parametrize("whole_segments", [False, True])
def test_a_spool_that_is_torn_anywhere_is_read_up_to_there(
    spool: tuple[Path, SpoolWriter], tmp_path: Path, whole_segments: bool
) -> None:
    original, writer = spool
    size = segment_path(writer.folder, 1).stat().st_size
    blocks = blocks_of(writer, 1)
    for offset in random.Random(SEED).sample(range(size), TORN_OFFSETS // 2):
        records = tmp_path / "torn"
        shutil.copytree(original, records)
        os.truncate(spool_folder(records) / writer.folder.name / "00000001.segment", offset)
        store = MemoryStore(whole_segments=whole_segments)
        shipper = ship(records, store)
        whole = [(end, header) for _, end, header in blocks if end <= offset]
        expected = 60 + sum(header.rows for _, header in whole)
        assert shipper.problems == {}
        assert store.sequences(writer.start) == list(range(expected)), offset
        state = state_of(records, writer)
        assert (state.rows, state.stored, state.set_aside, state.gone) == (expected, expected, 0, True)
        assert state.torn_bytes == offset - max((end for end, _ in whole), default=0)
        assert not (spool_folder(records) / DAMAGED).exists()
        shutil.rmtree(records)


def test_a_flipped_byte_costs_the_block_that_it_is_in(
    spool: tuple[Path, SpoolWriter], tmp_path: Path
) -> None:
    original, writer = spool
    # The source of segment 0 has no other copy before it; the test after this one is about that.
    places = [
        (segment, offset, end, header)
        for segment in range(2)
        for offset, end, header in blocks_of(writer, segment)
        if (segment, header.kind) != (0, Kind.SOURCE)
    ]
    generator = random.Random(SEED)
    for _ in range(FLIPPED_BYTES):
        segment, begin, end, header = generator.choice(places)
        records = tmp_path / "flipped"
        shutil.copytree(original, records)
        path = spool_folder(records) / writer.folder.name / f"{segment:08d}.segment"
        data = bytearray(path.read_bytes())
        at = generator.randrange(begin, end)
        data[at] ^= 1 << generator.randrange(8)
        path.write_bytes(data)
        store = MemoryStore(whole_segments=True)
        shipper = ship(records, store)
        assert shipper.problems == {}
        rows_before = header.rows_before
        lost = set(range(rows_before, rows_before + header.rows))
        assert store.sequences(writer.start) == [each for each in range(120) if each not in lost], at
        state = state_of(records, writer)
        assert (state.rows, state.stored, state.set_aside) == (120, 120 - len(lost), len(lost))
        (aside,) = (spool_folder(records) / DAMAGED).iterdir()
        assert aside.name == f"{writer.start}-{segment:08d}-{begin}.bytes"
        assert aside.read_bytes() == data[begin:end]
        shutil.rmtree(records)


def test_many_flipped_bytes_cost_their_blocks_and_no_others(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path) as writer:
        writer.write(SOURCE, 5)
        writer.close_segment()
        for _ in range(400):
            writer.write(SOURCE, 5)
        writer.close_segment()
        writer.stop()
    generator = random.Random(SEED)
    damaged = generator.sample(list(blocks_of(writer, 1)), FLIPPED_BYTES)
    path = segment_path(writer.folder, 1)
    data = bytearray(path.read_bytes())
    for begin, end, _ in damaged:
        data[generator.randrange(begin, end)] ^= 1 << generator.randrange(8)
    path.write_bytes(data)
    ship_to_parquet(tmp_path)
    lost = {
        row for *_, header in damaged for row in range(header.rows_before, header.rows_before + header.rows)
    }
    assert lost
    assert stored_sequences(tmp_path) == [each for each in range(2005) if each not in lost]
    state = state_of(tmp_path, writer)
    assert (state.rows, state.stored, state.set_aside) == (2005, 2005 - len(lost), len(lost))
    assert state.set_aside_bytes == sum(end - begin for begin, end, _ in damaged)


class _Crash(BaseException):
    pass


def _crash_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Let a step that changes the disk be the last one: no later one is made. Returns a counter of steps."""
    steps = 0

    def counted(original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            nonlocal steps
            steps += 1
            if steps > step:
                raise _Crash
            return original(*arguments, **named)

        return call

    for name in ("mkdir", "replace", "rmdir", "unlink", "write_bytes"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    monkeypatch.setattr(os, "fsync", counted(os.fsync))
    return lambda: steps


def test_a_crash_after_any_step_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = tmp_path / "original"
    with SpoolWriter(original) as writer:
        for segment in range(3):
            writer.write(SOURCE, 5)
            writer.write(source(2, model="ltv"), 5)
            writer.write(SOURCE, 5)
            if segment < 2:
                writer.close_segment()
        writer.stop()
    # One block of the second segment is damaged.
    damaged = next(each for each in blocks_of(writer, 1) if each[2].kind == Kind.ROWS)
    path = segment_path(writer.folder, 1)
    data = bytearray(path.read_bytes())
    data[damaged[1] - 1] ^= 1
    path.write_bytes(data)
    expected = [each for each in range(45) if not 15 <= each < 20]
    step = 0
    while True:
        records = tmp_path / "crashed"
        shutil.copytree(original, records)
        with monkeypatch.context() as patch:
            steps = _crash_at(step, patch)
            try:
                ship_to_parquet(records)
            except _Crash:
                crashed = True
            else:
                crashed = False
            made = steps()
        shipper = ship_to_parquet(records)
        assert shipper.problems == {}, step
        assert stored_sequences(records) == expected, step
        state = state_of(records, writer)
        assert (state.rows, state.stored, state.set_aside, state.pieces) == (45, 40, 5, 1), step
        assert state.gone
        assert len(list((spool_folder(records) / DAMAGED).iterdir())) == 1
        assert [path.name for path in records.rglob("*.parquet.tmp")] == []
        shutil.rmtree(records)
        if not crashed:
            break
        step += 1
    assert made > 60


def kill_often(records: Path, kills: int, *, seed: int = SEED) -> SpoolWriter:
    """Record while shippers are killed at random moments; the last one may finish."""
    generator = random.Random(seed)
    command = [sys.executable, "-P", "-m", "scorewire_records", "ship", "--records", str(records)]
    with SpoolWriter(records) as writer:
        for _ in range(kills):
            shipper = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            try:
                status = spool_folder(records) / "shipper.json"
                before = status.stat().st_mtime_ns if status.exists() else 0
                while not status.exists() or status.stat().st_mtime_ns == before:
                    assert shipper.poll() is None
                # The shipper works now; these segments come while it does.
                for _ in range(generator.randrange(1, 20)):
                    writer.write(SOURCE, generator.randrange(1, 200))
                    writer.close_segment()
            finally:
                os.kill(shipper.pid, signal.SIGKILL)
                shipper.wait()
        writer.write(SOURCE, 10)
        writer.stop()
    subprocess.run([*command, "--once"], check=True)
    return writer


def test_shippers_that_are_killed_store_each_row_once(tmp_path: Path) -> None:
    writer = kill_often(tmp_path, KILLS)
    assert stored_sequences(tmp_path) == list(range(writer.next_sequence))
    state = state_of(tmp_path, writer)
    assert (state.rows, state.stored, state.set_aside) == (writer.next_sequence, writer.next_sequence, 0)
    assert state.gone
