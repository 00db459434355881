"""The form of a model explains a score, where the model can."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from scorewire.testing import FakeServer
from tests.fake_models import LEAVING, SHADE, SUM
from tests.scorewire_gateway.console.browser import go, new_page
from tests.scorewire_gateway.console.test_accessibility import LOOKS, _violations
from tests.scorewire_gateway.gateways import gateway_thread

NAMES = ["<b>x</b>", "y" * 200, *(f"column {place}" for place in range(13))]
WIDE = replace(
    SUM,
    name="wide",
    features=dict.fromkeys(NAMES, float),
    explain=lambda _: {name: (-1) ** place * (place + 1) / 8 for place, name in enumerate(NAMES)},
    score=lambda _: 0.0,
)


@pytest.fixture(scope="module")
def explaining() -> Iterator[str]:
    """The origin of a gateway in front of models that explain their predictions, and one that does not."""
    with FakeServer(LEAVING, SHADE, SUM, WIDE) as server, gateway_thread(server.address) as http:
        yield str(http.base_url).rstrip("/")


@pytest.fixture
def page(browser: Browser, explaining: str) -> Iterator[Page]:
    with new_page(browser, explaining) as page:
        yield page


def score(page: Page) -> None:
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator(".answer")).to_be_visible()


def bars(page: Page) -> list[str]:
    return [" ".join(each.split()) for each in page.locator(".why li").all_inner_texts()]


def test_a_score_is_explained_if_that_is_asked_for(page: Page) -> None:
    go(page, "models/leaving/score")
    for name, value in {"age": "30", "country": "pe", "visits": "8", "plan": ""}.items():
        page.get_by_label(name, exact=True).fill(value)
    score(page)
    expect(page.locator(".contributions")).to_have_count(0)
    page.get_by_label("Explain").check()
    with page.expect_request("**/models/leaving:predict") as asked:
        score(page)
    assert json.loads(asked.value.post_data or "")["explain"] == 10
    expect(page.locator(".contributions")).to_be_visible()
    assert bars(page) == ["age +3", "visits −2", "country +1", "plan +0"]
    expect(page.locator(".contributions")).to_contain_text("Why probabilities, yes")
    expect(page.locator(".contributions")).to_contain_text("The base −0.5 and the contributions")
    expect(page.locator(".contributions")).to_contain_text("add up to the margin 1.5; link: sigmoid.")
    widths = page.locator(".why-bar").evaluate_all("bars => bars.map(each => each.style.width)")
    assert [float(each.rstrip("%")) for each in widths] == pytest.approx([50, 100 / 3, 50 / 3, 0], abs=0.01)
    page.get_by_role("radio", name="Python SDK").check()
    program = page.get_by_role("region", name="Program", exact=True)
    expect(program).to_contain_text(", explain=10)")
    page.get_by_label("Explain").uncheck()
    expect(program).not_to_contain_text("explain")


def test_of_several_classes_the_predicted_one_is_explained(page: Page) -> None:
    go(page, "models/shade/score")
    page.get_by_label("x", exact=True).fill("1")
    page.get_by_label("y", exact=True).fill("3")
    page.get_by_label("Explain").check()
    score(page)
    expect(page.locator(".contributions")).to_contain_text("Why probabilities, blue")
    assert bars(page) == ["y +6", "x +1"]


def test_a_model_that_cannot_explain_has_no_such_choice(page: Page) -> None:
    go(page, "models/sum/score")
    expect(page.get_by_role("button", name="Score", exact=True)).to_be_visible()
    expect(page.get_by_label("Explain")).to_have_count(0)


@pytest.mark.parametrize("look", list(LOOKS))
def test_many_columns_with_odd_names_fit_the_screen(browser: Browser, explaining: str, look: str) -> None:
    with new_page(browser, explaining, reduced_motion="reduce", **LOOKS[look]) as page:
        go(page, "models/wide/score")
        page.get_by_label("Explain").check()
        score(page)
        expect(page.locator(".why li")).to_have_count(11)
        found = bars(page)
        assert found[0] == "column 12 +1.875"
        assert found[-1] == "5 other columns +0.375"
        assert _violations(page) == {}
        width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1]
