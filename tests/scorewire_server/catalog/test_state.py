from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from scorewire_contract.service.stale_files import remove_stale_files
from scorewire_contract.service.start import StartError
from scorewire_server.catalog.state import FORMAT_VERSION, MAX_HISTORY, ModelState, StateFile, _checksum
from scorewire_server.engine.snapshot import Routing, Shadow

FULL = ModelState(
    routing=Routing((("1.0.0", 90), ("1.1.0", 10)), {"stable": "1.0.0"}, Shadow("2.0.0", 0.25)),
    history=(Routing(), Routing((("1.0.0", 1),))),
    explicit={"1.0.0": True, "3.0.0": False},
)


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "state.json")


def _names(file: StateFile) -> set[str]:
    return {path.name for path in file.path.parent.iterdir()}


def test_what_is_written_is_read_again(file: StateFile) -> None:
    assert file.read() == {}
    file.write({"sum": FULL, "other": ModelState()})
    assert file.read() == {"sum": FULL, "other": ModelState()}
    assert _names(file) == {"state.json"}


def test_the_file_before_is_kept(file: StateFile) -> None:
    file.write({"sum": ModelState()})
    file.write({"sum": FULL})
    assert _names(file) == {"state.json", "state.json.last"}
    assert StateFile(file.path.with_name("state.json.last")).read() == {"sum": ModelState()}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps({"format_version": FORMAT_VERSION + 1, "models": {}}).encode(),
        json.dumps({"format_version": FORMAT_VERSION}).encode(),
        json.dumps({"format_version": FORMAT_VERSION, "models": {"../up": {}}}).encode(),
        json.dumps({"format_version": FORMAT_VERSION, "models": {"sum": {}}}).encode(),
        b" " * ((4 << 20) + 1),
    ],
)
def test_a_broken_file_is_put_aside_and_the_last_good_one_is_used(file: StateFile, content: bytes) -> None:
    file.write({"sum": FULL})
    file.write({"sum": ModelState()})
    file.path.write_bytes(content)
    with capture_logs() as logs:
        assert file.read() == {"sum": FULL}
    assert [entry["event"] for entry in logs] == [
        "state refused",
        "state put aside; the last good one is used",
    ]
    assert logs[0]["reason"]
    assert file.path.with_name("state.json.broken").read_bytes() == content
    file.write({"sum": ModelState()})
    assert file.read() == {"sum": ModelState()}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("split", [["1.0.0", -1]]),
        ("split", [["1.0.0", 1.5]]),
        ("split", [["one", 1]]),
        ("split", [["1.0.0"]]),
        ("aliases", {"UP": "1.0.0"}),
        ("aliases", {"stable": "one"}),
        ("shadow", ["1.0.0", 0]),
        ("shadow", ["1.0.0", 2]),
        ("shadow", 1),
    ],
)
def test_a_routing_that_cannot_be_is_refused(file: StateFile, part: str, value: object) -> None:
    file.write({"sum": FULL})
    told = json.loads(file.path.read_bytes())
    told["models"]["sum"]["routing"][part] = value
    told["sha256"] = _checksum(told["models"])
    file.path.write_text(json.dumps(told), encoding="utf-8")
    with capture_logs() as logs:
        assert file.read() == {}
    assert "not a valid state file" in logs[0]["reason"]


def test_a_file_cut_anywhere_gives_the_last_good_state_or_its_own(file: StateFile) -> None:
    file.write({"sum": ModelState()})
    file.write({"sum": FULL})
    content, last = file.path.read_bytes(), file.path.with_name("state.json.last").read_bytes()
    for length in range(len(content)):
        file.path.write_bytes(content[:length])
        with capture_logs() as logs:
            found = file.read()
        # Every byte but the newline at the end is needed.
        assert found == {"sum": FULL if length == len(content) - 1 else ModelState()}, length
        assert bool(logs) == (length < len(content) - 1)
        assert file.path.with_name("state.json.last").read_bytes() == last


def test_a_bit_that_flips_gives_the_last_good_state_or_its_own(file: StateFile) -> None:
    file.write({"sum": ModelState()})
    file.write({"sum": FULL})
    content = file.path.read_bytes()
    found = {True: 0, False: 0}
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        file.path.write_bytes(flipped)
        with capture_logs():
            states = file.read()
        assert states in ({"sum": FULL}, {"sum": ModelState()}), place
        found[states == {"sum": FULL}] += 1
    # Different white space is allowed.
    assert found[False] > found[True]


def test_a_file_of_the_format_without_a_checksum_is_read(file: StateFile) -> None:
    old = Path(__file__).with_name("states") / "format-1.json"
    file.path.write_bytes(old.read_bytes())
    assert file.read() == {"sum": FULL, "other": ModelState()}
    file.write(file.read())
    assert json.loads(file.path.read_bytes())["format_version"] == FORMAT_VERSION


def test_a_file_without_its_checksum_is_no_old_one(file: StateFile) -> None:
    file.write({"sum": FULL})
    told = json.loads(file.path.read_bytes())
    file.path.write_text(json.dumps({**told, "format_version": 1}), encoding="utf-8")
    assert file.read() == {}


def test_two_servers_do_not_share_a_file(file: StateFile) -> None:
    file.open()
    with pytest.raises(StartError, match=f"process {os.getpid()}.*give each a file of its own"):
        StateFile(file.path).open()
    other = StateFile(file.path.with_name("other.json"))
    other.open()
    other.close()
    file.close()
    next_one = StateFile(file.path)
    next_one.open()
    next_one.write({"sum": FULL})
    with pytest.raises(OSError, match="about to stop"):
        file.write({})
    assert next_one.read() == {"sum": FULL}
    next_one.close()


def test_a_folder_that_takes_no_lock_is_said_and_the_state_is_read(tmp_path: Path) -> None:
    with capture_logs() as logs:
        file = StateFile(tmp_path / "none" / "state.json")
        file.open()
        assert file.read() == {}
    assert [entry["event"] for entry in logs] == ["state file not locked"]
    file.close()


def test_what_a_server_that_was_killed_left_half_written_is_removed(file: StateFile) -> None:
    kept = {"state.json.last", "state.json.broken", "state.json.12a", "other.json.12", "state.json.lock"}
    for name in (*kept, f"state.json.{os.getpid()}", "state.json.1", "state.json.4194305"):
        file.path.with_name(name).write_bytes(b"")
    file.open()
    assert _names(file) == kept
    file.close()


def test_what_a_process_that_runs_is_writing_is_left(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    for number in (os.getpid(), gone.pid, 10**30):
        (tmp_path / f".port.{number}").write_bytes(b"")
    (tmp_path / ".port.now").mkdir()
    remove_stale_files(tmp_path, ".port.", including_running=False)
    assert {path.name for path in tmp_path.iterdir()} == {f".port.{os.getpid()}", ".port.now"}


def test_nothing_is_lost_where_the_file_cannot_be_written(file: StateFile) -> None:
    file.write({"sum": FULL})
    with pytest.raises(FileNotFoundError):
        StateFile(file.path.parent / "none" / "state.json").write({"sum": ModelState()})
    file.path.with_name("state.json.last").mkdir()
    with pytest.raises(IsADirectoryError):
        file.write({"sum": ModelState()})
    assert file.read() == {"sum": FULL}
    assert _names(file) == {"state.json", "state.json.last"}


def test_what_could_not_be_read_again_is_not_written(file: StateFile) -> None:
    file.write({"sum": FULL})
    aliases = {f"a{number}-{'x' * 50}": "1.0.0" for number in range(2000)}
    huge = ModelState(history=(Routing(aliases=aliases),) * MAX_HISTORY)
    with pytest.raises(OSError, match="more than 4194304"):
        file.write({"sum": huge})
    assert file.read() == {"sum": FULL}
    assert _names(file) == {"state.json"}


def test_the_highest_release_is_named_wherever_it_was_followed() -> None:
    split = Routing((("0.9.0", 1),))
    state = ModelState(Routing(aliases={"stable": "1.0.0"}), (Routing(), split)).pinned("1.0.0")
    assert [each.split for each in (*state.history, state.routing)] == [
        (("1.0.0", 1),),
        (("0.9.0", 1),),
        (("1.0.0", 1),),
    ]
    assert state.routing.aliases == {"stable": "1.0.0"}


def test_the_history_is_bounded() -> None:
    state = ModelState()
    for weight in range(1, MAX_HISTORY + 10):
        state = state.changed(Routing((("1.0.0", weight),)))
    assert len(state.history) == MAX_HISTORY
    assert state.history[-1].split == (("1.0.0", MAX_HISTORY + 8),)
