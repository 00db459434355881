"""The shipper's process is kept running, and ends with the server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from scorewire_contract.service.start import StartError
from scorewire_server.records import shipper as shipper_module
from scorewire_server.records.shipper import Shipper, shipper_command
from scorewire_server.settings import Settings
from tests.scorewire_server.engine.running import until

# Writes its id when it has started, and a last word when its standard input closes.
WORKS = """
import os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
(folder / f"started-{os.getpid()}").write_text(str(os.getpriority(os.PRIO_PROCESS, 0)))
sys.stdin.read()
(folder / f"ended-{os.getpid()}").touch()
"""
FAILS = "import sys; sys.stderr.buffer.write(b'no\\xe9 database\\n'); sys.exit(3)"
HANGS = """
import pathlib, sys, time
(pathlib.Path(sys.argv[1]) / "started-0").touch()
time.sleep(600)
"""


def _shipper(script: str, folder: Path) -> Shipper:
    return Shipper([sys.executable, "-c", script, str(folder)])


def _names(folder: Path, prefix: str) -> list[str]:
    return sorted(path.name.removeprefix(prefix) for path in folder.glob(f"{prefix}*"))


def _children() -> set[int]:
    """The children of this process, also those that have ended and were not waited for."""
    return {child.pid for child in psutil.Process().children()}


async def test_it_runs_at_the_lowest_priority_and_makes_a_last_pass(tmp_path: Path) -> None:
    before = _children()
    shipper = _shipper(WORKS, tmp_path)
    shipper.start()
    await until(lambda: _names(tmp_path, "started-") != [])
    await shipper.stop()
    assert _names(tmp_path, "ended-") == _names(tmp_path, "started-")
    assert shipper.restarts == 0
    assert shipper.problem == ""
    assert _children() <= before


async def test_the_priority_is_set_soon(tmp_path: Path) -> None:
    shipper = _shipper(WORKS, tmp_path)
    shipper.start()
    await until(lambda: _names(tmp_path, "started-") != [])
    process = int(_names(tmp_path, "started-")[0])
    # The process may run before the server comes to set its priority.
    await until(lambda: os.getpriority(os.PRIO_PROCESS, process) == 19)
    assert os.getsid(process) == process
    await shipper.stop()


async def test_a_shipper_that_fails_is_run_again_and_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper_module, "_FIRST_PAUSE_SECONDS", 0.01)
    shipper = _shipper(FAILS, tmp_path)
    with capture_logs() as lines:
        shipper.start()
        await until(lambda: shipper.restarts >= 2)
        await shipper.stop()
    assert shipper.problem == "the shipper ended with exit code 3: no\ufffd database"
    said = [line for line in lines if line["event"] == "the shipper of records says"]
    assert {line["line"] for line in said} == {"no\ufffd database"}


async def test_a_stop_while_it_waits_for_another_try_gives_it_a_last_pass(tmp_path: Path) -> None:
    fails_first = f"""
import pathlib, sys
if not list(pathlib.Path(sys.argv[1]).glob("started-*")):
    (pathlib.Path(sys.argv[1]) / "started-0").touch()
    sys.exit(1)
{WORKS}"""
    shipper = _shipper(fails_first, tmp_path)
    shipper.start()
    await until(lambda: shipper.problem != "")
    await shipper.stop()
    assert len(_names(tmp_path, "ended-")) == 1


async def test_a_shipper_that_hangs_is_killed_when_its_time_is_over(tmp_path: Path) -> None:
    before = _children()
    shipper = _shipper(HANGS, tmp_path)
    shipper.start()
    await until(lambda: _names(tmp_path, "started-") != [])
    with capture_logs() as lines:
        await shipper.stop(seconds=0.1)
    assert "is killed" in lines[0]["event"]
    assert _children() <= before


async def test_a_command_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    shipper = Shipper([str(tmp_path / "nowhere")])
    shipper.start()
    await until(lambda: shipper.problem != "")
    assert "No such file" in shipper.problem
    await shipper.stop()


async def test_a_shipper_that_was_never_started_stops_at_once(tmp_path: Path) -> None:
    await _shipper(WORKS, tmp_path).stop()
    assert _names(tmp_path, "started-") == []


async def test_a_flood_without_line_ends_is_bounded(tmp_path: Path) -> None:
    floods = "import sys; sys.stderr.write('x' * (1 << 22)); sys.stderr.flush(); sys.stdin.read()"
    shipper = _shipper(floods, tmp_path)
    with capture_logs() as lines:
        shipper.start()
        await shipper.stop()
    assert all(len(line["line"]) <= 4000 for line in lines)


def test_the_command_has_the_settings_and_no_password(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("hunter2")
    command = shipper_command(
        Settings(
            records=tmp_path, records_to="postgresql://app@db/scores", records_password_file=tmp_path / "pw"
        )
    )
    assert command[:4] == [sys.executable, "-P", "-m", "scorewire_records"]
    assert command[4:] == [
        *("ship", "--records", str(tmp_path)),
        *("--to", "postgresql://app@db/scores", "--password-file", str(tmp_path / "pw")),
        "--supervised",
    ]
    assert "--to" not in shipper_command(Settings(records=tmp_path))


@pytest.mark.parametrize("name", ["missing", "x" * 300])
def test_a_password_file_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    settings = Settings(records=tmp_path, records_to="postgresql://db", records_password_file=tmp_path / name)
    with pytest.raises(StartError, match="--records-password-file .* is no file"):
        shipper_command(settings)


def test_a_missing_distribution_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipper_module, "PACKAGE", "scorewire_nowhere")
    with pytest.raises(StartError, match="pip install scorewire-records"):
        shipper_command(Settings(records=tmp_path))
