from __future__ import annotations

import pytest
from scorewire_gateway.errors import RequestError
from scorewire_gateway.uploads.formats import Format, format_of, wanted_format

CSV, PARQUET, LINES = Format.CSV, Format.PARQUET, Format.JSON_LINES


@pytest.mark.parametrize(
    ("header", "filename", "found"),
    [
        ("text/csv", "", CSV),
        ('Text/CSV; charset="UTF-8"; header=present', "", CSV),
        ("application/vnd.apache.parquet", "", PARQUET),
        ("application/parquet", "rows.csv", PARQUET),
        ("application/octet-stream", "rows.PARQUET", PARQUET),
        ("", "rows.csv", CSV),
        ("application/x-ndjson", "", None),
        ("text/plain", "", None),
        ("", "", None),
        (";;;", "rows.xlsx", None),
    ],
)
def test_the_format_is_told_by_the_type_and_then_by_the_name(
    header: str, filename: str, found: Format | None
) -> None:
    assert format_of(header, filename) is found


def test_csv_in_another_encoding_is_refused() -> None:
    with pytest.raises(RequestError, match="CSV is read as UTF-8, and not as 'latin-1'") as caught:
        format_of("text/csv; charset=latin-1")
    assert caught.value.http_code == 415


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        ([], PARQUET),
        ([""], PARQUET),
        (["*/*"], PARQUET),
        (["text/csv"], CSV),
        (["text/*"], CSV),
        (["application/json, */*;q=0.1"], PARQUET),
        (["text/csv;q=0.5, application/x-ndjson"], LINES),
        (["text/csv;q=0.5", "application/jsonl;q=0.7"], LINES),
        (["text/csv;q=0, application/vnd.apache.parquet;q=0.1"], PARQUET),
        (["text/csv;q=nan, application/x-ndjson;q=0.1"], LINES),
    ],
)
def test_accept_chooses_the_format_of_the_answer(accept: list[str], found: Format) -> None:
    assert wanted_format(accept, PARQUET) is found


@pytest.mark.parametrize("accept", ["application/json", "text/csv;q=0", "image/*"])
def test_an_answer_that_no_one_accepts_is_refused(accept: str) -> None:
    with pytest.raises(RequestError, match="they are text/csv, application/vnd.apache.parquet") as caught:
        wanted_format([accept], CSV)
    assert caught.value.http_code == 406


@pytest.mark.parametrize("tail", [";", '\\";'])
def test_the_time_for_a_header_grows_with_its_length_only(tail: str) -> None:
    # A parser that looks back at each semicolon would take hours.
    assert format_of('text/csv;"' + tail * 500_000) is CSV
