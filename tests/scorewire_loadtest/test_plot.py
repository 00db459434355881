from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import matplotlib.image
import pytest

from scorewire_loadtest.plot import write_plot
from tests.scorewire_loadtest.test_report import NOTHING, RESULTS, WRONG, make_report


def test_a_png_is_a_picture_with_something_on_it(tmp_path: Path) -> None:
    write_plot(make_report(RESULTS, "p99=5ms"), tmp_path / "run.png")
    picture = matplotlib.image.imread(tmp_path / "run.png")
    assert picture.shape[0] > 1_000
    assert picture.shape[1] == 1_500
    assert picture.std() > 0.05


def test_the_same_run_gives_the_same_svg(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        write_plot(make_report(), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own file


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [
            value for name, value in attrs if value and name in {"src", "href"} and value[0] != "#"
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_needs_no_other_file_and_tells_all(tmp_path: Path) -> None:
    write_plot(make_report(WRONG, "p99=4ms", "max=1s"), tmp_path / "run.html")
    content = (tmp_path / "run.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(content)
    assert "svg" in page.tags
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert page.outside == []
    assert not re.search(r"@import|url\((?!#)", content)
    for text in ("4.12 ms", "MISSED", "TOO_MANY_IN_FLIGHT", "expected 2.0", "never sent", "127.0.0.1:8500"):
        assert text in page.text


def test_what_a_server_says_cannot_become_markup(tmp_path: Path) -> None:
    from dataclasses import replace

    bad = [replace(RESULTS.errors[0], example="<script>alert(1)</script>")]
    write_plot(make_report(replace(RESULTS, errors=bad)), tmp_path / "run.html")
    assert "<script" not in (tmp_path / "run.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["png", "svg", "html"])
def test_a_run_without_an_answer_can_be_drawn(tmp_path: Path, kind: str) -> None:
    write_plot(make_report(NOTHING), tmp_path / f"run.{kind}")
    assert (tmp_path / f"run.{kind}").stat().st_size > 1_000


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.png, \.svg or \.html"):
        write_plot(make_report(), tmp_path / "run.pdf")
