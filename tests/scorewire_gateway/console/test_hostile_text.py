"""Text of models, callers and servers is shown as text, whatever it looks like."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Page, Route, expect

from scorewire import Client
from tests.processes import ServerProcess
from tests.scorewire_gateway.console.browser import go

EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\'"&lt;'
LINK = "javascript:window.hacked=1"


def answer(page: Page, path: str, change: Any) -> None:
    """Change the JSON of the answers to a path."""

    def handle(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, body=json.dumps(change(response.json())))

    page.route(path, handle)


def unharmed(page: Page) -> None:
    assert page.evaluate("window.hacked") is None
    assert page.locator("main script, main img").count() == 0


def test_names_of_models_and_versions_are_texts(page: Page) -> None:
    def change(found: dict[str, Any]) -> dict[str, Any]:
        for name in (EVIL, LINK, "../../etc", "#/models/x", "a/b?c#d"):
            found["models"].append(
                found["models"][-1]
                | {
                    "name": name,
                    "warning": EVIL,
                    "default_version": EVIL,
                    "routing": {
                        "split": {EVIL: 1, LINK: 2},
                        "aliases": {EVIL: EVIL},
                        "shadow": {"version": EVIL, "share": 1},
                    },
                    "versions": [
                        {
                            "version": EVIL,
                            "state": EVIL,
                            "reason": EVIL,
                            "serving_since": EVIL,
                            "runs_on": EVIL,
                            "runs_on_details": EVIL,
                        },
                    ],
                }
            )
        return found

    answer(page, "**/models", change)
    go(page)
    names = page.locator(".model-card h2").all_text_contents()
    assert {EVIL, LINK, "../../etc", "#/models/x", "a/b?c#d"} <= set(names)
    for link in page.locator(".model-card a").all():
        assert (link.get_attribute("href") or "").startswith("#/models/")
    unharmed(page)
    # A name with separators is one segment of the address.
    with page.expect_request("**/models/a%2Fb%3Fc%23d*"):
        page.get_by_role("link", name="a/b?c#d").click()
    expect(page.get_by_role("alert")).to_be_visible()


def test_descriptions_features_and_labels_are_texts(page: Page) -> None:
    def change(found: dict[str, Any]) -> dict[str, Any]:
        schema = found["schema"]
        schema["features"][0] |= {"name": EVIL, "description": EVIL}
        schema["outputs"][0] |= {
            "name": EVIL,
            "class_labels": [EVIL, LINK],
            "kind": "probability",
            "width": 2,
        }
        found["example"]["row"][EVIL] = EVIL
        return found | {"description": EVIL, "metrics": {EVIL: EVIL}, "warning": EVIL, "created_at": EVIL}

    answer(page, "**/models/sum", change)
    go(page, "models/sum")
    expect(page.locator(".lead")).to_have_text(EVIL)
    unharmed(page)

    def predicted(route: Route) -> None:
        found = {"model": EVIL, "version": EVIL, "record_id": f"{EVIL}/0", "score": EVIL, "label": EVIL}
        route.fulfill(json=found | {"prediction": {EVIL: [EVIL, 0.5]}})

    page.route("**/models/sum:predict", predicted)
    go(page, "models/sum/score")
    expect(page.get_by_label(EVIL, exact=True)).to_have_value(EVIL)
    page.get_by_label(EVIL, exact=True).fill("1")
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator(".answer")).to_contain_text(EVIL)
    unharmed(page)


def test_errors_of_a_server_are_texts(page: Page) -> None:
    def refused(route: Route) -> None:
        route.fulfill(status=400, json={"error": {"message": EVIL, "status": EVIL, "reason": EVIL}})

    page.route("**/stats", refused)
    go(page, "statistics")
    expect(page.get_by_role("alert")).to_contain_text(EVIL)
    unharmed(page)


def test_a_text_that_was_scored_is_a_text_in_form_answer_and_record(
    page: Page, routed: ServerProcess
) -> None:
    go(page, "models/sum/score")
    page.get_by_label("country").fill(EVIL)
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator(".answer")).to_be_visible()
    prediction = page.locator(".answer code").inner_text()
    link = page.get_by_role("link", name=prediction)
    for _ in range(100):
        link.click()
        page.wait_for_selector("main:not([aria-busy]) .page")
        if page.get_by_role("table", name="Features").count():
            break
        page.go_back()
        page.goto(f"./#/records/{prediction}")
        page.reload()
        page.wait_for_selector("main:not([aria-busy]) .page")
        if page.get_by_role("table", name="Features").count():
            break
    expect(page.get_by_role("row", name="country")).to_contain_text(EVIL)
    unharmed(page)


def test_reasons_and_records_of_a_caller_are_texts(page: Page, routed: ServerProcess) -> None:
    with Client(routed.address) as client:
        client.predict("sum", {"x0": 1.0, "country": EVIL}, routing_key=EVIL)
    answer(page, "**/records?*", lambda found: {"records": [_evil(each) for each in found["records"]]})
    go(page, "records?limit=100")
    assert page.get_by_role("row").count() > 2
    expect(page.locator("tbody tr").first).to_contain_text(EVIL)
    unharmed(page)


def _evil(record: dict[str, Any]) -> dict[str, Any]:
    return record | {
        "model": EVIL,
        "version": LINK,
        "route_kind": EVIL,
        "outputs": {EVIL: EVIL},
        "error": None,
    }
