from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from scorewire_gateway.files.conditions import Answer, http_date, wanted
from scorewire_gateway.files.media import media_headers
from starlette.datastructures import Headers

TAG = '"abc"'
MODIFIED = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
DATE = http_date(MODIFIED)
ALL = range(100)


def asked(*, is_get: bool = True, size: int = 100, tag: str | None = TAG, **headers: str) -> range | Answer:
    given = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return wanted(given, tag=tag, modified=MODIFIED, size=size, is_get=is_get)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes=0-9", range(10)),
        ("bytes=10-", range(10, 100)),
        ("bytes=-10", range(90, 100)),
        ("bytes=-1000", ALL),
        ("bytes=99-99", range(99, 100)),
        ("bytes=50-1000", range(50, 100)),
        ("Bytes=0-0", range(1)),
        ("bytes=100-", Answer.NOT_SATISFIABLE),
        ("bytes=100-200", Answer.NOT_SATISFIABLE),
        ("bytes=-0", Answer.NOT_SATISFIABLE),
        ("bytes=9999999999999999999-", Answer.NOT_SATISFIABLE),
        ("bytes=0-1,5-6", ALL),
        ("bytes=9-0", ALL),
        ("bytes=-", ALL),
        ("bytes=a-b", ALL),
        ("bytes=0-" + "9" * 30, ALL),
        ("bytes=١-٢", ALL),
        ("rows=0-9", ALL),
        ("", ALL),
    ],
)
def test_one_range_is_answered_and_all_else_is_the_file(text: str, found: range | Answer) -> None:
    if text.isascii():
        assert asked(range=text) == found
    assert asked(range=text, is_get=False) == ALL if text.isascii() else True


def test_an_empty_file_has_no_range() -> None:
    assert asked(size=0) == range(0)
    assert asked(size=0, range="bytes=0-") is Answer.NOT_SATISFIABLE
    assert asked(size=0, range="bytes=-5") is Answer.NOT_SATISFIABLE


@pytest.mark.parametrize(
    ("if_range", "is_part"),
    [
        (TAG, True),
        (DATE, True),
        ('"other"', False),
        (f"W/{TAG}", False),
        (http_date(MODIFIED + timedelta(seconds=1)), False),
        (http_date(MODIFIED - timedelta(seconds=1)), False),
        ("nonsense", False),
    ],
)
def test_a_range_of_another_version_is_the_file(if_range: str, is_part: bool) -> None:
    assert asked(range="bytes=0-9", if_range=if_range) == (range(10) if is_part else ALL)
    assert asked(range="bytes=0-9", if_range=if_range, tag=None) == (range(10) if if_range == DATE else ALL)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"if_none_match": TAG}, Answer.NOT_MODIFIED),
        ({"if_none_match": f'"x", W/{TAG}'}, Answer.NOT_MODIFIED),
        ({"if_none_match": "*"}, Answer.NOT_MODIFIED),
        ({"if_none_match": '"x"'}, ALL),
        ({"if_none_match": '"x"', "if_modified_since": DATE}, ALL),
        ({"if_modified_since": DATE}, Answer.NOT_MODIFIED),
        ({"if_modified_since": http_date(MODIFIED - timedelta(seconds=1))}, ALL),
        ({"if_modified_since": "yesterday"}, ALL),
        ({"if_modified_since": f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT"}, ALL),
        ({"if_match": TAG}, ALL),
        ({"if_match": "*"}, ALL),
        ({"if_match": f"W/{TAG}"}, Answer.PRECONDITION_FAILED),
        ({"if_match": '"x"', "if_none_match": TAG}, Answer.PRECONDITION_FAILED),
        ({"if_match": TAG, "range": "bytes=0-9"}, range(10)),
    ],
)
def test_conditions(headers: dict[str, str], found: range | Answer) -> None:
    assert asked(**headers) == found


@pytest.mark.parametrize(
    ("name", "kind", "disposition"),
    [
        ("report.html", "text/html; charset=utf-8", 'inline; filename="report.html"'),
        ("MODEL.MD", "text/markdown; charset=utf-8", 'inline; filename="MODEL.MD"'),
        ("scores.parquet", "application/vnd.apache.parquet", 'attachment; filename="scores.parquet"'),
        ("README", "application/octet-stream", 'attachment; filename="README"'),
        (
            'é"%\r\n.csv',
            "text/csv; charset=utf-8",
            "attachment; filename=\"_____.csv\"; filename*=UTF-8''%C3%A9%22%25%0D%0A.csv",
        ),
    ],
)
def test_browsers_are_told_what_a_file_is(name: str, kind: str, disposition: str) -> None:
    headers = media_headers(name)
    assert headers["Content-Type"] == kind
    assert headers["Content-Disposition"] == disposition
    assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none';")
