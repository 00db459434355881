"""Fake models of the SDK's fake server, for tests of the SDK and of the gateway."""

from __future__ import annotations

import math
from typing import Any

from scorewire.testing import FakeModel, RowRefusedError


def _explain_leaving(row: dict[str, Any]) -> dict[str, float]:
    """A tenth of the age, one for a country with a name, and minus a quarter of the visits."""
    return {
        "age": (row["age"] or 0) / 10,
        "country": 1.0 if row["country"] else 0.0,
        "visits": -(row["visits"] or 0) / 4,
    }


def _score_leaving(row: dict[str, Any]) -> float:
    if row["age"] is None:
        raise RowRefusedError("age", "age is missing")
    return 1 / (1 + math.exp(0.5 - sum(_explain_leaving(row).values())))


def _explain_shade(row: dict[str, Any]) -> list[dict[str, float]]:
    return [{"x": row["x"], "y": factor * row["y"]} for factor in (-1.0, 0.5, 2.0)]


def _score_shade(row: dict[str, Any]) -> list[float]:
    powers = [math.exp(sum(each.values())) for each in _explain_shade(row)]
    return [power / sum(powers) for power in powers]


def _score_churn(row: dict[str, Any]) -> float:
    if row["age"] is None:
        raise RowRefusedError("age", "age is missing")
    return float(row["age"]) / 100 if row["country"] == "pe" else 0.25


CHURN = FakeModel(
    name="churn",
    features={"age": float, "country": str},
    score=_score_churn,
    class_labels=("no", "yes"),
    description="Who leaves.",
    metrics={"auc": 0.75},
)
SUM = FakeModel(
    name="sum", features={"x": float, "y": float}, score=lambda row: (row["x"] or 0) + (row["y"] or 0)
)
# Explains its predictions: one margin, whose base is -0.5.
LEAVING = FakeModel(
    name="leaving",
    features={"age": float, "country": str, "visits": float, "plan": str},
    score=_score_leaving,
    class_labels=("no", "yes"),
    explain=_explain_leaving,
    base=-0.5,
)
# Explains its predictions: one margin for each of three classes.
SHADE = FakeModel(
    name="shade",
    features={"x": float, "y": float},
    score=_score_shade,
    class_labels=("red", "green", "blue"),
    explain=_explain_shade,
)
