"""Training in the browser: from a table to a model that serves."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.processes import serving
from tests.scorewire_gateway.console.browser import go, new_page
from tests.scorewire_gateway.gateways import gateway_process
from tests.scorewire_gateway.jobs.following import TRAINING_SECONDS
from tests.scorewire_gateway.jobs.tables import shop

SETTINGS = {"Version": "2.0.0", "Trials": "1", "Seed": "3", "Cutoff": "2020-09-15", "Horizon in days": "60"}


def test_a_model_is_trained_published_and_scores(browser: Browser, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    flags = ["--jobs", tmp_path / "jobs", "--jobs-models", models, "--jobs-niceness", "0"]
    with (
        serving(tmp_path / "server", models) as server,
        gateway_process(tmp_path / "gateway", server.address, *flags) as gateway,
        new_page(browser, f"http://{gateway.address}") as page,
    ):
        _train(page)
        expect(page.get_by_role("button", name="Delete")).to_be_visible(timeout=1000 * TRAINING_SECONDS)
        expect(page.locator(".badge", has_text="succeeded")).to_be_visible()
        metrics = page.locator("section", has=page.get_by_role("heading", name="Metrics"))
        # By their names, with their intervals.
        expect(metrics.locator("div", has_text="AUC").first).to_contain_text(re.compile(r"0\.\d+ to 0\.\d+"))
        with page.expect_download() as download:
            page.get_by_role("link", name="report.html").click()
        assert "Who buys again?" in download.value.path().read_text(encoding="utf-8")
        page.get_by_role("button", name="Publish the model").click()
        expect(page.get_by_text("The model was published")).to_be_visible()
        expect(page.get_by_role("button", name="Publish the model")).to_have_count(0)
        page.get_by_role("link", name="Models", exact=True).click()
        expect(page.locator(".model-card", has_text="repurchase")).to_contain_text("2.0.0 answers")
        page.get_by_role("link", name="repurchase", exact=True).click()
        page.get_by_role("link", name="Score a row").click()
        page.get_by_role("button", name="Score", exact=True).click()
        expect(page.locator(".answer")).to_contain_text("2.0.0")


def _train(page: Page) -> None:
    go(page, "jobs")
    page.get_by_label("Table").set_input_files(
        [{"name": "shop.csv", "mimeType": "text/csv", "buffer": shop()}]
    )
    page.get_by_text("Settings", exact=True).click()
    for label, value in SETTINGS.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Start the job").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Train repurchase")
