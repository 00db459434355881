"""Every view passes axe's rules of WCAG 2.2 AA, and fits a narrow screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.scorewire_gateway.console.browser import go, new_page

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "has_touch": True},
}
PLACES = {
    "overview": "",
    "model": "models/sum",
    "score": "models/sum/score",
    "classes": "models/classes/score",
    "comparison": "models/sum/comparison",
    "statistics": "statistics",
    "records": "records",
    "files": "files",
    "jobs": "jobs",
    "nowhere": "nowhere",
}


@pytest.fixture(params=list(LOOKS))
def look(request: pytest.FixtureRequest, browser: Browser, origin: str) -> Iterator[Page]:
    # Without movement, so that no colour is half way between two.
    with new_page(browser, origin, reduced_motion="reduce", **LOOKS[request.param]) as page:
        yield page


def test_all_views_pass_the_rules_and_none_is_wider_than_the_screen(look: Page) -> None:
    wrong: dict[str, Any] = {}
    for name, place in PLACES.items():
        go(look, place)
        if name in ("score", "classes"):
            look.get_by_role("button", name="Score", exact=True).click()
            expect(look.locator(".answer")).to_be_visible()
        if name == "comparison":
            expect(look.locator(".chart-drawing").first).to_be_visible()
        wrong |= {f"{name}: {rule}": found for rule, found in _violations(look).items()}
        width = look.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        if width[0] > width[1]:
            wrong[f"{name}: width"] = width
    assert wrong == {}


@pytest.mark.parametrize("width", [740, 900, 1000])
def test_no_view_is_wider_than_a_window_of_middle_width(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    wide: dict[str, int] = {}
    for name, place in PLACES.items():
        go(page, place)
        found = page.evaluate("document.documentElement.scrollWidth")
        if found > width:
            wide[name] = found
    assert wide == {}


def test_a_wrong_field_and_a_sign_in_pass_the_rules(page: Page) -> None:
    go(page, "models/sum/score")
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator(".field-wrong")).to_be_visible()
    assert _violations(page) == {}
    error = {"error": {"status": "UNAUTHENTICATED", "message": "no credentials"}}
    page.route("**/stats*", lambda route: route.fulfill(status=401, json=error))
    go(page, "statistics")
    expect(page.get_by_label("Token")).to_be_visible()
    assert _violations(page) == {}


def _violations(page: Page) -> dict[str, list[str]]:
    """The elements that break a rule, by rule."""
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}})
    return {
        each["id"]: [node["html"][:200] + str(node["failureSummary"])[:300] for node in each["nodes"]]
        for each in found.response["violations"]
    }
