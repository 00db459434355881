"""Features of customers at a cut, from what was known before it, and labels from after it.

`build_features` drops every line from the cut on before it looks at anything, so
no feature can know the future. `build_labels` is the only reader of it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COUNTRY = "country"
_WINDOWS_DAYS = (30, 90, 180)
_SECONDS_PER_DAY = 86_400

DESCRIPTIONS = {
    "recency_days": "days from the last purchase to the cut",
    "tenure_days": "days from the first purchase to the cut",
    "frequency": "purchases",
    "monetary": "amount of all purchases",
    "mean_amount": "mean amount of a purchase",
    "last_amount": "amount of the last purchase",
    "mean_gap_days": "mean of the days between purchases; missing before the second",
    "gap_spread_days": "standard deviation of the days between purchases; missing before the third",
    "last_gap_days": "days between the last two purchases; missing before the second",
    "recency_per_gap": "recency as a multiple of the mean gap (of a day at least); missing before the second",
    "frequency_per_30_days": "purchases per 30 days of tenure (of a day at least)",
    "monetary_per_day": "amount per day of tenure (of a day at least)",
    **{f"frequency_{days}_days": f"purchases in the {days} days before the cut" for days in _WINDOWS_DAYS},
    **{f"monetary_{days}_days": f"amount in the {days} days before the cut" for days in _WINDOWS_DAYS},
    "quantity": "pieces bought",
    "products": "different products bought",
    COUNTRY: "country of the last purchase",
}


def build_features(lines: pd.DataFrame, cut: pd.Timestamp) -> pd.DataFrame:
    """Features at the cut, one row for each customer with a purchase before it.

    Args:
        lines: clean lines (`repurchase.data`).
        cut: only lines before it are read.

    Returns:
        Index customer, ascending; columns as in DESCRIPTIONS, in that order, those
        of quantity, product and country only where the lines have them. All are
        float64 but country, which is text.
    """
    lines = lines[lines["time"] < cut]
    purchases = _build_purchases(lines, cut)
    by_customer = purchases.groupby("customer")
    age = by_customer["age_days"]
    gap = by_customer["gap_days"]
    amount = by_customer["amount"]
    features = pd.DataFrame(
        {
            "recency_days": age.min(),
            "tenure_days": age.max(),
            "frequency": by_customer.size().astype("float64"),
            "monetary": amount.sum(),
            "mean_amount": amount.mean(),
            "last_amount": amount.last(),
            "mean_gap_days": gap.mean(),
            "gap_spread_days": gap.std(),
            "last_gap_days": gap.last(),
        }
    )
    tenure = features["tenure_days"].clip(lower=1)
    features["recency_per_gap"] = features["recency_days"] / features["mean_gap_days"].clip(lower=1)
    features["frequency_per_30_days"] = features["frequency"] / tenure * 30
    features["monetary_per_day"] = features["monetary"] / tenure
    recent = {
        days: purchases[purchases["age_days"] <= days].groupby("customer")["amount"] for days in _WINDOWS_DAYS
    }
    for days, part in recent.items():
        features[f"frequency_{days}_days"] = (
            part.size().reindex(features.index, fill_value=0).astype("float64")
        )
    for days, part in recent.items():
        features[f"monetary_{days}_days"] = part.sum().reindex(features.index, fill_value=0.0)
    by_line = lines.groupby("customer")
    if "quantity" in lines.columns:
        features["quantity"] = by_line["quantity"].sum()
    if "product" in lines.columns:
        features["products"] = by_line["product"].nunique().astype("float64")
    if COUNTRY in lines.columns:
        # The last one that is known; a customer without any has a missing text.
        features[COUNTRY] = by_line[COUNTRY].last().astype(object)
        features[COUNTRY] = features[COUNTRY].where(features[COUNTRY].notna(), "")
    return features


def build_labels(
    lines: pd.DataFrame, customers: pd.Index[str], cut: pd.Timestamp, horizon_days: int
) -> NDArray[np.int64]:
    """Whether each customer buys from the cut on, before the horizon's end: 1 or 0, shape [customers]."""
    after = lines[(lines["time"] >= cut) & (lines["time"] < cut + pd.Timedelta(days=horizon_days))]
    return customers.isin(after["customer"]).astype(np.int64)


def _build_purchases(lines: pd.DataFrame, cut: pd.Timestamp) -> pd.DataFrame:
    """Lines brought together by invoice; each customer's purchases in the order of time."""
    purchases = (
        lines.groupby(["customer", "invoice"], as_index=False)
        .agg(time=("time", "min"), amount=("amount", "sum"))
        .sort_values(["customer", "time", "invoice"], ignore_index=True)
    )
    purchases["age_days"] = (cut - purchases["time"]).dt.total_seconds() / _SECONDS_PER_DAY
    purchases["gap_days"] = purchases.groupby("customer")["age_days"].shift(1) - purchases["age_days"]
    return purchases
