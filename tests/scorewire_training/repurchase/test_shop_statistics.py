from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorewire_training.repurchase.data import clean_transactions
from scorewire_training.repurchase.features import describe_customers
from scorewire_training.repurchase.history import read_history
from scorewire_training.repurchase.shop_statistics import ShopStatistics, collect_statistics, merge_statistics
from tests.scorewire_training.repurchase.shop import make_lines

CUT = pd.Timestamp("2020-09-01")
HORIZON = 60


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    return clean_transactions(make_lines(90)).lines


@settings(max_examples=10, deadline=None)
@given(parts=st.lists(st.integers(0, 3), min_size=90, max_size=90))
def test_however_the_customers_are_parted_the_features_are_the_same(
    lines: pd.DataFrame, parts: list[int]
) -> None:
    part = lines["customer"].astype(int).map(dict(enumerate(parts)))
    histories = [read_history(lines[part == number], CUT) for number in range(4)]
    found = collect_statistics(histories[0], HORIZON)
    for history in histories[1:]:
        found = merge_statistics([collect_statistics(history, HORIZON), found])
    shop = ShopStatistics.of(found, HORIZON)
    features = pd.concat([describe_customers(history, shop) for history in histories]).sort_index()
    whole = read_history(lines, CUT)
    expected = describe_customers(whole, ShopStatistics.of(collect_statistics(whole, HORIZON), HORIZON))
    pd.testing.assert_frame_equal(features, expected, check_exact=True, check_index_type=False)


@settings(max_examples=30, deadline=None)
@given(prices=st.lists(st.floats(0.01, 1e6), min_size=1, max_size=50))
def test_the_median_price_is_that_of_the_lines_to_a_thousandth(prices: list[float]) -> None:
    lines = pd.DataFrame(
        {
            "customer": "a",
            "time": CUT - pd.Timedelta(days=1),
            "amount": prices,
            "invoice": "1",
            "quantity": 1.0,
        }
    )
    median = ShopStatistics.of(collect_statistics(read_history(lines, CUT), HORIZON), HORIZON).median_price
    assert median == pytest.approx(np.quantile(prices, 0.5, method="inverted_cdf"), rel=1e-3)
    assert median in prices


def test_without_quantities_there_is_no_median_price(lines: pd.DataFrame) -> None:
    history = read_history(lines.drop(columns="quantity"), CUT)
    assert np.isnan(ShopStatistics.of(collect_statistics(history, HORIZON), HORIZON).median_price)
