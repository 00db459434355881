"""A real Chromium for tests of the console, and what a page did that it must not do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
# Generous, since the machine may be busy; only failures wait this long.
TIMEOUT_MS = 30_000
expect.set_options(timeout=TIMEOUT_MS)
# Chromium writes such a line for each answer that tells an error, as some tests want.
_FAILED_CALL = "Failed to load resource"


@dataclass
class Watched:
    """What a page did that it must not do.

    Attributes:
        origin: the gateway's origin.
        complaints: errors and warnings of the console, and exceptions of scripts.
        strangers: requests to other origins.
    """

    origin: str
    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", lambda message: self._heard(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        page.on("request", lambda request: self._asked(request.url))

    def check(self) -> None:
        assert self.complaints == []
        assert self.strangers == []

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not text.startswith(_FAILED_CALL):
            self.complaints.append(f"{kind}: {text}")

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" != self.origin and parts.scheme not in ("data", "blob"):
            self.strangers.append(url)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def new_page(browser: Browser, origin: str, **options: Any) -> Iterator[Page]:
    """A page of the console's origin, in a context of its own; it must not do what pages must not do."""
    settings = {"viewport": {"width": 1280, "height": 860}, "timezone_id": "Asia/Kolkata"} | options
    context = browser.new_context(base_url=f"{origin}/console/", **settings)
    context.set_default_timeout(TIMEOUT_MS)
    watched = Watched(origin)
    page = context.new_page()
    watched.watch(page)
    try:
        yield page
        watched.check()
    finally:
        context.close()


def go(page: Page, place: str = "") -> None:
    """Open a place of the console, such as `models/sum`, and wait until it is shown."""
    page.goto(f"./#/{place}")
    # A change of the part after "#" loads nothing.
    page.reload()
    shown(page)


def shown(page: Page) -> None:
    """Wait until the view of the address is shown."""
    page.wait_for_selector("main:not([aria-busy]) .page")
