from __future__ import annotations

from pathlib import Path

import pytest

from scorewire_training.errors import TrainingError
from scorewire_training.input_table import read_table


def test_text_columns_of_a_csv_file_keep_their_spelling(tmp_path: Path) -> None:
    path = tmp_path / "a.CSV"
    path.write_text("code,country,count\n007,NA,1\n,de,\n", encoding="utf-8")
    table = read_table(path, text_columns=("code", "country"))
    assert table["code"].tolist()[0] == "007"
    assert table["code"].isna().tolist() == [False, True]
    assert table["country"].tolist() == ["NA", "de"]
    assert table["count"].dtype == "float64"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"x", r"neither \.csv nor \.parquet: convert it"),
        ("absent.csv", None, "cannot be read: No such file"),
        ("absent.parquet", None, "cannot be read"),
        ("a.csv", b"", "is not a table"),
        ("a.csv", b"x,y\n", "has no rows"),
        ("a.csv", b"x,y\n1,2\n1,2,3\n", "is not a table"),
        ("a.csv", b"x\n\xff\xfe\n", "is not UTF-8"),
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
        read_table(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(TrainingError, match="cannot be read"):
        read_table(tmp_path / "a.csv")
