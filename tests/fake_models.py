"""Fake models of the SDK's fake server, for tests of the SDK and of the gateway."""

from __future__ import annotations

from typing import Any

from scorewire.testing import FakeModel, RowRefusedError


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
