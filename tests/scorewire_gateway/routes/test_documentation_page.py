"""The page of the API in a real browser: it shows each model, and sends an example."""

from __future__ import annotations

import shutil

import httpx
import pytest
from playwright.sync_api import ConsoleMessage, sync_playwright

CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update"]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_an_example_can_be_sent_from_the_page(real: httpx.Client) -> None:
    told: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            told.append(message.text)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: told.append(str(error)))
        foreign: list[str] = []
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((str(real.base_url), "data:", "blob:"))
                else foreign.append(request.url)
            ),
        )
        page.goto(f"{real.base_url}/docs?model=sum")
        operation = page.locator(".opblock-post").first
        operation.locator(".opblock-summary").click()
        operation.get_by_role("button", name="Execute").click()
        operation.locator(".live-responses-table .response-col_status", has_text="200").wait_for()
        assert '"value": 1' in operation.locator(".live-responses-table").inner_text()
        browser.close()
    assert told == []
    assert foreign == []
