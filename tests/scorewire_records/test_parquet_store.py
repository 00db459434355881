"""Closed segments become Parquet files: the same ones whenever it is done again, and read by everyone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import duckdb
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from scorewire_contract.service import durable
from scorewire_records.parquet_files import record_files, sources_of
from scorewire_records.parquet_store import ParquetStore
from scorewire_records.shipper import Shipper
from scorewire_records.start_state import StartState, StartStates
from tests.scorewire_records.spools import DAY_US, TIME_US, SpoolWriter, source

SOURCE = source()
# Runs a command without the right of root to write everywhere.
RIGHTS = "-dac_override,-dac_read_search"
AS_OTHERS = ["setpriv", f"--inh-caps={RIGHTS}", f"--bounding-set={RIGHTS}"] if os.geteuid() == 0 else []
NOW = datetime(2096, 11, 30, 12, tzinfo=UTC)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    with SpoolWriter(tmp_path) as writer:
        yield writer


def ship(records: Path) -> Shipper:
    states = StartStates(records)
    shipper = Shipper(records, ParquetStore(records, states), states, Event())
    shipper.ship()
    return shipper


def state_of(records: Path, writer: SpoolWriter) -> StartState:
    state = StartStates(records).get(writer.start)
    assert state is not None
    return state


def names(records: Path) -> list[str]:
    return sorted(str(path.relative_to(records)) for path in records.rglob("*.parquet"))


def read(records: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(records / name) for name in names(records)])


def test_files_are_named_by_model_version_day_start_and_segment(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.write(SOURCE, 10)
    writer.write(source(2, version="1.1.0-rc.1+b2"), 5)
    writer.write(source(3, model="ltv"), 5)
    writer.close_segment()
    writer.write(SOURCE, 4, time_us=TIME_US + DAY_US - 3_600_000_002, per_call=3)
    writer.stop()
    shipper = ship(tmp_path)
    assert shipper.problems == {}
    start = writer.start
    assert names(tmp_path) == [
        f"churn/1.0.0/2096-11-30/{start}-00000000.parquet",
        f"churn/1.0.0/2096-11-30/{start}-00000001.parquet",
        f"churn/1.0.0/2096-12-01/{start}-00000001.parquet",
        f"churn/1.1.0-rc.1+b2/2096-11-30/{start}-00000000.parquet",
        f"ltv/1.0.0/2096-11-30/{start}-00000000.parquet",
    ]
    assert [len(pq.read_table(tmp_path / name)) for name in names(tmp_path)] == [10, 6, 6, 5, 5]
    assert [str(file.path.relative_to(tmp_path)) for file in record_files(tmp_path)] == names(tmp_path)
    assert sources_of(tmp_path / names(tmp_path)[0]) == [SOURCE]


def test_pandas_duckdb_and_pyarrow_read_the_files_as_they_are(tmp_path: Path, writer: SpoolWriter) -> None:
    for _ in range(3):
        writer.write(SOURCE, 10)
        writer.close_segment()
    writer.stop()
    ship(tmp_path)
    expected = [each / (1 << 20) for each in range(30)]
    frame = pd.read_parquet(tmp_path / "churn")
    assert sorted(frame["output_class"]) == expected
    table = ds.dataset(tmp_path / "churn", format="parquet").to_table()
    assert sorted(table["output_class"].to_pylist()) == expected
    found = duckdb.read_parquet(f"{tmp_path}/**/*.parquet", union_by_name=True)
    assert found.order("output_class").project("output_class, typeof(time)").fetchall() == [
        (each, "TIMESTAMP WITH TIME ZONE") for each in expected
    ]


def test_files_have_only_encodings_that_every_reader_knows(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.write(source(kind="shadow"), 1000)
    writer.stop()
    ship(tmp_path)
    metadata = pq.read_metadata(tmp_path / names(tmp_path)[0])
    columns = [metadata.row_group(0).column(index) for index in range(metadata.num_columns)]
    assert {each for column in columns for each in column.encodings} <= {"PLAIN", "RLE", "RLE_DICTIONARY"}
    assert {column.compression for column in columns} == {"ZSTD"}


def test_columns_that_differ_within_a_segment_get_files_of_their_own(
    tmp_path: Path, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    writer.write(source(2, numbers=("age",), texts=("country", "income"), hashed=("income",)), 10)
    writer.write(source(3, share=0.5), 10)
    writer.stop()
    ship(tmp_path)
    folder = f"churn/1.0.0/2096-11-30/{writer.start}-00000000"
    assert names(tmp_path) == [f"{folder}-1.parquet", f"{folder}.parquet"]
    assert len(pd.read_parquet(tmp_path / f"{folder}.parquet")) == 20
    found = duckdb.read_parquet(f"{tmp_path}/**/*.parquet", union_by_name=True)
    assert len(found.select("feature_income").fetchall()) == 30


@pytest.mark.parametrize(
    "features",
    [("Age", "age", "AGE"), ("a.b", 'q"u o', "ü 日本"), ("model", "row", ""), ("a,b", "a;b", "%s{}")],
)
def test_feature_names_of_any_kind_are_columns(
    tmp_path: Path, writer: SpoolWriter, features: tuple[str, ...]
) -> None:
    writer.write(source(features=features, numbers=features[:2], texts=features[2:]), 3)
    writer.stop()
    shipper = ship(tmp_path)
    assert shipper.problems == {}
    frame = read(tmp_path)
    assert list(frame[f"feature_{features[0]}"]) == [0.0, 1.0, 2.0]
    assert list(frame[f"feature_{features[2]}"]) == ["text-0", "text-1", "text-2"]
    assert duckdb.read_parquet(f"{tmp_path}/**/*.parquet").to_arrow_table().num_rows == 3


def test_a_segment_that_is_stored_again_gives_the_same_files(
    tmp_path: Path, writer: SpoolWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in range(50):
        writer.write(SOURCE, 100, time_us=TIME_US + each * DAY_US // 20)
    writer.stop()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # The files are in place, and the state is not written.
        patch.setattr(StartStates, "put", crash)
        with pytest.raises(KeyboardInterrupt):
            ship(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    assert len(before) == 3
    ship(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
    assert state_of(tmp_path, writer).stored == 5000


def test_a_store_that_cannot_be_written_keeps_the_spool_and_leaves_no_piece(
    tmp_path: Path, writer: SpoolWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.write(SOURCE, 10)
    writer.stop()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "publish", full)
        shipper = ship(tmp_path)
    assert shipper.problems == {"store": "records cannot be stored: No space left on device"}
    assert list(tmp_path.rglob("*.parquet*")) == []
    shipper.ship()
    assert shipper.problems == {}
    assert len(read(tmp_path)) == 10


def test_a_file_where_a_folder_must_be_is_a_problem_until_it_is_gone(
    tmp_path: Path, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    writer.stop()
    (tmp_path / "churn").write_text("not a folder")
    shipper = ship(tmp_path)
    assert "records cannot be stored" in shipper.problems["store"]
    assert writer.folder.exists()
    (tmp_path / "churn").unlink()
    shipper.ship()
    assert shipper.problems == {}
    assert len(read(tmp_path)) == 10


@pytest.mark.parametrize("folder", ["churn", "_starts", "_spool/{start}", "_spool"])
def test_a_folder_that_is_read_only_keeps_the_spool(tmp_path: Path, writer: SpoolWriter, folder: str) -> None:
    writer.write(SOURCE, 10)
    writer.stop()
    (tmp_path / "_spool" / "shipper.lock").touch()
    read_only = tmp_path / folder.format(start=writer.start)
    read_only.mkdir(exist_ok=True)
    read_only.chmod(0o500)
    command = [sys.executable, "-P", "-m", "scorewire_records", "ship", "--once", "--records", str(tmp_path)]
    done = subprocess.run([*AS_OTHERS, *command], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    assert writer.folder.exists()
    read_only.chmod(0o700)
    subprocess.run([*AS_OTHERS, *command], check=True)
    assert len(read(tmp_path)) == 10
    assert not writer.folder.exists()


def test_pieces_of_a_shipper_that_was_killed_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "churn" / "1.0.0" / "2096-11-30"
    folder.mkdir(parents=True)
    (folder / ".x.parquet.tmp").write_bytes(b"PAR1")
    (folder / "mine.txt").write_bytes(b"")
    ParquetStore(tmp_path, StartStates(tmp_path)).expire(NOW)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_days_are_removed_once_the_latest_retention_of_the_model_is_over(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path) as writer:
        for day in range(-5, 1):
            writer.write(source(retention_days=90), 10, time_us=TIME_US + day * DAY_US)
        writer.write(source(2, model="ltv"), 10, time_us=TIME_US - 900 * DAY_US)
        writer.close_segment()
        writer.write(source(3, retention_days=3), 10)
        writer.stop()
        ship(tmp_path)
        states = StartStates(tmp_path)
        store = ParquetStore(tmp_path, states)
        assert store.expire(NOW) == {writer.start}
        assert sorted({file.day for file in record_files(tmp_path, ["churn"])}) == [
            "2096-11-27",
            "2096-11-28",
            "2096-11-29",
            "2096-11-30",
        ]
        assert len(list(record_files(tmp_path, ["ltv"]))) == 1
        state = state_of(tmp_path, writer)
        assert (state.rows, state.stored, state.expired, state.missing) == (80, 60, 20, 0)
        assert store.expire(NOW) == set()
        assert store.expire(NOW + timedelta(days=900)) == {writer.start}
        assert not (tmp_path / "churn").exists()
        assert state_of(tmp_path, writer).expired == 70


def test_rows_expire_once_also_if_a_crash_comes_before_their_file_is_removed(
    tmp_path: Path, writer: SpoolWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.write(source(retention_days=3), 10)
    writer.stop()
    ship(tmp_path)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    later = NOW + timedelta(days=30)
    with monkeypatch.context() as patch:
        patch.setattr(durable, "remove", crash)
        with pytest.raises(KeyboardInterrupt):
            ParquetStore(tmp_path, StartStates(tmp_path)).expire(later)
    assert len(names(tmp_path)) == 1
    assert ParquetStore(tmp_path, StartStates(tmp_path)).expire(later) == {writer.start}
    assert names(tmp_path) == []
    state = state_of(tmp_path, writer)
    assert (state.stored, state.expired, state.expiring) == (0, 10, ())


def test_a_damaged_file_does_not_keep_others_from_expiring(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path) as writer:
        for day in (-5, -4):
            writer.write(source(retention_days=1), 10, time_us=TIME_US + day * DAY_US)
        writer.stop()
    states = StartStates(tmp_path)
    store = ParquetStore(tmp_path, states)
    shipper = Shipper(tmp_path, store, states, Event())
    shipper._expired_at = NOW + timedelta(days=1000)
    shipper.ship()
    damaged, _ = sorted(tmp_path.rglob("*.parquet"))
    damaged.write_bytes(b"PAR1")
    assert store.expire(NOW) == {writer.start}
    assert list(tmp_path.rglob("*.parquet")) == [damaged]
    assert "cannot be read: remove it" in states.problems[str(damaged.relative_to(tmp_path))]
    state = states.get(writer.start)
    assert state is not None
    assert (state.stored, state.expired) == (10, 10)


def test_a_retention_file_that_cannot_be_understood_is_learnt_again(
    tmp_path: Path, writer: SpoolWriter
) -> None:
    (tmp_path / "_retention.json").write_text("?")
    writer.write(source(retention_days=3), 10)
    writer.stop()
    shipper = ship(tmp_path)
    assert "cannot be understood" in shipper.problems["_retention.json"]
    assert json.loads((tmp_path / "_retention.json").read_text())["churn"]["days"] == 3
