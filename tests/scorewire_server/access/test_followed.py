from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from scorewire_server.access import followed as followed_module
from scorewire_server.access.followed import Followed, Source, read_file
from scorewire_server.access.tables import AccessError

FORMS = ("in place", "renamed", "link", "same size and times")


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _parse(contents: Sequence[bytes]) -> str:
    text = b"+".join(contents).decode()
    if "bad" in text:
        raise AccessError(f"{text} is bad")
    if "fault" in text:
        raise KeyError(text)
    return text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("one")
    return path


def _follow(*paths: Path, clock: _Clock | None = None) -> Followed[str]:
    file = Followed([Source(path, 100) for path in paths], _parse, "", clock or _Clock())
    file.start()
    return file


def _write(path: Path, text: str, form: str) -> None:
    if form == "in place":
        path.write_text(text)
    elif form == "renamed":
        new = path.with_name("new")
        new.write_text(text)
        new.replace(path)
    elif form == "link":
        target = path.with_name(f"target-{text}")
        target.write_text(text)
        link = path.with_name("link")
        link.symlink_to(target.name)
        link.replace(path)
    else:
        times = path.stat()
        path.write_text(text)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("form", FORMS)
def test_a_change_is_used_when_it_is_found_twice(path: Path, form: str) -> None:
    file = _follow(path)
    assert file.value == "one"
    for text in ("two", "six", "ten"):
        _write(path, text, form)
        assert not file.look()
        assert file.look()
        assert file.value == text
        assert not file.look()


def test_each_change_of_a_file_that_goes_on_changing_waits(path: Path) -> None:
    file = _follow(path)
    for number in range(10):
        path.write_text(f"part {number}")
        assert not file.look()
        assert file.value == "one"
    assert file.look()
    assert file.value == "part 9"


def test_half_of_a_file_is_no_problem_if_the_next_look_finds_all_of_it(path: Path) -> None:
    file = _follow(path)
    path.write_text("bad")
    file.look()
    path.write_text("good")
    file.look()
    assert file.problem == ""
    assert file.look()
    assert file.value == "good"


def test_a_broken_file_changes_nothing_until_it_is_in_order(path: Path) -> None:
    file = _follow(path)
    path.write_text("bad")
    for _ in range(3):
        assert not file.look()
    assert file.problem == "bad is bad"
    assert file.value == "one"
    path.write_text("two")
    file.look()
    assert file.look()
    assert (file.value, file.problem) == ("two", "")


def test_the_former_content_ends_a_problem_without_a_new_value(path: Path) -> None:
    file = _follow(path)
    value = file.value
    path.write_text("bad")
    file.look()
    file.look()
    path.write_text("one")
    assert not file.look()
    assert file.problem == ""
    assert file.value is value


def test_a_missing_file_is_a_problem_at_the_second_look(path: Path) -> None:
    file = _follow(path)
    path.unlink()
    file.look()
    assert file.problem == ""
    file.look()
    assert file.problem == f"{path} cannot be read: No such file or directory"
    path.write_text("one")
    file.look()
    assert file.problem == ""


def test_a_fault_while_a_file_is_read_is_a_problem_of_the_file(path: Path) -> None:
    file = _follow(path)
    path.write_text("fault")
    file.look()
    assert not file.look()
    assert file.problem == "it cannot be read: KeyError"
    assert file.value == "one"


def test_several_files_are_one_value(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("a")
    second.write_text("b")
    file = _follow(first, second)
    assert file.value == "a+b"
    second.write_text("c")
    file.look()
    assert file.look()
    assert file.value == "a+c"
    # The same bytes in all, divided in another way.
    first.write_text("a+")
    second.write_text("c")
    file.look()
    assert file.look()


def test_a_file_that_has_not_changed_for_long_is_not_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed_module, "_COARSE_NS", -3_600_000_000_000)
    clock = _Clock()
    file = _follow(path, clock=clock)
    monkeypatch.setattr(followed_module, "read_file", lambda _: pytest.fail("the file is read"))
    clock.now = 200.0
    assert not file.look()
    assert file.confirmed == 200.0


def test_a_file_is_confirmed_as_long_as_it_is_in_order(path: Path) -> None:
    clock = _Clock()
    file = _follow(path, clock=clock)
    assert file.confirmed == 100.0
    clock.now = 200.0
    file.look()
    assert file.confirmed == 200.0
    path.write_text("bad")
    for now in (300.0, 400.0):
        clock.now = now
        file.look()
    assert file.confirmed == 200.0


def test_what_is_no_readable_small_file_is_refused(tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    large.write_bytes(bytes(101))
    for path, reason in (
        (tmp_path, "cannot be read: Is a directory"),
        (pipe, "is no file"),
        (large, "has more than 100 bytes"),
        (tmp_path / "none", "cannot be read: No such file or directory"),
        (tmp_path / "a\0b", "cannot be read: embedded null byte"),
    ):
        with pytest.raises(AccessError, match=reason):
            read_file(Source(path, 100))
        with pytest.raises(AccessError):
            _follow(path)
