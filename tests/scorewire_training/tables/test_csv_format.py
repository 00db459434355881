from __future__ import annotations

from pathlib import Path

import pytest

from scorewire_training.errors import TrainingError
from scorewire_training.tables import csv_format
from scorewire_training.tables.csv_format import CsvFormat, detect_csv_format
from scorewire_training.tables.files import open_table
from scorewire_training.tables.settings import TableSettings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.csv"


def _detect(path: Path, content: str | bytes, **settings: str) -> CsvFormat:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return detect_csv_format(path, TableSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n", ";"),
        ("a\tb,c\n1\t2\n", "\t"),
        ("a|b|c\n1|2|3\n", "|"),
        ("a\n1\n", ","),
        ('a;"b;c"\n"1\n;2";3\n', ";"),
        ("a,b;c,d\n1,2;3,4\n", ","),
    ],
)
def test_the_delimiter_is_the_one_that_divides_header_and_rows_alike(
    path: Path, content: str, delimiter: str
) -> None:
    found = _detect(path, content)
    assert found.delimiter == delimiter
    assert "found from the header" in found.notes[1].text
    assert _detect(path, content, delimiter="x").delimiter == "x"


@pytest.mark.parametrize("before", [1, 1_000, 250_000])
def test_rows_with_more_values_than_the_header_are_explained(path: Path, before: int) -> None:
    path.write_text("customer,amount\n" + "a,1\n" * before + "b,12,50\n")
    with pytest.raises(
        TrainingError, match=f"row {before + 1:,} has more values than the header, divided by a comma; pass"
    ):
        list(open_table(path, TableSettings()).read_parts(["amount"], 100_000))
    path.write_text("customer,amount\n" + "a,1\n" * before + "b,1,2,3\n")
    with pytest.raises(TrainingError, match="is not a table: "):
        open_table(path, TableSettings()).read(["amount"])
    # A decimal comma before an empty value looks like a comma at the end of the row.
    path.write_text("customer,amount,note\n" + "a,1,x\n" * before + "b,12,50,\n")
    with pytest.raises(
        TrainingError, match=f"row {before + 1:,} has more values .* end the header as the rows"
    ):
        open_table(path, TableSettings()).read(["amount"])
    # A comma at the end of each line, and of the header, is no value.
    path.write_text("customer,amount,\n" + "a,1,\n" * before + "b,2\n")
    table = open_table(path, TableSettings()).read(["amount", "customer"])
    assert table.iloc[-2:].to_numpy().tolist() == [["1", "a"], ["2", "b"]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "windows-1252", "latin-1"])
@pytest.mark.parametrize("block_bytes", [3, 1 << 20])
def test_texts_are_decoded_with_the_encoding_of_the_file(
    path: Path, encoding: str, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_format, "_BLOCK_BYTES", block_bytes)
    path.write_bytes("país,name\nPerú,plain\n".encode(encoding))
    given = {"encoding": encoding} if encoding == "utf-16-le" else {}
    table = open_table(path, TableSettings(**given)).read(["país"])  # type: ignore[arg-type]
    assert table["país"].tolist() == ["Perú"]


def test_a_guessed_encoding_is_told_with_a_text_to_judge_it_by(path: Path) -> None:
    note = _detect(path, b"name,country\nx,Per\xfa\ny,\xf1\n").notes[0]
    assert note.text == "windows-1252, guessed, as the file is not UTF-8"
    assert "'Perú'" in note.values
    assert _detect(path, "a\nü\n").notes[0].text == "UTF-8"


@pytest.mark.parametrize(
    ("content", "line", "shown"),
    [
        ("name,country\nJosé,Perú\n".encode() + b"x,M\xe9xico\ny,z\n", 3, "'M\ufffdxico'"),
        (b"name,country\nx,M\xe9xico\n" + "José,Perú\n".encode(), 2, "'M\ufffdxico'"),
        (b"name,country\nx,M\xe9xico\n" + "Á,Perú\n".encode(), 2, "'M\ufffdxico'"),
        ("name,country\nJosé,Perú".encode()[:-1], 2, "'Per\ufffd'"),
        ("name,country\nx,y\nx,Per".encode("utf-8-sig") + b"\xfa\n", 3, "'Per\ufffd'"),
    ],
)
def test_a_file_that_is_utf_8_in_most_places_is_refused_with_the_first_other_place(
    path: Path, content: bytes, line: int, shown: str
) -> None:
    with pytest.raises(
        TrainingError, match=f"is UTF-8, but not in all places: line {line} has {shown}; corr"
    ):
        _detect(path, content)
    for block_bytes in (3, 13):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csv_format, "_BLOCK_BYTES", block_bytes)
            # At the end of a block, the value is cut off.
            with pytest.raises(TrainingError, match=f"is UTF-8, but not in all places: line {line} has '"):
                _detect(path, content)
    assert _detect(path, content, encoding="latin-1").encoding == "latin-1"


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (b"", {}, "is not a table: it is empty"),
        (b"\n\n", {}, "is not a table: it is empty"),
        (b"a\n\x81\xff\n", {}, "is not UTF-8: pass its --encoding"),
        (b"a\n\xff\n", {"encoding": "utf-8"}, "is not utf-8: pass another --encoding"),
        (b"a\n\xff\n", {"encoding": "ascii"}, "is not ascii"),
        ("a,b\n1,2\n".encode("utf-16-le"), {}, "zero bytes, like UTF-16 .* --encoding, like utf-16-le"),
        (b'a,b\n"1,2\n' + b"x" * 200_000, {}, "the table is not CSV: field larger"),
    ],
)
def test_a_file_that_cannot_be_decoded_is_refused(
    path: Path, content: bytes, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        _detect(path, content, **settings)


def test_quoted_values_may_have_line_ends_and_rows_end_as_on_windows(path: Path) -> None:
    path.write_bytes(b'a;b\r\n"x\r\ny";1\r\n"say ""hi""";2\r\n')
    table = open_table(path, TableSettings()).read(["a", "b"])
    assert table["a"].tolist() == ["x\r\ny", 'say "hi"']
    assert table["b"].tolist() == ["1", "2"]


def test_a_line_that_tells_excel_the_delimiter_is_no_header(path: Path) -> None:
    path.write_bytes(b"sep=|\r\na,b|c\r\n1,2|3\r\n")
    file = open_table(path, TableSettings())
    assert file.read(["a,b", "c"]).to_numpy().tolist() == [["1,2", "3"]]
    assert file.notes[1].text == "a bar (the first line says so)"


def test_a_sample_that_ends_within_a_row_does_no_harm(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_format, "_SAMPLE_CHARACTERS", 10)
    assert _detect(path, "a;b\n1;2\n3,4,5;6\n").delimiter == ";"
