"""The generated parts of the pages are up to date."""

from __future__ import annotations

import re

import pytest

from scorewire_contract.service.settings import flag
from scorewire_server.settings import describe
from tests.docs.generated import PARTS, pages, update
from tests.docs.pages import PAGES, ROOT


@pytest.mark.parametrize("page", list(pages()), ids=lambda page: page.name)
def test_generated_parts_are_up_to_date(page) -> None:  # type: ignore[no-untyped-def]
    assert page.read_text(encoding="utf-8") == pages()[page], f"{page} is out of date: run make docs"


def test_every_part_is_in_a_page() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert set(re.findall(r"<!-- generated: ([a-z-]+) -->", text)) == set(PARTS)


def test_every_flag_of_the_server_is_documented() -> None:
    text = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
    assert all(f"| `{flag(name)}` |" in text for name in describe())


def test_a_part_is_replaced_and_the_rest_stays() -> None:
    page = "Before\n\n<!-- generated: families -->\nold\n<!-- end of generated -->\n\nAfter\n"
    updated = update(page)
    assert "old" not in updated
    assert "| XGBoost |" in updated
    assert updated.startswith("Before\n\n<!-- generated: families -->\n\n|")
    assert updated.endswith("|\n\n<!-- end of generated -->\n\nAfter\n")
    assert update(updated) == updated
