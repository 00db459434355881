"""The console in front of a server that wants to know who calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.access_files import new_key
from tests.bundles import write_classifier_bundle, write_sum_bundle
from tests.processes import serving
from tests.scorewire_gateway.console.browser import go, new_page
from tests.scorewire_gateway.gateways import gateway_process


@dataclass(frozen=True)
class Guarded:
    """A gateway's origin, and keys by principal."""

    origin: str
    keys: dict[str, str]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("access")
    write_sum_bundle(folder / "models")
    write_classifier_bundle(folder / "models")
    (folder / "files").mkdir()
    (folder / "files" / "card.html").write_text("<p>A card</p>")
    access = folder / "access.toml"
    keys = {
        "operator": new_key(access, "operator", predict="*", observe="*", control="*"),
        "shop": new_key(access, "shop", predict="sum"),
    }
    flags = ("--server-access", "on", "--files", folder / "files", "--jobs", folder / "jobs")
    with (
        serving(folder / "server", folder / "models", "--access", access) as server,
        gateway_process(folder / "gateway", server.address, *flags) as gateway,
    ):
        yield Guarded(f"http://{gateway.address}", keys)


@pytest.fixture
def page(browser: Browser, guarded: Guarded) -> Iterator[Page]:
    with new_page(browser, guarded.origin) as page:
        yield page


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("Token").fill(key)
    page.get_by_role("button", name="Go on").click()


def test_a_key_opens_what_its_principal_may_see(page: Page, guarded: Guarded) -> None:
    go(page)
    expect(page.get_by_text("The server wants to know who you are")).to_be_visible()
    expect(page.locator("#health")).to_have_text("Token needed")
    sign_in(page, guarded.keys["shop"])
    expect(page.locator(".model-card")).to_have_count(1)
    expect(page.locator("#health")).to_have_text("Serving")
    page.goto("./#/models/classes")
    expect(page.get_by_role("alert")).to_contain_text("Not allowed")
    expect(page.get_by_role("alert")).to_contain_text("To show another token, load the page again")


def test_files_and_downloads_are_fetched_with_the_key_and_never_opened(page: Page, guarded: Guarded) -> None:
    go(page, "files")
    sign_in(page, guarded.keys["operator"])
    with page.expect_download() as download:
        page.get_by_role("link", name="card.html").click()
    assert download.value.suggested_filename == "card.html"
    assert download.value.path().read_text(encoding="utf-8") == "<p>A card</p>"
    assert len(page.context.pages) == 1
    page.goto("./#/models/sum")
    with page.expect_download() as download:
        page.get_by_role("link", name="Service (.proto)").click()
    assert "sum" in download.value.path().read_text(encoding="utf-8")
