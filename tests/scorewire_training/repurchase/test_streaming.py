from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from scorewire_training.errors import TrainingError
from scorewire_training.repurchase import streaming
from scorewire_training.repurchase.data import read_transactions
from scorewire_training.repurchase.feature_table import build_feature_table
from scorewire_training.repurchase.streaming import StreamSettings, stream_features
from tests.scorewire_training.repurchase.generated_transactions import write_transactions
from tests.scorewire_training.repurchase.shop import make_lines

CUT = pd.Timestamp("2023-07-01")
HORIZON = 60
SMALL = StreamSettings(memory_mb=256, threads=2, part_lines=3_000)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "shop.parquet"
    write_transactions(path, 20_000, seed=4, chunk_lines=7_000)
    return path


def test_streamed_features_are_those_built_in_memory_to_the_byte(source: Path, tmp_path: Path) -> None:
    told: list[str] = []
    streamed = stream_features(
        source, tmp_path / "out", CUT, horizon_days=HORIZON, settings=SMALL, progress=told.append
    )
    transactions = read_transactions(source)
    assert (tmp_path / "out").read_bytes() == build_feature_table(transactions.lines, CUT, HORIZON)
    assert streamed.steps == transactions.steps
    assert streamed.lines == len(transactions.lines)
    assert streamed.customers == parquet.read_metadata(tmp_path / "out").num_rows
    assert "Describing the customers of part 7 of 7" in told
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_table_with_other_columns_streams_alike(tmp_path: Path) -> None:
    lines = make_lines(80)
    table = pd.DataFrame(
        {
            'Order "Date"': lines["invoice"],
            "Customer ID": lines["customer"].astype("int64").where(lines.index % 50 > 0),
            "date": lines["time"].dt.date,
            "total": lines["amount"],
        }
    )
    assert isinstance(table["date"].iloc[0], date)
    source, output = tmp_path / "it's a shop.parquet", tmp_path / "its features.parquet"
    table.to_parquet(source)
    cutoff = pd.Timestamp("2020-09-01")
    stream_features(source, output, cutoff, horizon_days=HORIZON, settings=StreamSettings(part_lines=200))
    assert output.read_bytes() == build_feature_table(read_transactions(source).lines, cutoff, HORIZON)


def test_lines_without_a_customer_are_spread_over_the_parts(tmp_path: Path) -> None:
    lines = make_lines(40).sort_values("time", ignore_index=True)
    lines.loc[lines.index >= 40, "customer"] = None
    lines.to_parquet(tmp_path / "shop.parquet")
    sizes: list[int] = []
    clean_part = streaming.clean_part

    def watch(table: pd.DataFrame) -> object:
        sizes.append(len(table))
        return clean_part(table)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "clean_part", watch)
        stream_features(
            tmp_path / "shop.parquet",
            tmp_path / "out",
            pd.Timestamp("2020-12-01"),
            horizon_days=HORIZON,
            settings=StreamSettings(part_lines=100),
        )
    assert sum(sizes) == len(lines)
    assert max(sizes) < 3 * 100


def test_a_failed_run_leaves_nothing_and_what_was_there_before(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("before")
    with pytest.raises(TrainingError, match="no line is left before 2010-01-01 after cleaning"):
        stream_features(source, tmp_path / "out", pd.Timestamp("2010-01-01"), horizon_days=HORIZON)
    assert (tmp_path / "out").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_source_that_cannot_be_streamed_is_refused(tmp_path: Path) -> None:
    def refuse(path: Path, message: str, **settings: int) -> None:
        with pytest.raises(TrainingError, match=message):
            stream_features(path, tmp_path / "out", CUT, **{"horizon_days": HORIZON, **settings})  # type: ignore[arg-type]

    source = tmp_path / "shop.parquet"
    refuse(source, "shop.parquet cannot be read: No such file")
    source.write_text("customer,time,amount")
    refuse(source, "is not a Parquet file")
    parquet.write_table(pa.table({"customer": ["a"], "time": ["2020-01-01"], "amount": [1.0]}), source)
    refuse(source, "column time is string: write it as timestamp or date")
    parquet.write_table(pa.table({"customer": ["a"], "time": ["2020-01-01"]}), source)
    refuse(source, "the table has no column amount")
    refuse(source, "horizon_days is 0: choose 1 to 3650", horizon_days=0)
    parquet.write_table(pa.table({"customer": pa.array([], pa.string())}), source)
    refuse(source, "has no rows")


def test_an_output_that_cannot_be_written_is_refused(source: Path, tmp_path: Path) -> None:
    content = source.read_bytes()
    with pytest.raises(TrainingError, match="is the data: choose another output"):
        stream_features(source, source.parent / "." / source.name, CUT, horizon_days=HORIZON)
    assert source.read_bytes() == content
    with pytest.raises(TrainingError, match=r"cannot be made .* Is a directory"):
        stream_features(source, tmp_path, CUT, horizon_days=HORIZON)
    with pytest.raises(TrainingError, match="is not a folder: make it"):
        stream_features(source, tmp_path / "absent" / "out", CUT, horizon_days=HORIZON)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"memory_mb": 255}, "memory_mb is 255: choose 256 or more"),
        ({"threads": 0}, "threads is 0: choose 1 or more"),
        ({"part_lines": 0}, "part_lines is 0: choose 1 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused(setting: dict[str, int], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        StreamSettings(**setting)
