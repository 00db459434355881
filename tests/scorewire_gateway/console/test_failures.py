"""What the console says when something is not there, and how it goes on when it is again."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page, Route, expect

from tests.processes import serving
from tests.scorewire_gateway.console.browser import go, new_page
from tests.scorewire_gateway.gateways import gateway_process


def test_a_server_without_models_says_what_to_do(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with (
        serving(tmp_path / "server", tmp_path / "models") as server,
        gateway_process(tmp_path / "gateway", server.address) as gateway,
        new_page(browser, f"http://{gateway.address}") as page,
    ):
        go(page)
        expect(page.get_by_text("The server has no models yet")).to_be_visible()
        go(page, "statistics")
        expect(page.get_by_text("No call was answered yet")).to_be_visible()
        go(page, "models/nothing")
        expect(page.get_by_role("alert")).to_contain_text("Not found")
        server.stop()
        page.goto("./#/")
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_a_gateway_that_is_away_is_told_and_found_again(page: Page) -> None:
    go(page)
    page.route("**/*", lambda route: route.abort())
    page.get_by_role("link", name="Statistics").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.unroute("**/*")


def test_calls_that_break_are_told_and_tried_again(page: Page) -> None:
    go(page)
    page.route("**/stats*", lambda route: route.abort())
    expect(page.get_by_role("alert")).to_contain_text("The gateway does not answer")
    # What was known stays on the page.
    assert page.locator(".model-card").count() == 3
    page.unroute("**/stats*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_server_that_wants_credentials_gets_them_with_every_call(page: Page) -> None:
    seen: list[str] = []

    def guarded(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer s3cret":
            seen.append(route.request.url)
            route.continue_()
        else:
            error = {"code": 401, "status": "UNAUTHENTICATED", "message": "no valid credentials"}
            route.fulfill(status=401, json={"error": error})

    for path in ("**/models", "**/stats*", "**/status"):
        page.route(path, guarded)
    go(page)
    expect(page.get_by_text("The server wants to know who you are")).to_be_visible()
    expect(page.locator("#health")).to_have_text("Token needed")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("The server does not take this token")).to_be_visible()
    page.get_by_label("Token").fill("s3cret")
    page.keyboard.press("Enter")
    expect(page.locator(".model-card")).to_have_count(3)
    assert len(seen) >= 3
    # Nothing of it is kept.
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert "s3cret" not in kept
    assert "s3cret" not in page.url


def test_a_token_can_be_written_while_the_page_asks_again(page: Page) -> None:
    page.clock.install()
    go(page, "models/sum/statistics")
    error = {"code": 401, "status": "UNAUTHENTICATED", "message": "the token is too old"}
    for path in ("**/stats*", "**/status"):
        page.route(path, lambda route: route.fulfill(status=401, json={"error": error}))
    page.clock.run_for(20_000)
    expect(page.get_by_label("Token")).to_be_visible()
    expect(page.locator("#health")).to_have_text("Token needed")
    page.get_by_label("Token").type("s3c")
    page.clock.run_for(300_000)
    page.keyboard.type("ret")
    expect(page.get_by_label("Token")).to_have_value("s3cret")
    for path in ("**/stats*", "**/status"):
        page.unroute(path)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Token")).to_have_count(0)
    # At once, and not when it would have been asked the next time.
    expect(page.locator("#health")).to_have_text("Serving")


def test_records_are_shown_while_the_server_is_away(page: Page) -> None:
    go(page)
    error = {"code": 503, "status": "UNAVAILABLE", "message": "no server"}
    page.route("**/models", lambda route: route.fulfill(status=503, json={"error": error}))
    page.get_by_role("link", name="Records").click()
    expect(page.get_by_role("table", name="Recorded predictions")).to_be_visible()


def test_too_many_calls_are_told(page: Page) -> None:
    go(page, "models/sum/score")
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "try again later"}
    page.route("**/models/sum:predict", lambda route: route.fulfill(status=429, json={"error": error}))
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Too many calls")
    page.unroute("**/models/sum:predict")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".answer")).to_be_visible()
