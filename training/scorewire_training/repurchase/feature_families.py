"""Permutation importance of families of features: the AUC lost when their columns are shuffled together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

_REPEATS = 5
_MAX_ROWS = 4_000
# A feature belongs to the first family that lists a prefix of its name.
_FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("recent trend", ("frequency_trend", "monetary_trend")),
    (
        "recent purchases",
        ("frequency_30", "frequency_60", "frequency_90", "monetary_30", "monetary_60", "monetary_90"),
    ),
    ("time between purchases", ("mean_gap", "gap_", "last_gap", "recency_per_gap", "frequency_per")),
    ("recency, frequency and amount", ("recency", "frequency", "monetary", "segment", "tenure")),
    ("amount of a purchase", ("mean_amount", "amount_", "last_amount")),
    ("season and weekday", ("active_", "quarter_", "weekend_", "usual_weekday", "same_season")),
    (
        "baskets and prices",
        ("quantity", "mean_price", "price_", "cheap_", "expensive_", "products", "repeat_"),
    ),
    ("similar customers", ("peer_",)),
    ("country", ("country",)),
)


def find_family(feature: str) -> str:
    """The family of a feature; a feature without a family is its own."""
    return next((family for family, beginnings in _FAMILIES if feature.startswith(beginnings)), feature)


def tabulate_families(
    pipeline: Pipeline, test: pd.DataFrame, labels: NDArray[np.int64], *, seed: int
) -> pd.DataFrame:
    """Families by descending importance on the test rows.

    Features that carry the same information cannot replace each other when they are
    shuffled together.

    Returns:
        Index family; columns features, AUC lost (mean over the shuffles) and spread.
    """
    rng = np.random.default_rng(seed)
    if len(test) > _MAX_ROWS:
        rows = np.sort(rng.choice(len(test), _MAX_ROWS, replace=False))
        test, labels = test.iloc[rows], labels[rows]
    whole = roc_auc_score(labels, pipeline.predict_proba(test)[:, 1])
    families: dict[str, list[str]] = {}
    for feature in test.columns:
        families.setdefault(find_family(feature), []).append(feature)
    table = {}
    for family, features in families.items():
        lost = []
        for _ in range(_REPEATS):
            shuffled = test.copy()
            order = rng.permutation(len(test))
            shuffled[features] = test[features].iloc[order].set_axis(test.index)
            lost.append(whole - roc_auc_score(labels, pipeline.predict_proba(shuffled)[:, 1]))
        table[family] = {"features": len(features), "AUC lost": np.mean(lost), "spread": np.std(lost)}
    worth = pd.DataFrame.from_dict(table, orient="index").rename_axis("family")
    worth["features"] = worth["features"].astype(int)
    return worth.sort_values("AUC lost", ascending=False, kind="stable")
