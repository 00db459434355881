"""The control plane of records as a whole, with an engine and a shipper that the tests stand for."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from scorewire_contract.bundle import Bundle
from scorewire_contract.service.start import StartError
from scorewire_server.engine.recording import RecordCounts
from scorewire_server.engine.statistics import RouteKey
from scorewire_server.records import records as records_module
from scorewire_server.records.problems import Problems
from scorewire_server.records.records import Records
from scorewire_server.records.shipper_status import ShipperStatus
from scorewire_server.settings import Settings
from tests.scorewire_server.engine.running import until
from tests.scorewire_server.models import loaded_version, snapshot_of, zeros

# Tells, in its last pass, that it has stored ten rows of the start that it is told of.
STORES_TEN = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
def tell(time, stored):
    rows = {"seen": 10, "stored": stored, "pending": 10 - stored, "set_aside": 0, "expired": 0}
    starts = {(folder / "start").read_text(): rows}
    text = json.dumps({"time": time, "problem": "", "starts": starts})
    (folder / "_spool").mkdir(exist_ok=True)
    (folder / "_spool" / "next").write_text(text)
    (folder / "_spool" / "next").replace(folder / "_spool" / "shipper.json")
tell(1, 0)
sys.stdin.read()
tell(2, 10)
"""


class _Counts:
    """The counts of an engine, which a test changes."""

    def __init__(self) -> None:
        self.now = RecordCounts(offered=10, spooled=10)
        self.published = 0
        self.failures = 0

    def get(self) -> RecordCounts:
        return self.now

    def publish(self) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("not now")
        self.published += 1


class _LookCounter:
    """Counts how often the problems were looked for, at short intervals."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        find = Problems.find

        def counting(problems: Problems, counts: RecordCounts, status: ShipperStatus) -> list[str]:
            self.count += 1
            return find(problems, counts, status)

        monkeypatch.setattr(Problems, "find", counting)
        monkeypatch.setattr(records_module, "_SECONDS_BETWEEN_LOOKS", 0.01)


@pytest.fixture
def counts() -> _Counts:
    return _Counts()


@pytest.fixture
async def records(tmp_path: Path, counts: _Counts, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Records]:
    """Records with a policy, and a shipper that stores ten rows at the end."""
    monkeypatch.setattr(records_module, "_SECONDS_BETWEEN_LOOKS", 0.01)
    folder = tmp_path / "records"
    command = [sys.executable, "-c", STORES_TEN, str(folder)]
    monkeypatch.setattr(records_module, "shipper_command", lambda _: command)
    (tmp_path / "policy.toml").write_text("")
    (tmp_path / "models").mkdir()
    settings = Settings(records=folder, records_policy=tmp_path / "policy.toml", models=tmp_path / "models")
    made = Records(settings, counts.get, counts.publish)
    (folder / "start").write_text(str(made.options.start))
    made.start()
    yield made
    await made.close()


async def test_the_ledger_has_both_sides_and_the_last_pass(records: Records, tmp_path: Path) -> None:
    await until((tmp_path / "records" / "_spool" / "shipper.json").exists)
    assert (records.ledger.offered, records.ledger.stored, records.ledger.pending) == (10, 0, 10)
    with capture_logs() as lines:
        await records.close()
    assert (records.ledger.offered, records.ledger.stored, records.ledger.pending) == (10, 10, 0)
    (line,) = [line for line in lines if line["event"] == "records of this start"]
    assert line["start"] == str(records.options.start)
    assert line["stored"] == 10


async def test_a_new_policy_is_published(records: Records, counts: _Counts, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("[default]\nshare = 0.5")
    await until(lambda: counts.published == 1)


async def test_a_policy_that_could_not_be_published_is_published_by_the_next_look(
    records: Records, counts: _Counts, tmp_path: Path
) -> None:
    counts.failures = 2
    with capture_logs() as lines:
        (tmp_path / "policy.toml").write_text("[default]\nshare = 0.5")
        await until(lambda: counts.published == 1)
    assert [line["event"] for line in lines].count("call failed by a fault of the server") == 2


async def test_a_policy_that_does_not_fit_the_models_that_serve_is_a_problem(
    records: Records, counts: _Counts, tmp_path: Path, sum_bundle: Bundle
) -> None:
    snapshot = snapshot_of(loaded_version(sum_bundle, zeros))
    assert RouteKey("sum", "1.0.0", "") in records.sources(snapshot)
    (tmp_path / "policy.toml").write_text('[models.sum.features]\ncontry = "drop"')
    await until(lambda: "did you mean 'country'?" in records.ledger.problem)
    assert counts.published == 0
    assert RouteKey("sum", "1.0.0", "") in records.sources(snapshot)


async def test_a_problem_of_the_engine_is_told_and_its_end_too(records: Records, counts: _Counts) -> None:
    with capture_logs() as lines:
        counts.now = RecordCounts(problem="the disk is full")
        await until(lambda: records.ledger.problem == "the disk is full")
        counts.now = RecordCounts()
        await until(lambda: records.ledger.problem == "")
    assert [line["event"] for line in lines] == [
        "predictions are not recorded as they should be",
        "predictions are recorded again",
    ]


def test_the_folder_is_for_this_user_only_and_each_start_has_an_id(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "records"
    starts = [Records(Settings(records=folder), RecordCounts, lambda: None).options.start for _ in range(2)]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert starts[0] != starts[1]
    assert all(isinstance(start, UUID) and start.version == 7 and start.int % 65536 == 0 for start in starts)


def test_segments_leave_room_in_a_small_spool(tmp_path: Path) -> None:
    sizes = [
        Records(
            Settings(records=tmp_path, records_spool_bytes=bytes_), RecordCounts, lambda: None
        ).options.segment_bytes
        for bytes_ in (1 << 20, 256 << 20, 4 << 30)
    ]
    assert sizes == [1 << 16, 16 << 20, 64 << 20]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "records").touch()
    with pytest.raises(StartError, match="name a folder"):
        Records(Settings(records=tmp_path / "records"), RecordCounts, lambda: None)


def test_a_folder_that_cannot_be_made_is_no_reason_not_to_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with capture_logs() as lines:
        Records(Settings(records=tmp_path / "file" / "records"), RecordCounts, lambda: None)
    assert lines[0]["event"] == "the folder of records cannot be made"


def test_a_link_that_leads_nowhere_is_no_reason_not_to_start(tmp_path: Path) -> None:
    (tmp_path / "records").symlink_to(tmp_path / "not-mounted")
    with capture_logs() as lines:
        Records(Settings(records=tmp_path / "records"), RecordCounts, lambda: None)
    assert lines[0]["event"] == "the folder of records cannot be made"


def test_a_folder_with_an_impossible_name_is_no_reason_not_to_start(tmp_path: Path) -> None:
    with capture_logs() as lines:
        Records(Settings(records=tmp_path / ("x" * 300)), RecordCounts, lambda: None)
    assert lines[0]["event"] == "the folder of records cannot be made"
    assert lines[0]["reason"] == "File name too long"


def test_a_wrong_policy_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("[defaults]")
    settings = Settings(records=tmp_path / "records", records_policy=tmp_path / "policy.toml")
    with pytest.raises(StartError, match="--records-policy .*did you mean 'default'"):
        Records(settings, RecordCounts, lambda: None)


async def test_what_an_earlier_shipper_told_last_is_not_of_today(
    tmp_path: Path, counts: _Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = _LookCounter(monkeypatch)
    folder = tmp_path / "records"
    (folder / "_spool").mkdir(parents=True)
    told = {"time": "yesterday", "problem": "no database", "starts": {}}
    (folder / "_spool" / "shipper.json").write_text(json.dumps(told))
    monkeypatch.setattr(records_module, "shipper_command", lambda _: [sys.executable, "-c", "input()"])
    records = Records(Settings(records=folder), counts.get, counts.publish)
    records.start()
    await until(lambda: looks.count >= 2)
    assert records.ledger.problem == ""
    told |= {"time": "today"}
    (folder / "_spool" / "shipper.json").write_text(json.dumps(told))
    await until(lambda: records.ledger.problem == "no database")
    await records.close()


async def test_without_a_status_everything_is_pending(tmp_path: Path, counts: _Counts) -> None:
    records = Records(Settings(records=tmp_path / "records"), counts.get, counts.publish)
    assert records.ledger.pending == 10
    await records.close()
