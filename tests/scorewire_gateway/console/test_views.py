"""Each view shows what the server says."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from scorewire import Client
from scorewire.comparison import compare_versions
from scorewire.testing import FakeServer
from tests.processes import ServerProcess
from tests.scorewire_gateway.console.browser import go, new_page, shown
from tests.scorewire_gateway.gateways import gateway_thread
from tests.scorewire_gateway.routed import ALIASES, REFUSED, SHADOW


def test_the_overview_shows_states_split_shadow_and_aliases(page: Page) -> None:
    go(page)
    expect(page).to_have_title("Models · Scorewire")
    expect(page.locator("#health")).to_have_text("Serving")
    assert page.locator(".model-card h2").all_text_contents() == ["classes", "greeting", "sum"]
    card = page.locator(".model-card", has_text="sum")
    expect(card.locator(".split-legend")).to_contain_text("1.0.0 75 %")
    expect(card.locator(".split-legend")).to_contain_text("1.1.0 25 %")
    widths = card.locator(".split-part").evaluate_all("parts => parts.map(each => each.offsetWidth)")
    assert widths[0] / sum(widths) == pytest.approx(0.75, abs=0.02)
    expect(card).to_contain_text(f"shadow {SHADOW}, 50 %")
    expect(card).to_contain_text(f"{REFUSED} refused")
    for alias, version in ALIASES.items():
        expect(card).to_contain_text(f"{alias} → {version}")
    expect(page.locator(".tiles")).to_contain_text("1 refused")


def test_a_models_page_shows_versions_schema_limits_and_metrics(page: Page, routed: ServerProcess) -> None:
    go(page)
    page.get_by_role("link", name="sum").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("sum")
    versions = page.get_by_role("table", name="Versions of sum").get_by_role("row")
    assert versions.count() == 5
    expect(versions.nth(1)).to_contain_text(REFUSED)
    expect(versions.nth(1)).to_contain_text("refused")
    with Client(routed.address) as client:
        model = client.model("sum")
    reason = next(each.reason for each in model.status.versions if each.version == REFUSED)
    assert reason
    expect(versions.nth(1)).to_contain_text(reason)
    expect(versions.nth(3)).to_contain_text("split 25 %")
    # With the zone of the reader.
    expect(versions.nth(3)).to_contain_text("GMT+5:30")
    first = page.get_by_role("table", name="Features").get_by_role("row").nth(1)
    expect(first).to_contain_text("x0")
    expect(first).to_contain_text("error")
    expect(first).to_contain_text("−1e30 to 1e30")
    expect(first).to_contain_text("-10 to 10".replace("-", "−"))
    expect(page.locator("main")).to_contain_text(model.schema.fingerprint)
    expect(page.locator("main")).to_contain_text(f"{model.max_rows:,}")
    page.get_by_label("Version").select_option("challenger")
    expect(page.get_by_role("heading", name="Features of 1.1.0")).to_be_visible()


def test_the_versions_of_a_split_are_compared(page: Page, routed: ServerProcess) -> None:
    go(page, "models/sum/comparison")
    figures = page.get_by_role("table", name="Figures of both versions")
    expect(figures).to_be_visible()
    with Client(routed.address) as client:
        status = client.model("sum").status
        found = compare_versions(status.routing, client.statistics("sum"), "1.0.0", "1.1.0")
    calls = figures.get_by_role("row", name=re.compile(r"^Calls \d"))
    expect(calls).to_contain_text(f"{found.a.attempts:,}")
    expect(calls).to_contain_text(f"{found.b.attempts:,}")
    expect(calls).to_contain_text("by the weights")
    scores = figures.get_by_role("row", name=re.compile("^Score, median"))
    expect(scores).to_contain_text("< 0.0001")
    expect(scores).to_contain_text("differs")
    expect(page.locator(".notice-title")).to_contain_text("scores")
    drawing = page.get_by_role("img", name=re.compile("^Share of rows by score. 1.0.0: median"))
    expect(drawing).to_be_visible()
    # The areas cover all rows: their heights are the shares.
    assert drawing.locator(".chart-area").count() == 2
    drawing.hover()
    expect(page.locator(".chart-readout").first).to_contain_text("1.1.0")


def test_the_shadow_is_compared_with_its_original(page: Page) -> None:
    go(page, "models/sum/comparison")
    page.get_by_label("Version A").select_option("1.0.0")
    page.get_by_label("Version B").select_option(SHADOW)
    page.get_by_role("button", name="Compare").click()
    figures = page.get_by_role("table", name="Figures of both versions")
    expect(figures.get_by_role("columnheader", name=f"{SHADOW} (shadow)")).to_be_visible()
    assert f"b={SHADOW}" in page.url


def test_a_comparison_waits_until_its_calls_are_counted(page: Page) -> None:
    page.add_init_script(
        "window.waits = []; const timeout = AbortSignal.timeout.bind(AbortSignal);"
        "AbortSignal.timeout = (ms) => { window.waits.push(ms); return timeout(ms); };"
    )
    answer = {"code": 400, "status": "FAILED_PRECONDITION", "reason": "NOT_COMPARABLE", "message": "no calls"}
    page.route("**/comparison*seconds=60", lambda route: route.fulfill(status=400, json={"error": answer}))
    go(page, "models/sum/comparison?seconds=60")
    expect(page.get_by_text("Nothing to compare yet")).to_be_visible()
    assert page.evaluate("Math.max(...window.waits)") > 60_000


def test_scores_that_are_all_zero_are_drawn(page: Page) -> None:
    def zeros(route: Route) -> None:
        response = route.fetch()
        body = response.json()
        for side in ("a", "b"):
            body[side]["scores"]["buckets"] = [{"inner": 0.0, "outer": 0.0, "count": 9}]
        route.fulfill(response=response, json=body)

    page.route("**/models/sum/comparison*", zeros)
    go(page, "models/sum/comparison")
    drawing = page.get_by_role("img", name=re.compile("^Share of rows by score. 1.0.0: median 0;"))
    expect(drawing).to_be_visible()
    assert drawing.locator(".chart-area").count() == 2
    assert "NaN" not in drawing.evaluate("drawing => drawing.outerHTML")


def test_a_mark_beside_a_long_name_is_whole(page: Page) -> None:
    name = "w" * 64

    def long(route: Route) -> None:
        response = route.fetch()
        body = response.json()
        body["models"].append(body["models"][-1] | {"name": name})
        route.fulfill(response=response, json=body)

    page.route("**/models", long)
    go(page)
    heights = page.locator(".card-head .badge").evaluate_all("marks => marks.map(each => each.offsetHeight)")
    assert len(heights) == 4
    assert len(set(heights)) == 1


def test_a_model_without_a_second_version_says_so(page: Page) -> None:
    go(page, "models/classes/comparison")
    expect(page.get_by_text("There is one version only")).to_be_visible()


def test_statistics_refresh_by_themselves(page: Page, routed: ServerProcess) -> None:
    go(page, "models/classes/statistics")
    with Client(routed.address) as client:
        calls = sum(each.calls for each in client.statistics("classes")) + 7
        for number in range(7):
            client.predict("classes", {"x": float(number)})
    row = page.get_by_role("row", name=re.compile("1.0.0 default"))
    expect(row).to_contain_text(f"{calls:,}")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Go on")).to_be_visible()


def test_statistics_of_all_models_tell_routes_and_errors(page: Page) -> None:
    go(page, "statistics")
    rows = page.get_by_role("table").get_by_role("row")
    expect(rows.filter(has_text="champion")).to_contain_text("number out of range")
    expect(rows.filter(has_text=SHADOW)).to_contain_text("shadow")


def test_records_are_listed_newest_first_and_shown_whole(page: Page, routed: ServerProcess) -> None:
    with Client(routed.address) as client:
        prediction = client.predict("sum", {"x0": 1e-5, "country": "<i>pe"}).id.partition("/")[0]
    go(page, "records")
    ledger = page.get_by_role("region", name="Ledger of records")
    expect(ledger).to_contain_text("in the store")
    expect(ledger).to_contain_text("no row")
    go(page, "models/sum/records")
    expect(ledger).to_have_count(0)
    entry = page.locator(f'a[title="{prediction}"]')
    for _ in range(50):
        if entry.count():
            break
        page.get_by_role("button", name="Refresh").click()
        expect(page.get_by_role("button", name="Refresh")).to_be_enabled()
    entry.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Prediction of sum")
    expect(page.locator(".crumbs")).to_contain_text(prediction)
    table = page.get_by_role("table", name="Features")
    # Neither rounded nor with digits that nobody gave.
    expect(table.get_by_role("row", name="x0")).to_have_text(re.compile("x0 *(0[.]00001|1e[-−]0?5)$"))
    expect(table.get_by_role("row", name="x1")).to_contain_text("missing")
    expect(table.get_by_role("row", name="country")).to_contain_text("<i>pe")


def test_jobs_tell_what_is_missing_and_take_a_table(page: Page) -> None:
    go(page, "jobs")
    expect(page.get_by_text("No jobs yet")).to_be_visible()
    page.get_by_role("button", name="Start the job").click()
    expect(page.get_by_label("Table")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Table").set_input_files(
        [{"name": "shop.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n"}]
    )
    page.get_by_text("Settings", exact=True).click()
    page.get_by_label("Trials").fill("many")
    page.get_by_role("button", name="Start the job").click()
    expect(page.get_by_label("Trials")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Trials").fill("1")
    page.get_by_role("button", name="Start the job").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Train repurchase")
    # Two columns without a meaning are no shop.
    expect(page.get_by_text("The job failed")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Really delete?").click()
    expect(page.get_by_text("No jobs yet")).to_be_visible()


def test_files_are_listed_folder_by_folder_and_opened(page: Page) -> None:
    go(page, "files")
    page.get_by_role("link", name="sum & more/").click()
    expect(page.get_by_role("navigation", name="Folders")).to_have_text("Files / sum & more")
    link = page.get_by_role("link", name="<b>card.md")
    expect(page.get_by_role("row").nth(1)).to_contain_text("8 bytes")
    answer = page.request.get(str(link.evaluate("link => link.href")))
    assert (answer.status, answer.text()) == (200, "# A card")
    go(page, "models/sum")
    for name in ("Schema (JSON)", "Service (.proto)"):
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        assert "sum" in download.value.path().read_text(encoding="utf-8")


def test_parts_that_are_off_have_no_entry(browser: Browser, fake: FakeServer, real: object) -> None:
    with (
        gateway_thread(fake.address) as http,
        new_page(browser, str(http.base_url).rstrip("/")) as page,
    ):
        go(page)
        assert page.locator("#nav a").all_text_contents() == ["Models", "Statistics"]


def test_a_place_that_does_not_exist_is_told(page: Page) -> None:
    go(page, "nowhere/at/all")
    expect(page.get_by_role("alert")).to_contain_text("There is no such page.")


def test_the_back_button_goes_back(page: Page) -> None:
    go(page)
    page.get_by_role("link", name="sum").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("sum")
    page.get_by_role("link", name="Score a row").click()
    expect(page.get_by_role("button", name="Score", exact=True)).to_be_visible()
    page.go_back()
    page.go_back()
    shown(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Models")
