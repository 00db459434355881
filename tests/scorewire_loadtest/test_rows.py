from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scorewire import Feature, FeatureKind, Schema
from scorewire_loadtest import rows
from scorewire_loadtest.rows import Table, read_table
from scorewire_proto.v1 import prediction_pb2

SCHEMA = Schema(
    features=(
        Feature(name="age", kind=FeatureKind.NUMBER),
        Feature(name="country", kind=FeatureKind.TEXT),
        Feature(name="spent", kind=FeatureKind.NUMBER),
    ),
    outputs=(),
    fingerprint="f",
)


def assert_table(table: Table) -> None:
    np.testing.assert_array_equal(table.numbers, [[41.0, 1.5], [np.nan, 2e3], [7.0, np.nan]])
    assert table.texts == [("PE",), ("",), ("a,b",)]


def test_a_csv_file_is_read_by_its_column_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('\ufeffspent,other,country,age\n1.5,x,PE,41\n2e3,x,,NA\n,x,"a,b",7\n', encoding="utf-8")
    assert_table(read_table(path, SCHEMA))


def test_a_parquet_file_is_read_by_its_column_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    frame = {"spent": [1.5, 2e3, None], "other": 0, "country": ["PE", None, "a,b"], "age": [41, None, 7]}
    pd.DataFrame(frame).to_parquet(path)
    assert_table(read_table(path, SCHEMA))


def test_no_more_rows_are_read_than_the_memory_should_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_FILE_ROWS", 2)
    path = tmp_path / "rows.csv"
    path.write_text("spent,country,age\n1,a,1\n2,b,2\n3,c,3\n", encoding="utf-8")
    assert read_table(path, SCHEMA).row_count == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "spent,age\n1,2\n", "lacks the columns country"),
        ("rows.csv", "spent,country,age\n", "has no rows"),
        ("rows.csv", "", "lacks the columns age, country, spent"),
        ("rows.csv", "spent,country,age\n1,a,1\n1,a,old\n", "row 1: age is 'old', which is not a number"),
        ("rows.csv", "spent,country,age\n1,a,1\n1,a\n", "line 3: not as many values as columns"),
        ("rows.csv", "spent,country,age\n1,a,1,x\n", "line 2: not as many values as columns"),
        ("rows.csv", 'spent,country,age\n1,"a,1\n', "after line 2: unexpected end of data"),
        ("rows.csv", f"spent,country,age\n1,{'a' * 140_000},1\n", "rows.csv, after line 2: field larger"),
        ("rows.parquet", "no", "is not a Parquet file"),
        ("rows.txt", "", "neither .csv nor .parquet"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_place(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_table(path, SCHEMA)


def test_rows_of_a_message_must_have_the_counts_of_the_schema() -> None:
    message = prediction_pb2.Rows(row_count=2, numbers=[1, 2, 3, 4], texts=["a", "b"])
    table = Table.of_rows(message, 2, 1)
    assert (table.numbers.tolist(), table.texts) == ([[1, 2], [3, 4]], [("a",), ("b",)])
    with pytest.raises(ValueError, match="reshape"):
        Table.of_rows(message, 3, 1)
    with pytest.raises(ValueError, match="2 texts are not 2 rows of 2"):
        Table.of_rows(message, 2, 2)
