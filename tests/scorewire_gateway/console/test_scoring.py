"""The form of a model scores a row, tells errors where they belong, and shows the call as a program."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from playwright.sync_api import Page, expect

from scorewire import Client
from tests.processes import ServerProcess
from tests.scorewire_gateway.console.browser import go


def score(page: Page) -> None:
    page.get_by_role("button", name="Score", exact=True).click()


def test_the_example_row_is_filled_in_and_scored(page: Page, routed: ServerProcess) -> None:
    go(page, "models/sum/score?version=1.0.0")
    x0 = page.get_by_label("x0")
    expect(x0).to_have_value("0")
    x0.fill("1.5")
    page.get_by_label("x1").fill("")
    page.get_by_label("country").fill("pe")
    score(page)
    with Client(routed.address) as client:
        expected = client.predict("sum", {"x0": 1.5, "country": "pe"}, version="1.0.0")
    answer = page.locator(".answer")
    expect(answer.locator(".figure")).to_have_text(f"{expected.score:g}")
    expect(answer).to_contain_text("1.0.0")
    expect(answer).to_contain_text("from this page to the model and back")
    prediction = answer.locator("code").inner_text()
    assert re.fullmatch(r"[0-9a-f-]{36}-\d+", prediction)
    assert answer.get_by_role("link", name=prediction).get_attribute("href") == f"#/records/{prediction}"


def test_classes_are_shown_with_their_probabilities(page: Page) -> None:
    go(page, "models/classes/score")
    page.get_by_label("x", exact=True).fill("2")
    score(page)
    answer = page.locator(".answer")
    expect(answer.locator(".figure").first).to_have_text("yes")
    expect(answer.locator(".probabilities")).to_contain_text(re.compile(r"no\s*11\.92 %"))
    expect(answer.locator(".probability-most")).to_contain_text("88.08 %")
    widths = answer.locator(".probability-bar").evaluate_all("bars => bars.map(each => each.style.width)")
    assert [float(each.rstrip("%")) for each in widths] == pytest.approx([11.92, 88.08], abs=0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The model needs a value here."),
        ("1,5", "decimal separator is a point"),
        ("abc", "This is no number."),
        ("9007199254740993", "A double cannot hold this whole number"),
        ("1e999", "too large"),
    ],
    ids=["missing", "comma", "word", "2^53+1", "overflow"],
)
def test_a_value_that_is_none_is_told_beside_its_field(page: Page, text: str, message: str) -> None:
    calls: list[str] = []
    page.on("request", lambda request: calls.append(request.url) if request.method == "POST" else None)
    go(page, "models/sum/score")
    field = page.get_by_label("x0")
    field.fill(text)
    score(page)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    described = field.get_attribute("aria-describedby") or ""
    assert message in page.locator(f"#{described.split()[-1]}").inner_text()
    assert calls == []
    field.fill("1")
    expect(field).not_to_have_attribute("aria-invalid", "true")


def test_a_row_error_of_the_server_stands_beside_its_field(page: Page, routed: ServerProcess) -> None:
    go(page, "models/sum/score")
    page.get_by_label("x1").fill("1e31")
    score(page)
    field = page.get_by_label("x1")
    expect(field).to_have_attribute("aria-invalid", "true")
    with Client(routed.address) as client:
        error = client.predict("sum", {"x0": 1.0, "x1": 1e31}).error
    assert error is not None
    expect(page.locator(".field-error", has_text=error.message)).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("The row was not scored")


def test_texts_that_the_model_knows_are_offered(page: Page) -> None:
    go(page, "models/greeting/score")
    field = page.get_by_label("word")
    options = page.locator(f"#{field.get_attribute('list')} option")
    assert options.evaluate_all("all => all.map(each => each.value)") == ["hello", "bye"]
    expect(field).to_have_value("hello")
    field.fill("nothing")
    score(page)
    expect(field).to_have_attribute("aria-invalid", "true")


def test_infinity_and_missing_values_are_sent_as_the_api_has_them(page: Page) -> None:
    go(page, "models/classes/score")
    page.get_by_label("x", exact=True).fill("Infinity")
    with page.expect_request("**/models/classes:predict") as asked:
        score(page)
    assert json.loads(asked.value.post_data or "") == {"row": {"x": "Infinity"}}
    expect(page.locator(".figure").first).to_have_text("yes")


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_the_program_gives_the_same_answer(page: Page, language: str) -> None:
    go(page, "models/sum/score?version=champion")
    page.get_by_label("x0").fill("2.25")
    page.get_by_label("country").fill('it\'s "pe" \\ $HOME `x` é')
    page.get_by_label("x1").fill("")
    page.get_by_role("radio", name=language, exact=True).check()
    text = page.get_by_role("region", name="Program", exact=True).inner_text()
    command = ["bash", "-c", text] if language == "curl" else [sys.executable, "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    score(page)
    shown = float(page.locator(".figure").inner_text().replace("−", "-"))
    told = json.loads(done.stdout.replace("'", '"') if language == "Python" else done.stdout)
    assert (told if language == "Python" else told["prediction"])["value"] == pytest.approx(shown)


def test_the_program_of_the_sdk_runs(page: Page, routed: ServerProcess) -> None:
    go(page, "models/sum/score?version=1.0.0")
    page.get_by_label("x0").fill("3")
    page.get_by_role("radio", name="Python SDK").check()
    text = page.get_by_role("region", name="Program", exact=True).inner_text()
    done = subprocess.run(
        [sys.executable, "-c", text.replace("127.0.0.1:8500", routed.address)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "version='1.0.0'" in done.stdout


def test_the_program_is_copied(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    go(page, "models/sum/score")
    page.get_by_role("button", name="Copy the program").click()
    expect(page.locator("#announcer")).to_have_text("Copied the program")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.get_by_role("region", name="Program", exact=True).inner_text()
