"""A folder gives its files, and no path leads out of it, whatever changes meanwhile."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from scorewire_gateway.files import folder as folders
from scorewire_gateway.files.folder import AbsentError, Folder, Listing, OpenFile

from tests.processes import wait_until


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file and a folder, next to a secret."""
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "inner/a.txt").write_text("inner")
    (root / "a.txt").write_text("top")
    (tmp_path / "secret.txt").write_text("secret")
    return root


def read(root: Path, *names: str) -> str:
    found = Folder(root).open(names)
    assert isinstance(found, OpenFile)
    with found:
        return os.pread(found.descriptor, 100, 0).decode()


def names(root: Path, *path: str) -> list[str]:
    found = Folder(root).open(path)
    assert isinstance(found, Listing)
    return [each.name for each in found.entries]


def test_files_are_opened_and_folders_listed(root: Path) -> None:
    assert read(root, "a.txt") == "top"
    assert read(root, "inner", "a.txt") == "inner"
    listing = Folder(root).open([])
    assert isinstance(listing, Listing)
    file, inner = listing.entries
    assert (file.name, file.is_folder, file.size) == ("a.txt", False, 3)
    assert (inner.name, inner.is_folder) == ("inner", True)
    assert not listing.truncated


@pytest.mark.parametrize(
    "path",
    [
        ["none"],
        [""],
        ["inner", ""],
        ["."],
        [".."],
        ["..", "secret.txt"],
        ["inner", "..", "..", "secret.txt"],
        ["../secret.txt"],
        ["inner/a.txt"],
        ["/etc/passwd"],
        [".hidden"],
        ["a.txt", "x"],
        ["a\0b"],
        ["\ud800"],
        ["x" * 300],
        ["inner"] * 40,
    ],
)
def test_paths_to_nothing_and_out_of_the_folder_are_absent(root: Path, path: list[str]) -> None:
    (root / ".hidden").write_text("hidden")
    with pytest.raises(AbsentError):
        Folder(root).open(path)


def test_links_and_what_is_no_file_are_absent(root: Path) -> None:
    (root / "link.txt").symlink_to(root.parent / "secret.txt")
    (root / "own.txt").symlink_to("a.txt")
    (root / "out").symlink_to(root.parent)
    os.mkfifo(root / "pipe")
    for path in (["link.txt"], ["own.txt"], ["out", "secret.txt"], ["out"], ["pipe"]):
        with pytest.raises(AbsentError):
            Folder(root).open(path)
    assert names(root) == ["a.txt", "inner"]


def test_the_folder_itself_may_be_a_link(root: Path) -> None:
    (root.parent / "current").symlink_to(root)
    assert read(root.parent / "current", "a.txt") == "top"


@pytest.mark.parametrize("swapped", ["folder", "file"])
def test_no_race_leads_out_of_the_folder(root: Path, swapped: str) -> None:
    """Someone swaps a name between the real thing and a link, while it is opened again and again."""
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "a.txt").write_text("secret")
    done = threading.Event()
    name, target = ("inner", outside) if swapped == "folder" else ("inner/a.txt", outside / "a.txt")
    real, link = root / f"{name}.real", root / f"{name}.link"
    link.symlink_to(target)

    def swap() -> None:
        while not done.is_set():
            (root / name).rename(real)
            link.rename(root / name)
            (root / name).rename(link)
            real.rename(root / name)

    thread = threading.Thread(target=swap)
    thread.start()
    found: set[str] = set()
    tries = absent = 0

    def try_often() -> bool:
        nonlocal tries, absent
        for _ in range(1000):
            tries += 1
            try:
                found.add(read(root, "inner", "a.txt"))
            except AbsentError:
                absent += 1
        return tries >= 5000 and bool(absent) and bool(found)

    try:
        wait_until(try_often, "a race")
    finally:
        done.set()
        thread.join()
    assert found == {"inner"}


def test_listings_have_a_bound(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(12):
        (root / f"inner/{i:02}").write_text("")
    monkeypatch.setattr(folders, "MAX_ENTRIES", 10)
    listing = Folder(root).open(["inner"])
    assert isinstance(listing, Listing)
    assert [each.name for each in listing.entries] == [f"{i:02}" for i in range(10)]
    assert listing.truncated
    monkeypatch.setattr(folders, "_MAX_READ", 5)
    listing = Folder(root).open(["inner"])
    assert isinstance(listing, Listing)
    assert (len(listing.entries), listing.truncated) == (5, True)


def test_names_that_are_no_text_are_left_out(root: Path) -> None:
    (Path(os.fsdecode(os.fsencode(root) + b"/\xff.txt"))).write_text("")
    assert names(root) == ["a.txt", "inner"]


def test_nothing_stays_open(root: Path) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    (root / "link").symlink_to("a.txt")
    before = count()
    for _ in range(20):
        read(root, "inner", "a.txt")
        names(root)
        for path in (["none"], ["link"], ["a.txt", "x"]):
            with pytest.raises(AbsentError):
                Folder(root).open(path)
    assert count() == before


@pytest.mark.parametrize("seconds", [1 << 40, -(1 << 40)])
def test_a_time_beyond_all_calendars_hides_no_file(root: Path, seconds: int) -> None:
    try:
        os.utime(root / "a.txt", (seconds, seconds))
    except OSError:
        pytest.skip("the file system has no such times")
    assert names(root) == ["a.txt", "inner"]
    found = Folder(root).open(["a.txt"])
    assert isinstance(found, OpenFile)
    with found:
        assert found.modified.year in range(1, 10_000)
