"""The console in a real browser, in front of a real gateway and a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.processes import ServerProcess
from tests.scorewire_gateway.console.browser import CHROMIUM, chromium, new_page
from tests.scorewire_gateway.gateways import gateway_process


# Not longer: an event loop runs in this thread meanwhile, and tests of other modules need their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def origin(
    routed: ServerProcess, routed_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The origin of a gateway in front of `routed`, with all of its parts."""
    folder = tmp_path_factory.mktemp("console")
    reports = folder / "reports"
    (reports / "sum & more").mkdir(parents=True)
    (reports / "sum & more" / "<b>card.md").write_text("# A card", encoding="utf-8")
    flags = ["--records", routed_folder / "records", "--jobs", folder / "jobs", "--files", reports]
    with gateway_process(folder, routed.address, *flags) as gateway:
        yield f"http://{gateway.address}"


@pytest.fixture
def page(browser: Browser, origin: str) -> Iterator[Page]:
    with new_page(browser, origin) as page:
        yield page
