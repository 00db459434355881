"""Segments that a database has stored are kept, and stored again if it was restored from a backup."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from scorewire_contract.records.segments import segments
from scorewire_records.kept_segments import KeptSegments
from scorewire_records.shipper import Shipper
from scorewire_records.start_state import StartStates
from tests.scorewire_records.spools import SpoolWriter, source
from tests.scorewire_records.stores import MemoryStore

_SOURCE = source()
_HOUR = 3600.0


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    with SpoolWriter(tmp_path) as writer:
        yield writer


def _shipper(records: Path, store: MemoryStore, *, seconds: float = _HOUR) -> Shipper:
    return Shipper(records, store, StartStates(records), Event(), keep_stored_seconds=seconds)


def _write(writer: SpoolWriter, *, count: int) -> None:
    """Segments with a block of 10 rows each."""
    for _ in range(count):
        writer.write(_SOURCE, 10)
        writer.close_segment()


def _all_kept(records: Path) -> list[Path]:
    return sorted((records / "_stored").glob("*/*"))


@pytest.mark.parametrize("new_shipper", [True, False])
@pytest.mark.parametrize("after", [0, 1, 3, 8, 13])
def test_what_a_backup_lacks_is_stored_again(
    tmp_path: Path, writer: SpoolWriter, after: int, new_shipper: bool
) -> None:
    store = MemoryStore()
    shipper = _shipper(tmp_path, store)
    _write(writer, count=3)
    writer.write(_SOURCE, 10)
    shipper.ship()
    assert store.sequences(writer.start) == list(range(40))
    # The database is down for a moment.
    store.problem = "down"
    writer.write(_SOURCE, 10)
    shipper.ship()
    store.problem = ""
    store.forget(writer.start, after=after)
    if new_shipper:
        shipper = _shipper(tmp_path, store)
    shipper.ship()
    assert store.sequences(writer.start) == list(range(50))
    if after < 8:
        assert " 0 are lost" in shipper.problems["restored"]
    writer.stop()
    shipper.ship()
    state = StartStates(tmp_path).get(writer.start)
    assert state is not None
    assert (state.stored, state.missing, state.gone) == (50, 0, True)


def test_a_start_whose_spool_is_gone_is_stored_again(tmp_path: Path, writer: SpoolWriter) -> None:
    store = MemoryStore()
    _write(writer, count=3)
    writer.stop()
    _shipper(tmp_path, store).ship()
    assert not writer.folder.exists()
    store.forget(writer.start, after=0)
    shipper = _shipper(tmp_path, store)
    shipper.ship()
    assert store.sequences(writer.start) == list(range(30))
    assert "lacked 30 rows" in shipper.problems["restored"]
    # It is told once.
    shipper = _shipper(tmp_path, store)
    shipper.ship()
    assert shipper.problems == {}


def test_what_is_no_longer_kept_is_lost_and_counted(tmp_path: Path, writer: SpoolWriter) -> None:
    store = MemoryStore()
    _write(writer, count=4)
    _shipper(tmp_path, store).ship()
    for path in _all_kept(tmp_path)[:2]:
        path.unlink()
    store.forget(writer.start, after=4)
    shipper = _shipper(tmp_path, store)
    shipper.ship()
    assert store.sequences(writer.start) == [*range(10), *range(20, 40)]
    assert "lacked 30 rows" in shipper.problems["restored"]
    assert "20 of them were stored again, and 10 are lost" in shipper.problems["restored"]
    writer.write(_SOURCE, 10)
    writer.stop()
    shipper.ship()
    state = StartStates(tmp_path).get(writer.start)
    assert state is not None
    assert (state.rows, state.stored, state.missing) == (50, 40, 10)
    assert _shipper(tmp_path, store).ship() is False


def test_segments_are_kept_for_a_while(tmp_path: Path, writer: SpoolWriter) -> None:
    _write(writer, count=3)
    kept = KeptSegments(tmp_path, _HOUR)
    for _, path in segments(writer.folder):
        # The time in the spool does not count.
        os.utime(path, (0, 0))
        kept.keep(writer.start, path)
    assert [number for number, _ in kept.segments(writer.start)] == [0, 1, 2]
    old = kept.segments(writer.start)[1][1]
    os.utime(old, (0, 0))
    kept.prune()
    assert [number for number, _ in kept.segments(writer.start)] == [0, 2]
    for path in _all_kept(tmp_path):
        os.utime(path, (0, 0))
    kept.prune()
    assert kept.starts() == []
    assert list((tmp_path / "_stored").iterdir()) == []


def test_what_is_kept_is_removed_in_time_also_if_nothing_comes(tmp_path: Path, writer: SpoolWriter) -> None:
    _write(writer, count=2)
    _shipper(tmp_path, MemoryStore()).ship()
    for path in _all_kept(tmp_path):
        os.utime(path, (0, 0))
    _shipper(tmp_path, MemoryStore()).ship()
    assert _all_kept(tmp_path) == []


def test_nothing_is_kept_for_no_time(tmp_path: Path, writer: SpoolWriter) -> None:
    _write(writer, count=2)
    _shipper(tmp_path, MemoryStore(), seconds=0).ship()
    assert _all_kept(tmp_path) == []
    assert segments(writer.folder) == []


def test_nothing_is_kept_of_files(tmp_path: Path, writer: SpoolWriter) -> None:
    _write(writer, count=2)
    _shipper(tmp_path, MemoryStore(whole_segments=True)).ship()
    assert _all_kept(tmp_path) == []


def test_the_oldest_segments_give_way_on_a_small_disk(
    tmp_path: Path, writer: SpoolWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(writer, count=4)
    size = segments(writer.folder)[0][1].stat().st_size
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(free=10 * (2 * size + size // 2)))
    kept = KeptSegments(tmp_path, _HOUR)
    for index, (_, path) in enumerate(segments(writer.folder)):
        kept.keep(writer.start, path)
        stored = kept.segments(writer.start)[-1][1]
        os.utime(stored, ns=(0, stored.stat().st_mtime_ns + index))
    assert [number for number, _ in kept.segments(writer.start)] == [2, 3]
