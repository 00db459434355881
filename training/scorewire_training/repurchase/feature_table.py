"""The feature table of a shop: the features of every customer at a cutoff, by customer."""

from __future__ import annotations

import pandas as pd

from scorewire_training.output.feature_table import render_feature_table
from scorewire_training.repurchase.features import build_features

# The file is built in memory: of more customers, those seen last are kept.
MAX_CUSTOMERS = 500_000


def build_feature_table(lines: pd.DataFrame, cutoff: pd.Timestamp, horizon_days: int) -> bytes:
    """Features of every customer at the cutoff, as a Parquet file; the same lines give the same bytes.

    The key is the customer, and the columns are those of `build_features`. Beyond
    MAX_CUSTOMERS those with the least recency are kept.
    """
    features = build_features(lines, cutoff, horizon_days=horizon_days)
    if len(features) > MAX_CUSTOMERS:
        features = features.loc[features["recency_days"].nsmallest(MAX_CUSTOMERS).index].sort_index()
    return render_feature_table(features, describe_cutoff(cutoff, horizon_days))


def describe_cutoff(cutoff: pd.Timestamp, horizon_days: int) -> dict[str, str]:
    """The metadata of a feature table: the cutoff in ISO 8601, and the horizon in days."""
    # Nothing of the day or the machine: the file is the same wherever it is made.
    return {"cut": cutoff.isoformat(), "horizon_days": str(horizon_days)}
