"""The same predictions in PostgreSQL and in Parquet files."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from scorewire import Client, Prediction
from scorewire_contract.records.segments import spool_folder
from scorewire_records.folder_reader import FolderReader
from scorewire_records.parquet_store import ParquetStore
from scorewire_records.postgresql.reader import PostgresReader
from scorewire_records.postgresql.schema import init
from scorewire_records.shipper import Shipper
from scorewire_records.start_state import StartStates
from tests.bundles import write_sum_bundle
from tests.conformance.engines import ENGINES
from tests.processes import serving
from tests.scorewire_records.postgresql.server import PostgresServer, binaries, running_server

_ROWS = 4000
_SELECT = "SELECT * FROM sum ORDER BY prediction_id, row"


@pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed")
@pytest.mark.parametrize("engine", ENGINES)
def test_both_stores_have_what_was_answered(engine: str, tmp_path: Path) -> None:
    with running_server() as server:
        compare_stores(server, engine, tmp_path, _ROWS)


def compare_stores(server: PostgresServer, engine: str, folder: Path, count: int) -> None:
    """Have `count` rows scored and recorded, and compare both stores with the answers, bit for bit."""
    database = server.database()
    init(database)
    write_sum_bundle(folder / "models")
    records = folder / "records"
    flags = ["--engine", engine, "--records", records, "--records-to", server.url()]
    with serving(folder, folder / "models", *flags) as running, Client(running.address) as client:
        answers: list[Prediction] = []
        rows = [_row(number) for number in range(count)]
        for first in range(0, count, 1000):
            answers += client.predict("sum", rows[first : first + 900])
            answers += client.predict_stream("sum", rows[first + 900 : first + 1000])
        assert running.stop() == 0

    with PostgresReader(database).query("SELECT * FROM scorewire.sum") as found:
        in_database = {_key(row): row for row in found.read_all().to_pylist()}
    with PostgresReader(database).query("SELECT * FROM scorewire.gaps") as gaps:
        assert gaps.read_all().num_rows == 0
    # The segments that are kept after they were stored become files.
    again = folder / "again"
    spool_folder(again).parent.mkdir()
    (records / "_stored").rename(spool_folder(again))
    states = StartStates(again)
    shipper = Shipper(again, ParquetStore(again, states), states, Event())
    while shipper.ship():
        pass
    with FolderReader(again).query("FROM sum") as found:
        in_files = {_key(row): row for row in found.read_all().to_pylist()}

    assert len(in_database) == len(in_files) == len(answers) == count
    for answer, asked in zip(answers, rows, strict=True):
        assert answer.id is not None
        row, other = in_database[answer.id], in_files[answer.id]
        assert _bits({name: row[name] for name in other}) == _bits(other)
        assert _bits(row["feature_x0"]) == _bits(asked["x0"])
        assert _bits(row["feature_x1"]) == _bits(asked["x1"])
        assert row["feature_country"] == asked["country"]
        if answer.error is None:
            assert _bits(row["output_value"]) == _bits(answer.score)
        else:
            assert row["output_value"] is None
            assert (row["error_reason"], row["error_feature"]) == (answer.error.reason, answer.error.feature)


def _row(number: int) -> dict[str, Any]:
    odd = (0.0, -0.0, 5e-324, None, 0.1)
    return {"x0": odd[number % 5], "x1": math.sqrt(number), "country": ("de", "fr", None)[number % 3]}


def _key(row: dict[str, Any]) -> str:
    return f"{row['prediction_id']}/{row['row']}"


def _bits(value: Any) -> Any:
    """A value that is equal to another one only if all bits are."""
    if isinstance(value, dict):
        return {name: _bits(each) for name, each in value.items()}
    return struct.pack("<d", value) if isinstance(value, float) else value
