"""The page of the API in a real browser: it shows each model, sends an example, and loads nothing else."""

from __future__ import annotations

import httpx
import pytest

from tests.scorewire_gateway.console.browser import CHROMIUM, chromium, new_page


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
def test_an_example_can_be_sent_from_the_page(real: httpx.Client) -> None:
    origin = str(real.base_url).rstrip("/")
    with chromium() as browser, new_page(browser, origin) as page:
        page.goto(f"{origin}/docs?model=sum")
        operation = page.locator(".opblock-post").first
        operation.locator(".opblock-summary").click()
        operation.get_by_role("button", name="Execute").click()
        answers = operation.locator(".live-responses-table")
        answers.locator(".response-col_status", has_text="200").wait_for()
        assert '"value": 1' in answers.inner_text()
