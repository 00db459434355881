"""Checks queries of Prometheus: their syntax, and that the metrics and labels that they ask for exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import promql_parser as promql
from prometheus_client.metrics import MetricWrapperBase
from scorewire_gateway.metrics import Metrics

from tests.deploy.rules import RECORDED
from tests.metrics_page import documented_metrics

# Labels that Prometheus adds, and its own metric.
_OF_PROMETHEUS = {"job", "instance"}
_SUFFIXES = re.compile(r"_(bucket|sum|count)$")


def known_metrics() -> dict[str, set[str]]:
    """The labels of each metric of the server, the gateway, Prometheus and the recording rules."""
    known = {name: {*labels, *_OF_PROMETHEUS} for name, labels in documented_metrics().items()}
    known["up"] = set(_OF_PROMETHEUS)
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            # Families do not tell their labels before they have a value.
            known[name] = {*metric._labelnames, *_OF_PROMETHEUS}
    for name, expression in RECORDED.items():
        known[name] = labels_left(expression, known)
    return known


def check(query: str) -> None:
    """Check a query of Prometheus.

    Raises:
        ValueError: it cannot be parsed, or names a metric or a label that does not exist.
    """
    known = known_metrics()
    parts = list(_parts(promql.parse(query)))
    allowed: set[str] = set()
    for selector in (part for part in parts if isinstance(part, promql.VectorSelector)):
        labels = _labels(selector.name or "", known)
        if labels is None:
            raise ValueError(f"there is no metric {selector.name}")
        allowed |= labels
        if wrong := {each.name for each in selector.matchers.matchers} - labels:
            raise ValueError(f"{selector.name} has no label {wrong.pop()}")
    for part in parts:
        modifier = part.modifier if isinstance(part, promql.AggregateExpr) else None
        if modifier is not None and (wrong := set(modifier.labels) - allowed):
            raise ValueError(f"no metric of the query has the label {wrong.pop()}")


def labels_left(query: str, known: dict[str, set[str]] | None = None) -> set[str]:
    """The labels that the results of a query can have."""
    for part in _parts(promql.parse(query)):
        if isinstance(part, promql.AggregateExpr):
            return set() if part.modifier is None else set(part.modifier.labels) - {"le"}
        if isinstance(part, promql.VectorSelector):
            return set(_labels(part.name or "", known or known_metrics()) or ())
    return set()


def _parts(node: Any) -> Iterator[Any]:
    """An expression and all expressions in it."""
    yield node
    inner = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector", "param")]
    for part in [*inner, *getattr(node, "args", ())]:
        if part is not None:
            yield from _parts(part)


def _labels(name: str, known: dict[str, set[str]]) -> set[str] | None:
    """The labels that a selector of this name may ask for; None if there is no such metric."""
    labels = known.get(name) or known.get(_SUFFIXES.sub("", name))
    if labels is None:
        return known.get(name)
    return {*labels, *(["le"] if name.endswith("_bucket") else [])}
