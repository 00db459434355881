from __future__ import annotations

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from scorewire_server.engine.snapshot import Routing, Shadow
from scorewire_server.state import FORMAT_VERSION, MAX_HISTORY, ModelState, StateFile

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
    file.path.write_text(json.dumps(told), encoding="utf-8")
    assert file.read() == {}


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
