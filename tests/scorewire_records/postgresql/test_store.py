from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from scorewire_contract.records.identity import new_start, writer_uuid
from scorewire_contract.records.ledger import Count, WriterLedger
from scorewire_contract.records.rows import KEPT, NO_WRITER, RowsBlock
from scorewire_contract.records.source import Output, Source, Start
from scorewire_contract.records.texts import Texts
from scorewire_proto.v1.errors_pb2 import ErrorReason
from scorewire_records.postgresql.connection import Database
from scorewire_records.postgresql.layout import Layout
from scorewire_records.postgresql.store import PostgresStore
from scorewire_records.store import (
    Contents,
    End,
    Ledgers,
    RefusedError,
    SourceRows,
    StartDescription,
    StoreError,
    Totals,
)
from scorewire_records.tables import to_table
from tests.scorewire_records.spools import DAY_US, TIME_US, rows_of, source

_NOTHING = Count()


@pytest.fixture
def store(database: Database) -> Iterator[PostgresStore]:
    store = PostgresStore(database)
    yield store
    store.close()


def _store(store: PostgresStore, start: UUID, *blocks: Contents | tuple[Source, RowsBlock]) -> None:
    """Store blocks, numbered from the position on."""
    first = store.position(start)
    numbered = [
        SourceRows(first + index, *each) if isinstance(each, tuple) else replace(each, number=first + index)
        for index, each in enumerate(blocks)
    ]
    store.store(start, 0, numbered)


def _query(database: Database, query: str) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        return connection.execute(query).fetchall()


def _execute(database: Database, statement: str) -> None:
    with database.connect() as connection:
        connection.execute(statement)


def _view(database: Database, view: str = "churn") -> list[dict[str, Any]]:
    """The rows of a view in the order of their ids."""
    with database.connect() as connection:
        cursor = connection.execute(f'SELECT * FROM scorewire."{view}" ORDER BY writer, sequence, row')
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def _ledger(taken: int, spooled: int, *dropped: int, rows: int | None = None) -> Ledgers:
    causes = [Count(each, each) for each in (*dropped, 0, 0, 0, 0)][:4]
    spooled_count = Count(spooled, spooled if rows is None else rows)
    return Ledgers(0, (WriterLedger(taken, _NOTHING, spooled_count, tuple(causes)),))


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return isinstance(found, list) and all(map(_same, found, expected))
    if isinstance(expected, float):
        return isinstance(found, float) and np.float64(found).tobytes() == np.float64(expected).tobytes()
    return bool(found == expected)


def _assert_equal_to_files(
    found: Sequence[dict[str, Any]], start: UUID, kind: Source, rows: RowsBlock
) -> None:
    """The view has what a Parquet file has."""
    expected = to_table(start, kind, rows).to_pylist()
    expected.sort(
        key=lambda row: (
            row["prediction_id"].rsplit("-", 1)[0],
            int(row["prediction_id"].rsplit("-", 1)[1]),
            row["row"],
        )
    )
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() - other.keys() == {"writer", "sequence"}
        for name, value in other.items():
            assert _same(one[name], value), (name, one[name], value)


def test_a_view_has_the_columns_and_values_of_files(store: PostgresStore, database: Database) -> None:
    start, kind = new_start(), source(share=0.25)
    rows = replace(rows_of(kind, 0, 100, per_call=3), flags=np.arange(100, dtype=np.uint16) % 2 * KEPT)
    _store(store, start, (kind, rows))
    found = _view(database)
    _assert_equal_to_files(found, start, kind, rows)
    assert {row["share"] for row in found} == {0.25, 1.0}
    assert store.totals(start) == Totals(stored=300)


def test_numbers_come_back_bit_for_bit(store: PostgresStore, database: Database) -> None:
    numbers = np.array(
        [[0.0, -0.0], [5e-324, np.inf], [-np.inf, 0.1 + 0.2], [np.nan, 1.7976931348623157e308]]
    )
    numbers.view(np.uint64)[3, 0] = 0x7FF8_DEAD_BEEF_0001
    start, kind = new_start(), source()
    rows = replace(rows_of(kind, 0, 4), numbers=numbers, outputs=(numbers[::-1], numbers[:, :1]))
    _store(store, start, (kind, rows))
    (table,) = _query(database, "SELECT name FROM scorewire.tables")[0]
    found = _query(
        database,
        "SELECT float8send(feature_age), float8send(feature_income), float8send(output_probability[1]),"
        " float8send(output_probability[2]), float8send(output_class)"
        f' FROM scorewire."{table}" ORDER BY sequence',
    )
    bits = np.concatenate([numbers, numbers[::-1], numbers[:, :1]], axis=1).view(np.uint64).tolist()
    assert [[int.from_bytes(each) for each in row] for row in found] == bits
    # The view says NULL for a missing feature; an output is what was answered.
    assert _view(database)[3]["feature_age"] is None
    assert math.isnan(_view(database)[0]["output_probability"][0])


def test_errors_have_their_reason_and_feature(store: PostgresStore, database: Database) -> None:
    start, kind = new_start(), source()
    reasons = [ErrorReason.ERROR_REASON_INVALID_REQUEST, 4000]
    rows = replace(
        rows_of(kind, 0, 5),
        error_rows=np.array([1, 3], np.uint32),
        error_reasons=np.array(reasons, np.uint16),
        error_features=np.array([1, 2], np.uint16),
    )
    _store(store, start, (kind, rows), (kind, rows_of(kind, 5, 1)))
    found = _view(database)
    _assert_equal_to_files(found[:5], start, kind, rows)
    assert [row["error_reason"] for row in found] == [None, "INVALID_REQUEST", None, "4000", None, None]
    assert [row["error_feature"] for row in found] == [None, "country", None, "income", None, None]
    assert found[1]["output_probability"] is None


def test_a_shadow_refers_to_its_original(store: PostgresStore, database: Database) -> None:
    start, kind = new_start(), source(kind="shadow", route="canary")
    rows = replace(
        rows_of(kind, 0, 3),
        original_sequences=np.array([7, 8, 2**40], np.uint64),
        original_writers=np.array([2, NO_WRITER, 0], np.uint16),
        writers=np.full(3, 9, np.uint16),
    )
    _store(store, start, (kind, rows))
    found = _view(database)
    _assert_equal_to_files(found, start, kind, rows)
    assert [row["shadow_of"] for row in found] == [f"{writer_uuid(start, 2)}-7", None, f"{start}-{2**40}"]


def test_outputs_of_texts(store: PostgresStore, database: Database) -> None:
    outputs = (Output(name="word", width=1, kind="text"), Output(name="words", width=2, kind="text"))
    start, kind = new_start(), source(outputs=outputs)
    rows = replace(rows_of(kind, 0, 2), outputs=(Texts.of(["a", ""]), Texts.of(["b", "", "🙂", "d"])))
    _store(store, start, (kind, rows))
    found = _view(database)
    _assert_equal_to_files(found, start, kind, rows)
    assert [row["output_words"] for row in found] == [["b", ""], ["🙂", "d"]]


@pytest.mark.parametrize("numbers_only", [True, False])
def test_odd_names_of_features(store: PostgresStore, database: Database, numbers_only: bool) -> None:
    long = "x" * 200
    plain = ("Age", "age", "", " ", "a.b", "select", "nul\0")
    names = ("quote \" and ' and %s {}", "🙂" * 40, f"{long}1", f"{long}2", *plain)
    texts = () if numbers_only else (names[0] + "t", f"{long}3")
    kind = source(
        numbers=names,
        texts=texts,
        features=(*texts, *names),
        outputs=(Output(name=long, width=1, kind="number"),),
    )
    start = new_start()
    rows = rows_of(kind, 1, 2)
    _store(store, start, (kind, rows))
    found = _view(database)
    assert [row["feature_quote \" and ' and %s {}"] for row in found] == [1.0, 2.0]
    assert [
        (row["feature_Age"], row["feature_age"], row["feature_"], row["feature_nul␀"]) for row in found
    ] == [(n,) * 4 for n in (1.0, 2.0)]
    assert len([name for name in found[0] if name.startswith("feature_xxx")]) == (2 if numbers_only else 3)
    assert len(found[0]) == 18 + len(names) + len(texts) + 1
    comments = _query(
        database, "SELECT description FROM pg_description WHERE description LIKE 'feature_xxx%'"
    )
    assert (f"feature_{long}1",) in comments


def test_schemas_of_a_model_are_one_view(store: PostgresStore, database: Database) -> None:
    start = new_start()
    old = source()
    new = replace(
        source(
            2,
            numbers=("age",),
            texts=("country", "income"),
            features=("age", "country", "income", "plan"),
            version="2.0.0",
        ),
        fingerprint="ab" * 8,
    )
    dropped = source(
        3, numbers=("age",), texts=(), features=old.features, dropped=("country", "income"), version="1.1.0"
    )
    _store(
        store, start, (old, rows_of(old, 0, 1)), (new, rows_of(new, 1, 1)), (dropped, rows_of(dropped, 2, 1))
    )
    found = _view(database)
    assert [row["version"] for row in found] == ["1.0.0", "2.0.0", "1.1.0"]
    assert [row["feature_age"] for row in found] == [0.0, 1.0, 2.0]
    # A number in one table and a text in another are texts in the view.
    assert [row["feature_income"] for row in found] == ["0", "text-1", None]
    assert [row["feature_country"] for row in found] == ["text-0", "text-1", None]
    assert len(_query(database, "SELECT FROM scorewire.tables")) == 3


def test_what_a_policy_drops_has_no_column_of_principals(store: PostgresStore, database: Database) -> None:
    start = new_start()
    kinds = [replace(source(number), principal=how) for number, how in enumerate(("keep", "drop", "hash"))]
    _store(store, start, *((kind, rows_of(kind, 3 * number, 3)) for number, kind in enumerate(kinds)))
    found = [row["principal"] for row in _view(database)]
    assert found == ["shop", None, "game", None, None, None, "shop", None, "game"]
    # What is kept and what is hashed is in one table.
    assert Layout(kinds[0]).table == Layout(kinds[2]).table
    assert len(_query(database, "SELECT FROM scorewire.tables")) == 2


def test_tables_and_views_of_a_release_without_principals_stay(
    store: PostgresStore, database: Database
) -> None:
    start, old = new_start(), replace(source(), principal="drop")
    new = source(2, texts=("country", "plan"), features=("age", "country", "income", "plan"))
    _store(store, start, (old, rows_of(old, 0, 2)))
    # The table is the one that the earlier release made. Its view had no principals.
    assert Layout(old).table == "_churn_22de3db121"
    ((definition,),) = _query(database, "SELECT pg_get_viewdef('scorewire.churn'::regclass)")
    before = "\n".join(line for line in definition.splitlines() if "AS principal" not in line)
    for statement in (
        "DROP VIEW scorewire.churn",
        f"CREATE VIEW scorewire.churn AS {before}",
        "GRANT SELECT ON scorewire.churn TO public",
        "CREATE VIEW public.mine AS SELECT version, feature_age FROM scorewire.churn",
    ):
        _execute(database, statement)
    columns = list(_view(database)[0])
    assert "principal" not in columns
    again = PostgresStore(database)
    _store(again, start, (new, rows_of(new, 2, 2)), (old, rows_of(old, 4, 1)))
    again.close()
    found = _view(database)
    assert list(found[0]) == [*columns, "principal", "feature_plan"]
    assert [row["principal"] for row in found] == [None, None, "game", "shop", None]
    assert [row["feature_plan"] for row in found] == [None, None, "text-2", "text-3", None]
    # What others made of the view is still there, and so are their rights.
    assert _query(database, "SELECT count(*) FROM public.mine") == [(5,)]
    assert _query(database, "SELECT has_table_privilege('pg_monitor', 'scorewire.churn', 'SELECT')") == [
        (True,)
    ]


@pytest.mark.parametrize("count", [900, 1599, 3000])
def test_models_with_more_features_than_columns_fit(
    store: PostgresStore, database: Database, count: int
) -> None:
    numbers = tuple(f"n{index}" for index in range(count - 2))
    kind = source(numbers=numbers, texts=("s", "t"), features=(*numbers, "s", "t"))
    start = new_start()
    rows = rows_of(kind, 0, 3)
    rows = replace(
        rows, numbers=np.random.default_rng(1).normal(size=rows.numbers.shape), texts=Texts.of("abcdef")
    )
    _store(store, start, (kind, rows))
    found = _view(database)
    if count < 1500:
        _assert_equal_to_files(found, start, kind, rows)
    else:
        assert [row["feature_numbers"] for row in found] == rows.numbers.tolist()
        assert [row["feature_texts"] for row in found] == [["a", "b"], ["c", "d"], ["e", "f"]]
        query = (
            "SELECT feature_numbers[array_position(numbers, 'n7')] FROM scorewire.churn, scorewire.tables"
            " ORDER BY sequence"
        )
        assert [value for (value,) in _query(database, query)] == rows.numbers[:, 7].tolist()


@pytest.mark.parametrize(("numbers", "texts"), [(871, 0), (0, 290), (436, 145)])
def test_the_widest_rows_of_columns_fit(
    store: PostgresStore, database: Database, numbers: int, texts: int
) -> None:
    names = tuple(f"n{index}" for index in range(numbers))
    words = tuple(f"t{index}" for index in range(texts))
    kind = source(kind="shadow", numbers=names, texts=words, features=(*names, *words))
    assert not Layout(kind).is_wide
    assert Layout(replace(kind, texts=(*words, "one more"))).is_wide
    start = new_start()
    rows = replace(
        rows_of(kind, 0, 2),
        numbers=np.random.default_rng(1).normal(size=(2, numbers)),
        texts=Texts.of(str(each) * 100 for each in np.random.default_rng(2).random(2 * texts)),
        callers=Texts.of(["c" * 1000] * 2),
        principals=Texts.of(["p" * 1000] * 2),
        routing_keys=Texts.of(["k" * 1000] * 2),
        error_rows=np.array([1], np.uint32),
        error_reasons=np.array([2], np.uint16),
        error_features=np.array([0], np.uint16),
    )
    _store(store, start, (kind, rows))
    _assert_equal_to_files(_view(database), start, kind, rows)


def test_a_model_may_be_named_like_a_table_of_ours(store: PostgresStore, database: Database) -> None:
    start, kind = new_start(), source(model="gaps")
    _store(store, start, (kind, rows_of(kind, 0, 2)))
    assert len(_view(database, "gaps_records")) == 2
    assert _query(database, "SELECT * FROM scorewire.gaps") == []


def test_rows_around_midnight_are_in_the_days_of_utc(store: PostgresStore, database: Database) -> None:
    start, kind = new_start(), source()
    midnight = TIME_US - TIME_US % DAY_US
    rows = rows_of(kind, 0, 10, per_call=2, time_us=midnight - 5)
    _store(store, start, (kind, rows))
    _assert_equal_to_files(_view(database), start, kind, rows)
    days = _query(database, "SELECT day, predictions, rows FROM scorewire.stored ORDER BY day")
    day = dt.date(2096, 11, 30)
    assert days == [(day - dt.timedelta(days=1), 5, 10), (day, 5, 10)]
    counts = [
        _query(database, f'SELECT count(*) FROM scorewire."{name}"')
        for (name,) in _query(database, "SELECT name FROM scorewire.partitions ORDER BY day")
    ]
    assert counts == [[(10,)], [(10,)]]


def test_empty_blocks_and_calls(store: PostgresStore, database: Database) -> None:
    start, kind = new_start(), source()
    _store(store, start, (kind, rows_of(kind, 0, 0)), _ledger(0, 0))
    store.store(start, 0, [])
    assert store.position(start) == 2
    assert store.totals(start) == Totals()


def test_blocks_that_are_stored_are_passed_over(store: PostgresStore, database: Database) -> None:
    start, kind = new_start(), source()
    blocks = [SourceRows(number, kind, rows_of(kind, number, 1)) for number in range(6)]
    store.position(start)
    store.store(start, 0, blocks[:4])
    store.store(start, 0, blocks)
    store.store(start, 0, blocks[2:3])
    assert [row["sequence"] for row in _view(database)] == [0, 1, 2, 3, 4, 5]
    assert store.totals(start) == Totals(stored=6)
    assert store.position(start) == 6


def test_every_missing_number_has_a_cause(store: PostgresStore, database: Database) -> None:
    start, kind = new_start(), source()
    _store(store, start, (kind, rows_of(kind, 0, 10)), _ledger(10, 10))
    # 10 and 11 were dropped since the ring was full.
    _store(store, start, (kind, rows_of(kind, 12, 8)), _ledger(20, 18, 2))
    _store(store, start, (kind, rows_of(kind, 20, 100)), _ledger(120, 118, 2))
    # A block with 120 to 124 was damaged.
    _store(store, start, (kind, rows_of(kind, 125, 5)), _ledger(130, 128, 2))
    # 130 to 139 did not fit on the disk, and 140 and 141 were given after the last flush.
    _store(store, start, _ledger(142, 128, 2, 0, 0, 10))
    gaps = _query(database, "SELECT first_sequence, last_sequence, predictions, causes FROM scorewire.gaps")
    assert gaps == [
        (10, 11, 2, ["ring_full"]),
        (120, 124, 5, ["set_aside"]),
        (130, 141, 12, ["disk", "in_flight"]),
    ]
    (ledger,) = _query(
        database,
        "SELECT taken, spooled, ring_full, too_large, spool_full, disk, in_flight, stored, expired, set_aside"
        " FROM scorewire.ledger",
    )
    assert ledger == (142, 128, 2, 0, 0, 10, 2, 123, 0, 5)
    one = _query(database, f"SELECT count(*) FROM scorewire.gaps_of('{writer_uuid(start, 0)}')")
    other = _query(database, f"SELECT count(*) FROM scorewire.gaps_of('{writer_uuid(start, 1)}')")
    assert (one, other) == ([(3,)], [(0,)])


def test_rows_before_their_ledger_are_no_gap(store: PostgresStore, database: Database) -> None:
    start, kind = new_start(), source()
    _store(store, start, (kind, rows_of(kind, 0, 4)), _ledger(4, 4), (kind, rows_of(kind, 6, 4)))
    gaps = _query(database, "SELECT first_sequence, last_sequence, causes FROM scorewire.gaps")
    assert gaps == [(4, 5, [])]
    _store(store, start, _ledger(10, 8, 0, 2))
    gaps = _query(database, "SELECT first_sequence, last_sequence, causes FROM scorewire.gaps")
    assert gaps == [(4, 5, ["too_large"])]


def test_parts_of_a_prediction_count_once(store: PostgresStore, database: Database) -> None:
    start, kind = new_start(), source()
    parts = [
        replace(rows_of(kind, 0, 1, per_call=4), first_rows=np.array([first], np.uint32)) for first in (0, 4)
    ]
    _store(store, start, *((kind, part) for part in parts), _ledger(1, 1, rows=8))
    assert [row["row"] for row in _view(database)] == list(range(8))
    assert _query(database, "SELECT stored, stored_rows, set_aside FROM scorewire.ledger") == [(1, 8, 0)]
    assert _query(database, "SELECT * FROM scorewire.gaps") == []


def test_starts_say_what_wrote_them(store: PostgresStore, database: Database) -> None:
    start = new_start()
    begun = Start(
        start=start,
        segment=0,
        created="2096-11-29T17:00:00.000000Z",
        server="0.1.0",
        engine="native",
        writers=1,
    )
    _store(store, start, StartDescription(0, begun))
    query = "SELECT server, engine, ended FROM scorewire.starts"
    assert _query(database, query) == [("0.1.0", "native", False)]
    _store(store, start, End(0))
    assert _query(database, query) == [("0.1.0", "native", True)]


def test_a_block_that_the_database_refuses_is_told_and_passed_over(
    store: PostgresStore, database: Database
) -> None:
    start, kind = new_start(), source()
    # A time that PostgreSQL does not have.
    wrong = rows_of(kind, 1, 2, time_us=9_000_000_000_000_000_000)
    blocks = [rows_of(kind, 0, 1), wrong, rows_of(kind, 3, 1)]
    store.position(start)
    numbered = [SourceRows(number, kind, each) for number, each in enumerate(blocks)]
    with pytest.raises(RefusedError) as error:
        store.store(start, 0, numbered)
    assert error.value.block.number == store.position(start) == 1
    for _ in range(2):
        store.pass_over(start, numbered[1])
    store.store(start, 0, numbered[2:])
    assert [row["sequence"] for row in _view(database)] == [0, 3]
    assert (store.position(start), store.totals(start)) == (3, Totals(stored=2, refused=2))
    # The numbers have their cause before the next ledger, and it is told once.
    for _ in range(2):
        gaps = _query(database, "SELECT first_sequence, last_sequence, causes FROM scorewire.gaps")
        assert gaps == [(1, 2, ["set_aside"])]
        assert _query(database, "SELECT stored, set_aside, set_aside_rows FROM scorewire.ledger") == [
            (2, 2, 2)
        ]
        assert _query(database, "SELECT predictions, rows FROM scorewire.losses") == [(2, 2)]
        _store(store, start, _ledger(4, 4))


def test_a_prediction_is_found_without_reading_all(store: PostgresStore, database: Database) -> None:
    start, kind = new_start(), source()
    _store(store, start, (kind, rows_of(kind, 0, 20_000)))
    with database.connect() as connection:
        (table,) = connection.execute("SELECT name FROM scorewire.partitions").fetchone() or ("",)
        connection.execute(f'VACUUM ANALYZE scorewire."{table}"')
        plan = connection.execute(
            f"EXPLAIN (ANALYZE) SELECT * FROM scorewire.churn WHERE writer = '{start}' AND sequence = 12345"
        ).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "Bitmap Index Scan" in text


def test_a_database_without_the_schema_says_what_to_do(empty_database: Database) -> None:
    store = PostgresStore(empty_database)
    with pytest.raises(StoreError, match="run `scorewire records init --to"):
        store.position(new_start())


def test_transactions_have_a_bound(
    store: PostgresStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scorewire_records.postgresql.store._MAX_TRANSACTION_ROWS", 10)
    small = PostgresStore(database)
    start, kind = new_start(), source()
    _store(small, start, *((kind, rows_of(kind, first, 4)) for first in range(0, 40, 4)), _ledger(40, 40))
    ((table,),) = _query(database, "SELECT name FROM scorewire.tables")
    assert len(_query(database, f'SELECT DISTINCT xmin::text FROM scorewire."{table}"')) == 5
    assert small.totals(start) == Totals(stored=40)
    small.close()
