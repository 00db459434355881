"""The page of the gateway names each of its metrics with its labels."""

from __future__ import annotations

import re
from pathlib import Path

from scorewire_gateway.metrics import Metrics

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"
_ROW = re.compile(r"^\| `(scorewire_gateway_\w+)` \|([^|]*)\|", re.MULTILINE)


def test_the_page_has_each_metric_with_its_labels() -> None:
    metrics = Metrics()
    told = {
        name.removesuffix("_total"): set(re.findall(r"`(\w+)`", labels))
        for name, labels in _ROW.findall(PAGE.read_text(encoding="utf-8"))
    }
    own = (metrics.requests, metrics.seconds, metrics.in_flight, metrics.rows)
    for metric in own:
        name = metric.describe()[0].name
        assert told[name] == set(metric._labelnames), name
    families = {family.name for family in metrics.registry.collect()}
    assert families <= set(told)
