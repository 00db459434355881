"""Records are read from the files and the spool as of one moment, by SQL that can do nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event

import pyarrow.parquet as pq
import pytest

from scorewire_contract.records.identity import PredictionId
from scorewire_contract.records.source import Output
from scorewire_records.database import QueryError, TimeLimit, TimeLimitError, open_database
from scorewire_records.folder_reader import FolderReader
from scorewire_records.follow import Follower
from scorewire_records.ledger_report import report_of
from scorewire_records.parquet_store import ParquetStore
from scorewire_records.selection import Selection
from scorewire_records.shipper import Shipper
from scorewire_records.shipper_status import StatusWriter
from scorewire_records.start_state import StartStates
from tests.scorewire_records.spools import DAY_US, TIME_US, SpoolWriter, source
from tests.scorewire_records.stores import MemoryStore

SOURCE = source()
TIME = datetime.fromtimestamp(TIME_US / 1e6, UTC)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    with SpoolWriter(tmp_path) as writer:
        yield writer


def shipper_of(records: Path) -> Shipper:
    states = StartStates(records)
    return Shipper(records, ParquetStore(records, states), states, Event())


def ask(records: Path, sql: str) -> list[dict[str, object]]:
    with FolderReader(records).query(sql) as rows:
        found: list[dict[str, object]] = rows.read_all().to_pylist()
        return found


def sequences(records: Path) -> list[int]:
    rows = ask(records, "SELECT split_part(prediction_id, '-', 6)::BIGINT AS s FROM records ORDER BY s")
    return [row["s"] for row in rows]  # type: ignore[misc]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_rows_of_files_and_of_the_spool_are_read_and_nothing_is_changed(
    tmp_path: Path, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    writer.close_segment()
    shipper_of(tmp_path).ship()
    writer.write(SOURCE, 10)
    writer.close_segment()
    writer.write(SOURCE, 10)
    before = contents(tmp_path)
    assert sequences(tmp_path) == list(range(30))
    assert contents(tmp_path) == before


def test_the_ledger_has_what_a_database_stored_of_a_segment_that_grows(
    tmp_path: Path, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    store = MemoryStore()
    shipper = Shipper(tmp_path, store, StartStates(tmp_path), Event())
    shipper.ship()
    with StatusWriter(tmp_path, shipper, store.name, lambda _: None):
        pass
    writer.write(SOURCE, 5)
    (ledger,) = report_of(tmp_path).ledgers
    assert (ledger.counts.seen, ledger.counts.stored, ledger.counts.pending) == (15, 10, 5)


def test_a_segment_whose_files_are_there_already_is_not_read_twice(
    tmp_path: Path, writer: SpoolWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.write(SOURCE, 10)
    writer.close_segment()
    with monkeypatch.context() as patch:
        patch.setattr(StartStates, "put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            shipper_of(tmp_path).ship()
    assert len(list(tmp_path.rglob("*.parquet"))) == 1
    assert sequences(tmp_path) == list(range(10))


def test_each_row_is_seen_once_while_the_shipper_moves_it(tmp_path: Path, writer: SpoolWriter) -> None:
    shipper, stop = shipper_of(tmp_path), Event()

    def work() -> None:
        while not stop.is_set():
            writer.write(SOURCE, 7)
            if writer.next_sequence % 2:
                writer.close_segment()
            shipper.ship()

    writer.write(SOURCE, 7)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(25):
            least = writer.rows_before
            found = sequences(tmp_path)
            assert found == list(range(len(found)))
            assert len(found) >= least
    finally:
        stop.set()
        thread.join()
    assert shipper.problems == {}


def test_a_folder_without_records_has_the_fixed_columns(tmp_path: Path) -> None:
    assert ask(tmp_path, "SELECT count(*) AS n FROM records") == [{"n": 0}]
    assert "prediction_id" in {row["column_name"] for row in ask(tmp_path, "DESCRIBE records")}


def test_files_of_a_release_without_principals_are_read_like_others(
    tmp_path: Path, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 3)
    writer.close_segment()
    shipper_of(tmp_path).ship()
    (path,) = tmp_path.glob("churn/*/*/*.parquet")
    old = pq.read_table(path, partitioning=None).drop_columns(["principal"])
    pq.write_table(old, path)
    query = "SELECT principal, count(*) AS n FROM {} GROUP BY ALL ORDER BY ALL"
    for view in ("records", "churn"):
        assert ask(tmp_path, query.format(view)) == [{"principal": None, "n": 3}]
    writer.write(SOURCE, 3)
    found = [{"principal": name, "n": n} for name, n in (("game", 1), ("shop", 1), (None, 4))]
    for view in ("records", "churn"):
        assert ask(tmp_path, query.format(view)) == found


def test_each_model_has_a_view_and_outputs_of_different_shape_are_lists(
    tmp_path: Path, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 2)
    number = Output(name="probability", width=1, kind="number")
    writer.write(source(2, model="my-model", outputs=(number,)), 2)
    writer.write(source(3, model="records", features=("Age", "age"), numbers=("Age", "age"), texts=()), 2)
    assert ask(tmp_path, 'SELECT count(*) AS n, any_value(output_probability) AS p FROM "my-model"') == [
        {"n": 2, "p": 2 / (1 << 20)}
    ]
    lengths = ask(
        tmp_path, "SELECT model, max(len(output_probability)) AS n FROM records GROUP BY ALL ORDER BY 1"
    )
    assert lengths == [
        {"model": "churn", "n": 2},
        {"model": "my-model", "n": 1},
        {"model": "records", "n": 2},
    ]
    assert [row["name"] for row in ask(tmp_path, "SHOW TABLES")] == ["churn", "my-model", "records"]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY records TO '{folder}/stolen.csv'",
        "COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)",
        "EXPLAIN ANALYZE COPY records TO '{folder}/stolen.csv'",
        "SELECT 1; SELECT 2",
        "CREATE TABLE t AS SELECT 1",
        "ATTACH '{folder}/new.db'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "",
        "SELEC 1",
        "SELECT * FROM read_csv('{other}')",
        "SELECT * FROM read_text('{other}')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM '{other}'",
        "SELECT * FROM sql",
        "SELECT nothing FROM records",
    ],
)
def test_a_query_can_only_select_records(tmp_path: Path, writer: SpoolWriter, sql: str) -> None:
    other = tmp_path / "other.csv"
    other.write_text("secret\n1\n")
    writer.write(SOURCE, 2)
    writer.close_segment()
    shipper_of(tmp_path).ship()
    (file,) = tmp_path.rglob("*.parquet")
    before = contents(tmp_path)
    with pytest.raises(QueryError):
        ask(tmp_path, sql.format(folder=tmp_path, file=file, other=other))
    assert contents(tmp_path) == before


def test_a_damaged_spool_is_read_without_what_is_damaged(tmp_path: Path, writer: SpoolWriter) -> None:
    for _ in range(3):
        writer.write(SOURCE, 10)
    writer.close_segment()
    _, offset, _ = [each for each in writer.blocks if each[2].rows][1]
    path = writer.folder / "00000000.segment"
    data = bytearray(path.read_bytes())
    data[offset + 100] ^= 1
    path.write_bytes(data)
    assert sequences(tmp_path) == [*range(10), *range(20, 30)]
    assert not (tmp_path / "_spool" / "_damaged").exists()


def test_statistics_are_by_model_version_and_day(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.write(SOURCE, 10, per_call=3)
    writer.close_segment()
    shipper_of(tmp_path).ship()
    writer.write(SOURCE, 10, time_us=TIME_US + DAY_US)
    writer.write(source(2, kind="shadow", version="1.1.0"), 5)
    writer.write(source(3, model="label", outputs=(Output(name="label", width=1, kind="text"),)), 5)
    found = FolderReader(tmp_path).statistics(Selection())
    days = [(each.model, each.version, each.day, each.shadow, each.calls, each.rows) for each in found]
    assert days == [
        ("churn", "1.0.0", date(2096, 11, 30), False, 10, 30),
        ("churn", "1.0.0", date(2096, 12, 1), False, 10, 10),
        ("churn", "1.1.0", date(2096, 11, 30), True, 5, 5),
        ("label", "1.0.0", date(2096, 11, 30), False, 5, 5),
    ]
    assert found[0].score_mean == pytest.approx(4.5 / (1 << 20))
    assert found[0].score_quantiles == pytest.approx([0, 4.5 / (1 << 20), 9 / (1 << 20)])
    assert found[0].latency_us_quantiles == [50, 50, 50]
    assert found[3].score_mean is None
    selection = Selection(model="churn", version="1.0.0", begin=TIME + timedelta(hours=12))
    assert [each.day for each in FolderReader(tmp_path).statistics(selection)] == [date(2096, 12, 1)]


def test_the_latest_records_come_from_as_few_days_as_needed(tmp_path: Path, writer: SpoolWriter) -> None:
    for day in range(6):
        writer.write(SOURCE, 3, time_us=TIME_US + day * DAY_US)
        writer.write(source(2, model="ltv"), 1, time_us=TIME_US + day * DAY_US + 10)
    shown = [table.to_pylist()[0] for table in FolderReader(tmp_path).latest(9, Selection())]
    assert [row["prediction_id"].rpartition("-")[2] for row in shown] == [str(each) for each in range(15, 24)]
    assert "feature_age" in shown[-1]
    shown = [table.to_pylist()[0] for table in FolderReader(tmp_path).latest(100, Selection(model="ltv"))]
    assert len(shown) == 6
    assert FolderReader(tmp_path).latest(0, Selection()) == []


def test_one_prediction_is_found_in_files_and_in_the_spool(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.write(SOURCE, 3, per_call=4)
    writer.close_segment()
    shipper_of(tmp_path).ship()
    writer.write(source(2, model="ltv"), 2, per_call=2)
    reader = FolderReader(tmp_path)
    for sequence, model, count in ((1, "churn", 4), (4, "ltv", 2)):
        found = [table.to_pylist()[0] for table in reader.find(PredictionId(writer.start, 0, sequence), 10)]
        assert [row["row"] for row in found] == list(range(count))
        assert {(row["model"], row["feature_age"]) for row in found} == {(model, float(sequence))}
    assert len(reader.find(PredictionId(writer.start, 0, 1), 3)) == 3
    assert reader.find(PredictionId(writer.start, 0, 5), 10) == []
    assert reader.find(PredictionId(writer.start, 1, 1), 10) == []


def test_reading_ends_when_its_time_is_over(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.write(SOURCE, 3)
    reader = FolderReader(tmp_path, seconds=0.0)
    with pytest.raises(TimeLimitError, match="longer than 0 seconds"):
        reader.latest(5, Selection())
    with pytest.raises(TimeLimitError):
        reader.find(PredictionId(writer.start, 0, 1), 5)
    assert len(FolderReader(tmp_path, seconds=600.0).latest(5, Selection())) == 3


def test_a_query_is_stopped_when_its_time_is_over() -> None:
    with pytest.raises(TimeLimitError), open_database([], TimeLimit(0.2)) as database:
        # So many rows that it never ends.
        database.sql("SELECT sum(a.range * b.range) FROM range(100000000) a, range(100000000) b").fetchall()


def test_a_query_is_stopped_again_as_the_first_stop_may_come_between_two() -> None:
    stops: list[bool] = []
    limit, third = TimeLimit(0.05), Event()

    def stop() -> None:
        stops.append(True)
        if len(stops) == 3:
            third.set()

    with limit.ending(stop):
        assert third.wait(60)
    count = len(stops)
    with pytest.raises(TimeLimitError):
        limit.check()
    assert len(stops) == count


def followed(follower: Follower) -> list[int]:
    return [
        int(each.rpartition("-")[2])
        for table in follower.new()
        for each in table["prediction_id"].to_pylist()
    ]


def test_a_follower_sees_what_comes_after_it_once(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.write(SOURCE, 5)
    shipper = shipper_of(tmp_path)
    with Follower(tmp_path, Selection(model="churn")) as follower:
        assert followed(follower) == []
        writer.write(SOURCE, 5)
        writer.write(source(2, model="ltv"), 5)
        assert followed(follower) == list(range(5, 10))
        # The end of a segment, which the shipper has removed; one that came and went; and one that grows.
        writer.write(SOURCE, 1)
        writer.close_segment()
        writer.write(SOURCE, 1)
        writer.close_segment()
        shipper.ship()
        writer.write(SOURCE, 1)
        assert followed(follower) == [15, 16, 17]
        writer.stop()
        shipper.ship()
        assert followed(follower) == []
        with SpoolWriter(tmp_path) as other:
            other.write(SOURCE, 2)
            assert followed(follower) == [0, 1]
