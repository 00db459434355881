from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from scorewire_training.errors import TrainingError
from scorewire_training.tables.files import open_table
from scorewire_training.tables.settings import TableSettings


def _read(path: Path, *columns: str, **settings: str) -> pd.DataFrame:
    file = open_table(path, TableSettings(**settings))  # type: ignore[arg-type]
    return file.read(columns or file.columns)


def test_values_of_a_csv_file_keep_their_spelling(tmp_path: Path) -> None:
    path = tmp_path / "a.CSV"
    path.write_text("code,country,count\n007,NA,1\n,de,\n", encoding="utf-8")
    table = _read(path, "count", "code", "country")
    assert table.columns.tolist() == ["count", "code", "country"]
    assert table["code"].tolist()[0] == "007"
    assert table["code"].isna().tolist() == [False, True]
    assert table["country"].tolist() == ["NA", "de"]
    assert table["count"].tolist()[0] == "1"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"x", r"neither \.csv nor \.parquet: convert it"),
        ("absent.csv", None, "cannot be read: No such file"),
        ("absent.parquet", None, "cannot be read"),
        ("a.csv", b"", "is not a table"),
        ("a.csv", b"x,y\n", "has no rows"),
        ("a.csv", b"x,y\n1,2\n1,2,3\n", "is not a table"),
        ("a.csv", b"x\n\x81\xfe\n", "is not UTF-8"),
        ("a.parquet", b"PAR1 and then nothing of the kind", "is not a table"),
    ],
)
def test_a_file_that_is_no_table_is_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainingError, match=message):
        _read(path)


def test_parquet_files_are_read_as_they_are_stored_and_not_as_pandas_would(tmp_path: Path) -> None:
    path, ids = tmp_path / "a.parquet", [1 << 60, (1 << 60) + 1, None]
    table = pd.DataFrame({"id": pd.array(ids, "Int64"), "time": ["1", "2", "3"]}).set_index("time")
    table.to_parquet(path)
    assert _read(path, "time", "id").to_numpy().tolist() == [["1", ids[0]], ["2", ids[1]], ["3", None]]
    # A file of another program, without the types of pandas.
    parquet.write_table(pa.table({"id": pa.array(ids, pa.int64())}), path)
    for frame in (_read(path, "id"), *open_table(path, TableSettings()).read_parts(["id"], 10)):
        assert frame["id"].tolist() == ids


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(TrainingError, match="cannot be read"):
        _read(tmp_path / "a.csv")
