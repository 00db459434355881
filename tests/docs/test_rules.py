"""The queries and alert rules of docs/operations.md are valid, and ask for metrics and labels that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import promql_parser as promql
import pytest
import yaml

from tests.docs.pages import ROOT, read_blocks
from tests.metrics_page import documented_metrics

TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
# Labels that Prometheus adds, and its own metric.
OF_PROMETHEUS = {"job", "instance"}
KNOWN = {name: labels | OF_PROMETHEUS for name, labels in documented_metrics().items()} | {
    "up": OF_PROMETHEUS
}
_SUFFIXES = re.compile(r"_(bucket|sum|count)$")
_QUERY = re.compile(r"^\| [^|`]+ \| `(.+)` \|$", re.MULTILINE)


def _rules() -> list[dict[str, Any]]:
    blocks = [yaml.safe_load(block.text) for block in read_blocks(TEXT) if block.language == "yaml"]
    return [
        rule
        for block in blocks
        if isinstance(block, dict)
        for group in block.get("groups", ())
        for rule in group["rules"]
    ]


RULES = {rule["alert"]: rule for rule in _rules()}
_TABLE = TEXT[TEXT.index("## What to watch") : TEXT.index("## Alerts")]
QUERIES = [*_QUERY.findall(_TABLE), *(rule["expr"] for rule in RULES.values())]


def _parts(node: Any) -> Iterator[Any]:
    """An expression and all expressions in it."""
    yield node
    inner = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector", "param")]
    for part in [*inner, *getattr(node, "args", ())]:
        if part is not None:
            yield from _parts(part)


def _labels(name: str) -> set[str] | None:
    """The labels that a selector of this name may ask for; None if there is no such metric."""
    base = _SUFFIXES.sub("", name)
    labels = KNOWN.get(name) or KNOWN.get(base)
    return None if labels is None else {*labels, *(["le"] if name.endswith("_bucket") else [])}


def check(query: str) -> None:
    """Check a query of Prometheus.

    Raises:
        ValueError: it cannot be parsed, or names a metric or a label that does not exist.
    """
    parts = list(_parts(promql.parse(query)))
    allowed: set[str] = set()
    for selector in (part for part in parts if isinstance(part, promql.VectorSelector)):
        labels = _labels(selector.name)
        if labels is None:
            raise ValueError(f"there is no metric {selector.name}")
        allowed |= labels
        if wrong := {each.name for each in selector.matchers.matchers} - labels:
            raise ValueError(f"{selector.name} has no label {wrong.pop()}")
    for part in parts:
        modifier = part.modifier if isinstance(part, promql.AggregateExpr) else None
        if modifier is not None and (wrong := set(modifier.labels) - allowed):
            raise ValueError(f"no metric of the query has the label {wrong.pop()}")


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_valid_and_asks_for_what_there_is(query: str) -> None:
    check(query)


def test_the_page_has_queries_and_rules() -> None:
    assert len(QUERIES) - len(RULES) >= 10
    assert len(RULES) >= 10


@pytest.mark.parametrize("name", RULES)
def test_a_rule_has_a_text_whose_labels_the_query_leaves(name: str) -> None:
    rule = RULES[name]
    assert set(rule) <= {"alert", "expr", "for", "annotations"}
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "5m"))
    left: set[str] = set()
    for part in _parts(promql.parse(rule["expr"])):
        if isinstance(part, promql.AggregateExpr):
            left = set(part.modifier.labels)
            break
        if isinstance(part, promql.VectorSelector):
            left = set(_labels(part.name) or ())
            break
    assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= left


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("sum(rate(scorewire_calls_total[5m])", "unclosed"),
        ("scorewire_call_total", "no metric scorewire_call_total"),
        ('scorewire_calls_total{status="OK"}', "no label status"),
        ("sum by (route) (scorewire_calls_total)", "label route"),
    ],
)
def test_a_wrong_query_is_found(query: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check(query)
