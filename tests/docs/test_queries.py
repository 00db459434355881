"""The queries of docs/operations.md are valid, and ask for metrics and labels that exist."""

from __future__ import annotations

import re

import pytest

from tests.deploy.queries import check
from tests.docs.pages import ROOT

_TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
_QUERY = re.compile(r"^\| [^|`]+ \| `(.+)` \|$", re.MULTILINE)
QUERIES = _QUERY.findall(_TEXT[_TEXT.index("## What to watch") : _TEXT.index("## Alerts")])


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_valid_and_asks_for_what_there_is(query: str) -> None:
    check(query)


def test_the_page_has_queries() -> None:
    assert len(QUERIES) >= 10
