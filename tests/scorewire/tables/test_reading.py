from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scorewire.tables import FileError, read_csv, read_parquet, reading


def opened(content: bytes) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the reader closes it
    file.write(content)
    file.seek(0)
    return file


def test_a_chunk_of_csv_ends_early_when_its_rows_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_CHUNK_SIZE", 100)
    with read_csv(opened(b"a,b\n" + b"x" * 60 + b",1\n" + b"y,2\n" * 50), "it") as table:
        sizes = [chunk.row_count for chunk in table.chunks(1000)]
    assert sum(sizes) == 51
    assert max(sizes) == 25
    assert sizes[0] < 15


def test_a_chunk_of_parquet_ends_early_when_its_rows_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_CHUNK_SIZE", 1000)
    file = io.BytesIO()
    pq.write_table(pa.table({"text": ["x" * 400] * 10 + ["y"] * 90}), file)
    with read_parquet(file, "it") as table:
        chunks = list(table.chunks(10))
    assert [value for chunk in chunks for value in chunk.values("text")] == ["x" * 400] * 10 + ["y"] * 90
    assert chunks[0].row_count == 2


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a,b\n" + b"x" * 300, id="one line"),
        pytest.param(b"a,b\n" + b'"\n",' * 100, id="many lines"),
    ],
)
def test_a_row_of_csv_has_a_bound(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(reading, "_MAX_ROW_CHARACTERS", 200)
    with (
        pytest.raises(FileError, match=r"a row has more than 200 characters"),
        read_csv(opened(content), "it") as table,
    ):
        list(table.chunks(10))


@pytest.mark.parametrize("begin", [b"", b"\n"])
def test_the_header_of_csv_has_a_bound(monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    monkeypatch.setattr(reading, "_MAX_HEADER_CHARACTERS", 200)
    with pytest.raises(FileError, match=r"the header has more than 200 characters"):
        read_csv(opened(begin + b"a," * 300), "it")


def test_rows_up_to_the_bound_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_MAX_ROW_CHARACTERS", 200)
    rows = ["x" * 199, '"""' + "\n" + '",' + "y" * 150, "z" * 199]
    content = "a,b\n" + "".join(f"{row}\n" for row in (rows[0][:-1] + ",", *rows[1:]))
    with (
        pytest.raises(FileError, match="line 5: 1 values for 2 columns"),
        read_csv(opened(content.encode()), "it") as table,
    ):
        list(table.chunks(10))
    with read_csv(opened(content.replace("zz\n", ",\n").encode()), "it") as table:
        (chunk,) = table.chunks(10)
    assert [len(value) for value in chunk.values("a")] == [198, 2, 197]
    assert [len(value) for value in chunk.values("b")] == [0, 150, 0]


def test_the_error_of_a_file_that_is_not_utf_8_names_the_byte(tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.csv"
    mixed.write_bytes("a,b\nPerú,1\n".encode() + "Perú,2\n".encode("latin-1"))
    with (
        mixed.open("rb") as file,
        pytest.raises(FileError, match="it is not UTF-8, as its byte 0xfa shows"),
        read_csv(file, "mixed.csv") as table,
    ):
        list(table.chunks(10))
