from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scorewire_training.repurchase.data import clean_transactions
from scorewire_training.repurchase.features import DESCRIPTIONS, build_features, build_labels
from tests.scorewire_training.repurchase.shop import make_lines

CUT = pd.Timestamp("2020-07-01")


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    return clean_transactions(make_lines()).lines


def _simple() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "customer": ["a", "a", "a", "a", "b", "c"],
            "time": pd.to_datetime(
                [
                    "2020-01-03",
                    "2020-06-01",
                    "2020-06-01 12:00",
                    "2020-06-21",
                    "2020-06-30 12:00",
                    "2020-07-01",
                ],
                format="ISO8601",
            ),
            "amount": [10.0, 5.0, 15.0, 30.0, 7.0, 1.0],
            "invoice": ["1", "2", "2", "3", "4", "5"],
            "product": ["x", "x", "y", "x", "z", "x"],
            "quantity": [1.0, 2.0, 3.0, 4.0, 1.0, 1.0],
            "country": ["Peru", "Peru", "Peru", None, None, "Peru"],
        }
    )


def test_features_of_a_customer_can_be_worked_out_by_hand() -> None:
    features = build_features(_simple(), CUT)
    assert features.index.tolist() == ["a", "b"]
    assert features.loc["a"].to_dict() == pytest.approx(
        {
            "recency_days": 10.0,
            "tenure_days": 180.0,
            "frequency": 3.0,
            "monetary": 60.0,
            "mean_amount": 20.0,
            "last_amount": 30.0,
            "mean_gap_days": 85.0,
            "gap_spread_days": np.std([150, 20], ddof=1),
            "last_gap_days": 20.0,
            "recency_per_gap": 10 / 85,
            "frequency_per_30_days": 0.5,
            "monetary_per_day": 60 / 180,
            "frequency_30_days": 2.0,
            "frequency_90_days": 2.0,
            "frequency_180_days": 3.0,
            "monetary_30_days": 50.0,
            "monetary_90_days": 50.0,
            "monetary_180_days": 60.0,
            "quantity": 10.0,
            "products": 2.0,
            "country": "Peru",
        }
    )


def test_what_one_purchase_cannot_tell_is_missing_and_nothing_else() -> None:
    features = build_features(_simple(), CUT).loc["b"]
    assert set(features.index[features.isna()]) == {
        "mean_gap_days",
        "gap_spread_days",
        "last_gap_days",
        "recency_per_gap",
    }
    assert features["country"] == ""
    assert features["recency_days"] == 0.5


def test_nothing_from_the_cut_on_changes_a_feature(lines: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    after = (lines["time"] >= CUT).to_numpy()
    changed = lines.copy()
    shuffled = rng.permutation(np.flatnonzero(after))
    for column in ("customer", "amount", "invoice", "product", "quantity", "country"):
        changed.loc[after, column] = lines[column].to_numpy()[shuffled]
    changed.loc[after, "amount"] *= 1_000
    changed.loc[after, "quantity"] += 50
    # A new customer, and a late line of an invoice that began before the cut.
    late = changed.iloc[[-1, -2]].assign(
        customer=["new", lines["customer"].iloc[0]], invoice=["new", lines["invoice"].iloc[0]]
    )
    changed = pd.concat([changed, late]).sort_values("time", ignore_index=True)
    expected = build_features(lines, CUT)
    pd.testing.assert_frame_equal(build_features(changed, CUT), expected)
    pd.testing.assert_frame_equal(build_features(lines[~after], CUT), expected)


def test_every_feature_is_described_in_the_order_of_the_columns(lines: pd.DataFrame) -> None:
    assert list(build_features(lines, CUT).columns) == list(DESCRIPTIONS)


def test_columns_that_the_lines_lack_are_no_features(lines: pd.DataFrame) -> None:
    plain = lines[["customer", "time", "amount", "invoice"]]
    features = build_features(plain, CUT)
    assert set(DESCRIPTIONS) - set(features.columns) == {"quantity", "products", "country"}
    assert (features.dtypes == np.float64).all()


def test_a_label_is_a_purchase_from_the_cut_on_before_the_horizons_end() -> None:
    times = ["2020-06-30 23:59", "2020-07-01", "2020-09-28 23:59", "2020-09-29"]
    lines = pd.DataFrame({"customer": list("abcd"), "time": pd.to_datetime(times, format="ISO8601")})
    assert build_labels(lines, pd.Index(list("abcd")), CUT, 90).tolist() == [0, 1, 1, 0]
