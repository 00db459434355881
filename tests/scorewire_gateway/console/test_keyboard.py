"""The console is operable by the keyboard alone: everything is reached, seen, and left again."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.scorewire_gateway.console.browser import go

FOCUSED = """() => {
  const element = document.activeElement;
  return element.id || element.textContent.trim().slice(0, 40) || element.tagName;
}"""
# Whether the element with the focus has an outline, or what stands for it has one.
VISIBLE = """() => {
  const element = document.activeElement;
  const own = [element, element.nextElementSibling].filter(Boolean);
  const styles = own.flatMap((each) => [getComputedStyle(each), getComputedStyle(each, "::after")]);
  return styles.some((style) => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2);
}"""
PLACES = [
    "",
    "models/sum",
    "models/sum/score",
    "models/sum/comparison",
    "statistics",
    "records",
    "files",
    "jobs",
]


def tab_to(page: Page, name: str, *, most: int = 60) -> None:
    """Press Tab until the element with an accessible name has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if name in page.evaluate(FOCUSED):
            return
    raise AssertionError(f"{name!r} is not reached by Tab")


def test_a_row_is_scored_without_a_mouse(page: Page) -> None:
    go(page)
    tab_to(page, "sum")
    page.keyboard.press("Enter")
    # The focus is at the heading of the next page, so that one goes on reading there.
    expect(page.locator("h1")).to_be_focused()
    expect(page.locator("h1")).to_have_text("sum")
    tab_to(page, "tab-score")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Score", exact=True)).to_be_visible()
    tab_to(page, "Example")
    tab_to(page, "field-")
    page.keyboard.press("Control+A")
    page.keyboard.type("2.5")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_be_visible()
    expect(page.locator("#announcer")).to_have_text("Scored")
    tab_to(page, "Copy")


def test_the_skip_link_leads_past_the_bar(page: Page) -> None:
    go(page)
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    expect(page.locator("#skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    assert "classes" in page.evaluate(FOCUSED)
    assert page.url.endswith("#/")


@pytest.mark.parametrize("place", PLACES, ids=[place.replace("/", "-") or "overview" for place in PLACES])
def test_every_focus_is_seen_and_none_is_a_trap(page: Page, place: str) -> None:
    go(page, place)
    stops: list[str] = []
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        assert page.evaluate(VISIBLE), f"the focus on {page.evaluate(FOCUSED)!r} is not seen"
        stops.append(page.evaluate(FOCUSED))
    else:
        raise AssertionError(f"Tab does not leave the page: {stops}")
    assert stops[0] == "skip"
    assert len(stops) > 5


def test_the_theme_is_switched_and_kept(page: Page) -> None:
    go(page)
    tab_to(page, "theme-switch")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Theme: light")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Theme: dark")).to_be_focused()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark


def test_the_focus_stays_while_figures_are_refreshed(page: Page) -> None:
    go(page, "statistics")
    link = page.get_by_role("table").get_by_role("link").first
    link.focus()
    name = page.evaluate(FOCUSED)
    page.evaluate("document.activeElement.dataset.old = 'yes'")
    # Until the table is drawn anew.
    page.locator("[data-old]").wait_for(state="detached")
    assert page.evaluate(FOCUSED) == name
