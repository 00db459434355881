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
from scorewire_training.tables.notes import TableNote
from scorewire_training.tables.reading import TableReading
from scorewire_training.tables.settings import TableSettings
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


def test_large_integer_ids_and_an_index_of_pandas_stream_alike(tmp_path: Path) -> None:
    lines = make_lines(80)
    ids = (lines["customer"].astype("int64") + (1 << 60)).astype("Int64").where(lines.index % 50 > 0)
    source, output = tmp_path / "shop.parquet", tmp_path / "out"
    lines.assign(customer=ids).set_index("time").to_parquet(source)
    cutoff = pd.Timestamp("2020-09-01")
    stream_features(source, output, cutoff, horizon_days=HORIZON, settings=StreamSettings(part_lines=200))
    transactions = read_transactions(source)
    assert transactions.lines["customer"].nunique() == lines["customer"].nunique()
    assert output.read_bytes() == build_feature_table(transactions.lines, cutoff, HORIZON)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_of_texts_streams_as_it_is_read_in_memory(kind: str, tmp_path: Path) -> None:
    lines = make_lines(80).sort_values("time", ignore_index=True)
    table = pd.DataFrame(
        {
            "ID_CLIENTE": lines["customer"].where(lines.index % 50 > 0),
            # Of the first lines, no value excludes an order of day and month.
            "FECHA": lines["time"].dt.strftime("%d/%m/%Y %H:%M"),
            "Total": lines["amount"].map(lambda amount: f"{amount * 100:,.2f}".translate({44: ".", 46: ","})),
            "Artículo": lines["product"].where(lines.index % 7 > 0, 'say; "hi"\nthen'),
            "Country": lines["country"],
        }
    )
    table.loc[3, "FECHA"] = "pronto"
    table.loc[table.index[-1], "Total"] = "caro"
    source, output = tmp_path / f"ventas.{kind}", tmp_path / "out"
    if kind == "csv":
        table.to_csv(source, index=False, sep=";", encoding="windows-1252", lineterminator="\r\n")
    else:
        table.to_parquet(source)
    settings = TableSettings(columns={"customer": "ID_CLIENTE", "time": "FECHA", "product": "Artículo"})
    notes: list[TableNote] = []
    cutoff = pd.Timestamp("2020-09-01")
    streamed = stream_features(
        source,
        output,
        cutoff,
        horizon_days=HORIZON,
        table=settings,
        settings=StreamSettings(part_lines=200),
        on_read=notes.extend,
    )
    transactions = read_transactions(source, settings)
    assert output.read_bytes() == build_feature_table(transactions.lines, cutoff, HORIZON)
    assert streamed.steps == transactions.steps
    assert (*notes, streamed.period) == transactions.notes
    told = {note.subject: f"{note.text} {note.values}" for note in notes}
    assert told["times"].startswith("%d/%m/%Y %H:%M settled by '14/01/2020")
    assert told["decimal mark"].startswith("a comma")
    assert "'pronto' (row 4)" in told["unreadable times"]
    assert f"'caro' (row {len(table):,})" in told["unreadable Total"]
    assert [path.name for path in tmp_path.iterdir() if path != source] == ["out"]


def test_without_a_clean_line_there_is_no_last_day(tmp_path: Path) -> None:
    make_lines(5).assign(amount=-1.0).to_parquet(tmp_path / "shop.parquet")
    with pytest.raises(
        TrainingError, match=r"no line is left after cleaning \(.*amount missing, not above zero"
    ):
        stream_features(tmp_path / "shop.parquet", tmp_path / "out", None, horizon_days=HORIZON)
    # No other cutoff would help.
    with pytest.raises(TrainingError, match="no line is left after cleaning"):
        stream_features(tmp_path / "shop.parquet", tmp_path / "out", CUT, horizon_days=HORIZON)


def test_the_default_data_streams(tmp_path: Path) -> None:
    cutoff = pd.Timestamp("1998-07-01")
    stream_features(None, tmp_path / "out", cutoff, horizon_days=90)
    assert (tmp_path / "out").read_bytes() == build_feature_table(read_transactions(None).lines, cutoff, 90)


def test_lines_without_a_customer_are_spread_over_the_parts(tmp_path: Path) -> None:
    lines = make_lines(40).sort_values("time", ignore_index=True)
    lines.loc[lines.index >= 40, "customer"] = None
    lines.to_parquet(tmp_path / "shop.parquet")
    sizes: list[int] = []
    clean_part = streaming.clean_part

    def watch(table: pd.DataFrame, reading: TableReading) -> object:
        sizes.append(len(table))
        return clean_part(table, reading)

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
    refuse(source, "is not a table: Parquet magic bytes not found")
    parquet.write_table(pa.table({"customer": ["a"], "time": ["03/04/2020"], "amount": [1.0]}), source)
    refuse(source, r"'03/04/2020' \(row 1\) is 2020-04-03 .* or 2020-03-04")
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
