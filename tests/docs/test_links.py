"""Every link in a page leads to a file and a heading that exist, and all of its text is shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import PAGES, ROOT, read_anchors, read_links, read_tags

NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for target, line in read_links(page.read_text(encoding="utf-8")):
        parts = urlsplit(target)
        if parts.scheme in ("http", "https", "mailto"):
            continue
        linked = page.parent / unquote(parts.path) if parts.path else page
        if not linked.exists():
            wrong.append(f"{page}:{line}: there is no {target}")
        elif not linked.resolve().is_relative_to(ROOT):
            wrong.append(f"{page}:{line}: {target} leads out of the repository")
        elif parts.fragment and parts.fragment not in read_anchors(linked.read_text(encoding="utf-8")):
            wrong.append(f"{page}:{line}: {parts.path} has no heading #{parts.fragment}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_text_is_hidden_as_a_tag(page: Path) -> None:
    assert list(read_tags(page.read_text(encoding="utf-8"))) == []


def test_the_index_lists_every_page() -> None:
    index = ROOT / "docs/README.md"
    linked = {target.partition("#")[0] for target, _ in read_links(index.read_text(encoding="utf-8"))}
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {index.name} <= linked
