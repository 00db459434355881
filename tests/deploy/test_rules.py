"""The rules for Prometheus are valid, fire when they should, and have runbooks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.deploy.programs import PROMTOOL, needs, run
from tests.deploy.queries import check, labels_left
from tests.deploy.rules import ALERTS, FILES, RECORDED, ROOT
from tests.docs.pages import read_anchors

RULE_TESTS = sorted(Path(__file__).with_name("rule_tests").glob("*.yml"))


@pytest.mark.parametrize("name", [*ALERTS, *RECORDED])
def test_a_rule_asks_for_what_there_is(name: str) -> None:
    check(RECORDED[name] if name in RECORDED else ALERTS[name]["expr"])


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_severity_a_text_and_a_runbook(name: str) -> None:
    rule = ALERTS[name]
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "5m"))
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "runbook_url"}
    assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= labels_left(rule["expr"])
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor == name.lower()
    assert anchor in read_anchors((ROOT / page).read_text(encoding="utf-8"))


def test_each_runbook_is_of_an_alert() -> None:
    headings = {
        heading
        for page in (ROOT / "docs/runbooks").glob("*.md")
        if page.name != "README.md"
        for heading in re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert headings == set(ALERTS)


def test_each_alert_is_tested_while_it_fires_and_while_it_does_not() -> None:
    fires: set[str] = set()
    is_quiet: set[str] = set()
    for path in RULE_TESTS:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for case in group["alert_rule_test"]:
                (fires if case["exp_alerts"] else is_quiet).add(case["alertname"])
    assert fires == set(ALERTS)
    assert is_quiet == set(ALERTS)


@needs(PROMTOOL)
def test_promtool_finds_nothing_wrong() -> None:
    run(PROMTOOL, "check", "rules", *FILES)


@needs(PROMTOOL)
@pytest.mark.parametrize("path", RULE_TESTS, ids=[path.stem for path in RULE_TESTS])
def test_alerts_fire_when_they_should(path: Path) -> None:
    run(PROMTOOL, "test", "rules", path)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("sum(rate(scorewire_calls_total[5m])", "unclosed"),
        ("scorewire_call_total", "no metric scorewire_call_total"),
        ('scorewire_calls_total{status="OK"}', "no label status"),
        ("sum by (route) (scorewire_calls_total)", "label route"),
        ("model_version:scorewire_calls:rate5m{instance='a'}", "no label instance"),
    ],
)
def test_a_wrong_query_is_found(query: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check(query)
