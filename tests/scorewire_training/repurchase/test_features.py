from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorewire_training.repurchase.data import clean_transactions
from scorewire_training.repurchase.features import DESCRIPTIONS, TEXTS, build_features, build_labels
from tests.scorewire_training.repurchase.shop import FIRST_DAY, make_lines

CUT = pd.Timestamp("2020-07-01")
HORIZON = 60
OF_SEASONS = [*(f"quarter_{quarter}_share" for quarter in (1, 2, 3, 4)), "same_season_share"]
OF_BASKETS = {
    "quantity",
    "quantity_per_purchase",
    "mean_price",
    "price_spread",
    "cheap_share",
    "expensive_share",
    "products",
    "products_per_purchase",
    "repeat_product_share",
}
OTHERS = ["customer", "amount", "invoice", "product", "quantity", "country"]


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    return clean_transactions(make_lines()).lines


@pytest.fixture(scope="module")
def features(lines: pd.DataFrame) -> pd.DataFrame:
    return build_features(lines, CUT, horizon_days=HORIZON)


def _simple() -> pd.DataFrame:
    times = ["2019-07-10", "2020-01-03", "2020-06-01", "2020-06-01 12:00", "2020-06-21"]
    return pd.DataFrame(
        {
            "customer": ["a"] * 5 + ["b", "c"],
            "time": pd.to_datetime([*times, "2020-06-30 12:00", "2020-07-01"], format="ISO8601"),
            "amount": [4.0, 10.0, 5.0, 15.0, 30.0, 7.0, 1.0],
            "invoice": ["0", "1", "2", "2", "3", "4", "5"],
            "product": ["x", "x", "x", "y", "x", None, "x"],
            "quantity": [1.0, 1.0, 2.0, 3.0, 1.0, np.nan, 1.0],
            "country": ["Spain", "Peru", "Peru", "Peru", None, None, "Peru"],
        }
    )


def test_features_of_a_customer_can_be_worked_out_by_hand() -> None:
    features = build_features(_simple(), CUT, horizon_days=HORIZON)
    assert features.index.tolist() == ["a", "b"]
    amounts, prices = [4, 10, 20, 30], [4, 10, 2.5, 5, 30]
    # Half of the lines of the shop cost 5 or less.
    expected = {
        "recency_days": 10,
        "tenure_days": 357,
        "frequency": 4,
        "monetary": 64,
        "mean_amount": 16,
        "amount_spread": np.std(amounts, ddof=1),
        "last_amount": 30,
        "recency_score": 1,
        "frequency_score": 3,
        "monetary_score": 3,
        "segment": "at risk",
        "mean_gap_days": 347 / 3,
        "gap_spread_days": np.std([177, 150, 20], ddof=1),
        "last_gap_days": 20,
        "recency_per_gap": 10 / (347 / 3),
        "frequency_per_30_days": 4 / 357 * 30,
        "monetary_per_day": 64 / 357,
        "frequency_30_days": 2,
        "frequency_60_days": 2,
        "frequency_90_days": 2,
        "monetary_30_days": 50,
        "monetary_60_days": 50,
        "monetary_90_days": 50,
        "frequency_trend_30_days": (2 / 30) / (2 / 327),
        "frequency_trend_60_days": (2 / 60) / (2 / 297),
        "frequency_trend_90_days": (2 / 90) / (2 / 267),
        "monetary_trend_30_days": (50 / 30) / (14 / 327),
        "monetary_trend_60_days": (50 / 60) / (14 / 297),
        "monetary_trend_90_days": (50 / 90) / (14 / 267),
        "active_months": 3,
        "weekend_share": 0.25,
        "usual_weekday_share": 0.25,
        **dict.fromkeys(OF_SEASONS, np.nan),
        "quantity": 8,
        "quantity_per_purchase": 2,
        "mean_price": np.mean(prices),
        "price_spread": np.std(prices, ddof=1),
        "cheap_share": 0,
        "expensive_share": 0.2,
        "products": 2,
        "products_per_purchase": 5 / 4,
        "repeat_product_share": 0.5,
        "peer_repurchase": np.nan,
        "country": "Peru",
    }
    found = features.loc["a"].to_dict()
    assert list(found) == list(expected)
    assert {name: found[name] for name in TEXTS} == {name: expected[name] for name in TEXTS}
    numbers = [name for name in expected if name not in TEXTS]
    assert [found[name] for name in numbers] == pytest.approx(
        [expected[name] for name in numbers], nan_ok=True
    )


def test_what_one_purchase_cannot_tell_is_missing_and_nothing_else() -> None:
    features = build_features(_simple(), CUT, horizon_days=HORIZON).loc["b"]
    assert set(features.index[features.isna()]) == {
        "amount_spread",
        "mean_gap_days",
        "gap_spread_days",
        "last_gap_days",
        "recency_per_gap",
        *(f"{what}_trend_{days}_days" for what in ("frequency", "monetary") for days in (30, 60, 90)),
        *OF_SEASONS,
        *OF_BASKETS,
        "peer_repurchase",
    }
    assert features["country"] == ""
    assert features["recency_days"] == 0.5


@pytest.mark.parametrize(
    ("first", "shares"),
    [
        ("2019-07-02", [np.nan] * 5),
        ("2019-07-01", [0.25, 0.5, 0.25, 0, 0.25]),
        ("2019-06-30", [0.25, 0.5, 0.25, 0, 0.25]),
    ],
)
def test_seasons_are_known_where_the_shop_has_a_year_of_history(first: str, shares: list[float]) -> None:
    simple = _simple()
    older = simple.head(1).assign(time=pd.Timestamp(first), invoice="older")
    # Purchases older than a year are not counted, but show the age of the shop.
    older["customer"] = "a" if older["time"].iloc[0] < CUT - pd.DateOffset(years=1) else "b"
    lines = pd.concat([older, simple]).sort_values("time", ignore_index=True)
    features = build_features(lines, CUT, horizon_days=HORIZON)
    assert features.loc["a", OF_SEASONS].to_list() == pytest.approx(shares, nan_ok=True)


def test_every_feature_is_described_in_the_order_of_the_columns(features: pd.DataFrame) -> None:
    assert list(features.columns) == list(DESCRIPTIONS)
    assert features.index.is_monotonic_increasing
    assert features.index.is_unique
    for name, column in features.items():
        assert column.dtype == (object if name in TEXTS else np.float64)
        assert not np.isinf(column.to_numpy(dtype=float, na_value=0) if name not in TEXTS else 0).any()


def test_columns_that_the_lines_lack_are_no_features(lines: pd.DataFrame) -> None:
    plain = lines[["customer", "time", "amount", "invoice"]]
    features = build_features(plain, CUT, horizon_days=HORIZON)
    assert set(DESCRIPTIONS) - set(features.columns) == {*OF_BASKETS, "country"}
    assert (features.drop(columns="segment").dtypes == np.float64).all()


def test_a_cutoff_before_all_lines_gives_no_rows(lines: pd.DataFrame, features: pd.DataFrame) -> None:
    none = build_features(lines, FIRST_DAY, horizon_days=HORIZON)
    assert none.empty
    assert (none.dtypes == features.dtypes).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), day=st.integers(1, 330))
def test_nothing_from_the_cutoff_on_changes_a_feature(lines: pd.DataFrame, seed: int, day: int) -> None:
    cutoff = FIRST_DAY + pd.Timedelta(days=day)
    rng = np.random.default_rng(seed)
    after = (lines["time"] >= cutoff).to_numpy()
    changed = lines.copy()
    for column in OTHERS:
        changed.loc[after, column] = rng.permutation(lines[column].to_numpy()[after])
    changed.loc[after, "amount"] *= rng.uniform(0, 1_000, after.sum())
    changed.loc[after, "quantity"] += rng.integers(0, 50, after.sum())
    changed.loc[after, "time"] = cutoff + pd.to_timedelta(rng.integers(0, 90, after.sum()), "D")
    # A new customer, and a late line of an invoice that began before the cutoff.
    late = changed.iloc[[-1, -2]].assign(
        customer=["new", lines["customer"].iloc[0]], invoice=["new", lines["invoice"].iloc[0]]
    )
    changed = pd.concat([changed, late]).sort_values("time", ignore_index=True)
    expected = build_features(lines, cutoff, horizon_days=HORIZON)
    for other in (changed, lines[~after]):
        found = build_features(other, cutoff, horizon_days=HORIZON)
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_lines_changes_no_feature(lines: pd.DataFrame, seed: int) -> None:
    # Whole weeks, so that many purchases of a customer have the same time.
    lines = lines.assign(
        time=lines["time"].dt.floor("7D"), country=np.tile(["Peru", "Spain"], len(lines) // 2)
    )
    shuffled = lines.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(
        build_features(shuffled, CUT, horizon_days=HORIZON),
        build_features(lines, CUT, horizon_days=HORIZON),
        check_exact=True,
    )


def test_a_label_is_a_purchase_from_the_cutoff_on_before_the_horizons_end() -> None:
    times = ["2020-06-30 23:59", "2020-07-01", "2020-09-28 23:59", "2020-09-29"]
    lines = pd.DataFrame({"customer": list("abcd"), "time": pd.to_datetime(times, format="ISO8601")})
    assert build_labels(lines, pd.Index(list("abcd")), CUT, 90).tolist() == [0, 1, 1, 0]


def test_labels_read_nothing_before_the_cutoff(lines: pd.DataFrame, features: pd.DataFrame) -> None:
    after = lines[lines["time"] >= CUT]
    np.testing.assert_array_equal(
        build_labels(after, features.index, CUT, HORIZON), build_labels(lines, features.index, CUT, HORIZON)
    )
