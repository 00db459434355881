from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from scorewire_contract.service import durable
from scorewire_contract.service.start import StartError
from scorewire_server.control.audit_file import AuditFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_lines_are_appended_to_what_is_there(path: Path) -> None:
    path.write_bytes(b"before\n")
    file = AuditFile(path)
    file.append(b"first")
    file.append(b"second")
    assert path.read_bytes() == b"before\nfirst\nsecond\n"
    file.close()


def test_a_new_file_is_not_for_all_users(path: Path) -> None:
    before = os.umask(0)
    try:
        AuditFile(path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_each_line_is_one_write_and_on_the_disk_when_append_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AuditFile(path)
    done: list[str] = []
    write, sync = os.write, os.fsync

    def written(descriptor: int, data: bytes) -> int:
        done.append("write")
        return write(descriptor, data)

    def synced(descriptor: int) -> None:
        done.append("sync")
        sync(descriptor)

    monkeypatch.setattr(os, "write", written)
    monkeypatch.setattr(os, "fsync", synced)
    file.append(b"x" * 100_000)
    assert done == ["write", "sync"]
    file.close()


def test_a_file_that_was_renamed_gets_no_more_lines(path: Path) -> None:
    file = AuditFile(path)
    file.append(b"first")
    old = path.rename(path.with_suffix(".1"))
    file.append(b"second")
    assert (old.read_bytes(), path.read_bytes()) == (b"first\n", b"second\n")
    path.unlink()
    file.append(b"third")
    assert path.read_bytes() == b"third\n"
    file.close()


def test_a_file_that_was_copied_and_emptied_goes_on_at_its_beginning(path: Path) -> None:
    file = AuditFile(path)
    file.append(b"first")
    os.truncate(path, 0)
    file.append(b"second")
    assert path.read_bytes() == b"second\n"
    file.close()


def test_half_a_line_of_a_killed_server_does_not_swallow_the_next_one(path: Path) -> None:
    path.write_bytes(b'first\n{"half')
    file = AuditFile(path)
    file.append(b"second")
    file.append(b"third")
    assert path.read_bytes() == b'first\n{"half\nsecond\nthird\n'
    file.close()


def test_a_line_that_was_written_in_part_is_a_failure_and_the_next_one_begins_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AuditFile(path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with pytest.raises(OSError, match="only 3 of 7 bytes"):
        file.append(b"second")
    monkeypatch.undo()
    file.append(b"third")
    assert path.read_bytes() == b"sec\nthird\n"
    file.close()


def test_a_file_that_cannot_be_opened_again_is_a_failure_until_it_can(path: Path) -> None:
    file = AuditFile(path)
    folder = path.parent / "folder"
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        file.append(b"first")
    path.rename(folder)
    file.append(b"second")
    assert path.read_bytes() == b"second\n"
    file.close()


@pytest.mark.parametrize("kind", ["folder", "pipe", "no folder", "device"])
def test_what_is_no_file_is_an_error_at_the_start(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path(os.devnull)
    else:
        path = tmp_path / "missing" / "audit.jsonl"
    before = _descriptors()
    with pytest.raises(StartError, match=r"^--audit .* cannot be written: "):
        AuditFile(path)
    assert _descriptors() == before


def test_the_name_of_a_new_file_is_on_the_disk_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(durable, "sync_folders", synced.extend)
    AuditFile(path).close()
    assert synced == [path]
