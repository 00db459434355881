from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from scorewire_training.repurchase.feature_families import find_family, tabulate_families
from scorewire_training.repurchase.features import DESCRIPTIONS


def test_every_feature_is_of_a_family() -> None:
    families = {name: find_family(name) for name in DESCRIPTIONS}
    assert [name for name, family in families.items() if name == family and name != "country"] == []
    assert families["frequency_trend_30_days"] == "recent trend"
    assert families["frequency_per_30_days"] == "time between purchases"
    assert families["monetary_90_days"] == "recent purchases"
    assert families["monetary_score"] == "recency, frequency and amount"
    assert families["quantity_per_purchase"] == "baskets and prices"


def test_features_that_say_the_same_are_shuffled_together() -> None:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=2_000)
    rows = pd.DataFrame({"recency_days": signal, "frequency": signal, "country": rng.normal(size=2_000)})
    labels = (signal + rng.normal(size=2_000) > 0).astype(np.int64)
    pipeline = Pipeline([("model", LogisticRegression())]).fit(rows, labels)
    table = tabulate_families(pipeline, rows, labels, seed=0)
    assert table.index.tolist() == ["recency, frequency and amount", "country"]
    assert table["features"].tolist() == [2, 1]
    # Only chance is left.
    assert 0.25 < table["AUC lost"].iloc[0] < 0.4
    assert abs(table["AUC lost"].iloc[1]) < 0.01
