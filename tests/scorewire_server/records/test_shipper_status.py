"""The shipper's status is read, or there is none, whatever the file has."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from scorewire_contract.records.identity import new_start
from scorewire_server.records.shipper_status import ShippedRows, ShipperStatus, read_status

# Fixed, since it is in the names of tests.
START = UUID("019a2b3c-4d5e-7f60-8a9b-0c1d2e3f0000")
ROWS = {"seen": 10, "stored": 4, "pending": 3, "set_aside": 2, "expired": 1}


def _tell(records: Path, text: str) -> None:
    (records / "_spool").mkdir()
    (records / "_spool" / "shipper.json").write_text(text)


def test_the_rows_of_this_start_are_read(tmp_path: Path) -> None:
    told = {"pid": 7, "time": "t1", "problem": "", "starts": {str(new_start()): {}, str(START): ROWS}}
    _tell(tmp_path, json.dumps(told))
    assert read_status(tmp_path, START) == ShipperStatus(told="t1", rows=ShippedRows(**ROWS))
    assert read_status(tmp_path, new_start()) == ShipperStatus(told="t1")


def test_the_rows_of_a_start_whose_spool_is_gone_are_read_from_its_state(tmp_path: Path) -> None:
    _tell(tmp_path, json.dumps({"time": "t2", "problem": None, "starts": {}}))
    (tmp_path / "_starts").mkdir()
    state = {"rows": 10, "stored": 7, "set_aside": 2, "expired": 1, "gone": True}
    (tmp_path / "_starts" / f"{START}.json").write_text(json.dumps(state))
    assert read_status(tmp_path, START) == ShipperStatus(
        told="t2", rows=ShippedRows(seen=10, stored=7, set_aside=2, expired=1)
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"time": 1, "problem": "", "starts": []}',
        json.dumps({"time": 1, "problem": "", "starts": {str(START): 7}}),
        json.dumps({"time": 1, "problem": "", "starts": {str(START): {**ROWS, "seen": "many"}}}),
        json.dumps({"time": 1, "problem": "", "starts": {str(START): {"seen": 1}}}),
    ],
)
def test_a_file_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    _tell(tmp_path, text)
    assert read_status(tmp_path, START) is None
    assert read_status(tmp_path / "nowhere", START) is None
