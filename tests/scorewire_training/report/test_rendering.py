from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from scorewire_training.report import render_report
from scorewire_training.training_result import PredictionKind, ReportSection, TrainingResult
from tests.scorewire_training.results import make_explained_row, make_result

VOID = {"meta", "br", "img", "link", "input", "hr"}
HOSTILE = "<script>alert(1)</script>\"'&$x$"


class Page(HTMLParser):
    """Collects what a browser would see: elements, ids, requested resources and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in {"src", "href", "xlink:href", "action", "data"}:
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def render(result: TrainingResult) -> str:
    explained_row = make_explained_row(result)
    return render_report(result, version="1.2.0", seed=0, explained_row=explained_row).decode()


@pytest.fixture(scope="module", params=list(PredictionKind), ids=lambda kind: kind.value)
def html(request: pytest.FixtureRequest) -> str:
    return render(make_result(request.param))


def test_a_page_is_whole_and_asks_for_nothing_from_outside(html: str) -> None:
    page = Page(html)
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert page.handlers == []
    assert page.links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors <= set(page.ids)
    assert "default-src 'none'" in html
    assert "url(http" not in html
    assert "@import" not in html
    assert len(html) < 3 << 20


def test_every_part_is_there_with_its_charts(html: str) -> None:
    for heading in (
        "Metrics on held-out rows",
        "Segments",
        "Feature importance",
        "One prediction explained",
        "Candidates",
        "Data quality",
    ):
        assert f"<h2>{heading}" in html
    for chart in (
        "Learning curve:",
        "Permutation importance:",
        "SHAP values:",
        "Why the prediction is what it is:",
        "correlation of ranks",
        "Rows left",
    ):
        assert re.search(rf'aria-label="[^"]*{chart}', html), chart
    # The chart of cleaning: rows as read, and rows after each step.
    assert "1,700" in html
    assert "1,400 (−300)" in html
    assert "boosted trees ✓ chosen" in html
    assert "It knows four countries." in html
    assert "17.9%" in html
    assert html.count("<figure>") == html.count('role="img"') >= 14


def test_a_person_reads_the_outcome_first() -> None:
    result = make_result(PredictionKind.PROBABILITY)
    html = render(result)
    assert f"{result.metrics['auc']:.3f}" in html
    assert f"{result.metrics['auc_low']:.3f} to {result.metrics['auc_high']:.3f}" in html
    assert f"best rule: recency, {result.metrics['auc_recency_baseline']:.3f}" in html
    assert "no clear difference" in html
    assert html.index("no clear difference") < html.index("<section")


def test_names_and_texts_of_the_data_are_escaped() -> None:
    def rename(name: str) -> str:
        return HOSTILE + name

    result = make_result(
        PredictionKind.PROBABILITY,
        rename=rename,
        title=HOSTILE,
        description=HOSTILE,
        chosen=HOSTILE,
        limits=(HOSTILE,),
        sections=(
            ReportSection(
                title=HOSTILE,
                text=HOSTILE,
                table=pd.DataFrame({HOSTILE: [1.0]}, index=pd.Index([HOSTILE], name=HOSTILE)),
                chart=(HOSTILE,),
            ),
        ),
    )
    page = Page(render(result))
    assert page.open == []
    assert "script" not in page.tags
    assert page.handlers == []


def test_one_seed_gives_one_page_in_every_process(html: str) -> None:
    kind = PredictionKind.PROBABILITY if "Who buys again" in html else PredictionKind.AMOUNT
    code = (
        "import sys; from scorewire_training.training_result import PredictionKind as Kind; "
        "from tests.scorewire_training.report.test_rendering import render; "
        "from tests.scorewire_training.results import make_result; "
        f"sys.stdout.buffer.write(render(make_result(Kind({kind.value!r}))).encode())"
    )
    again = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert again.stdout.decode() == html


def test_log_scales_and_units_are_marked() -> None:
    table = pd.DataFrame(
        {"paid": [0.0, 0.0001, 3.0, 40_000.0], "share": [0.25, 0.5, 0.25, 0.00001]},
        index=pd.Index(["a", "b", "c", "d"], name="group"),
    )
    units = {"paid": "$", "share": "%"}
    section = ReportSection(title="S", text="T", table=table, chart=("paid", "share"), units=units)
    html = render(make_result(PredictionKind.AMOUNT, sections=(section,)))
    for title in ("true amount, log scale", "predicted amount, log scale", "mean amount", "log scale<"):
        assert title in html
    for cell in ("$0<", "&lt; $0.01<", "$3<", "$40,000<", "25.0%<", "&lt; 0.1%<"):
        assert f">{cell}/td>" in html
        assert cell.removesuffix("<") in html[: html.index("<table", html.index('id="section-1"'))]
    # Neither digits that nobody reads, nor amounts that nobody pays.
    assert not re.search(r"\de[-−]\d", re.sub(r"base64,[^\"]*|<path[^>]*>|#[0-9a-z]+", "", html))


def test_a_reader_without_a_mouse_or_eyes_gets_the_charts(html: str) -> None:
    assert html.count('<div class="scroll" tabindex="0">') == html.count('<div class="scroll"')
    labels = re.findall(r'role="img" aria-label="([^"]*)"', html)
    assert len(set(labels)) == len(labels)
    assert all(": " in label for label in labels)


def test_odd_data_is_drawn() -> None:
    """Constant, fully missing and integer columns, many distinct texts, no cleaning steps, no sections."""
    result = make_result(PredictionKind.AMOUNT)
    sample, test = result.sample.copy(), result.test.copy()
    for frame in (sample, test):
        frame["constant"] = 1.0
        frame["empty"] = np.nan
        frame["many"] = [f"device {place % 97}" for place in range(len(frame))]
    result = make_result(PredictionKind.AMOUNT, sample=sample, test=test, steps=(), sections=())
    page = Page(render(result))
    assert page.open == []
