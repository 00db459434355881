"""The access files that pages show can be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scorewire_server.access.access_file import parse_access_file
from tests.docs.pages import ROOT

PAGES = [path for path in sorted((ROOT / "docs").glob("*.md")) if "[principals." in path.read_text("utf-8")]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_an_access_file_of_a_page_can_be_used(page: Path) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    files = [block for block in blocks if "[principals." in block]
    assert files
    for block in files:
        assert parse_access_file(block.encode(), Path("access.toml")).table.principals
