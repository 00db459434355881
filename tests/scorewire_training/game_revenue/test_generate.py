from __future__ import annotations

import pandas as pd

from scorewire_training.game_revenue.generate import generate_users


def test_users_are_as_messy_as_real_ones() -> None:
    users = generate_users(5_000, seed=3)
    assert users["user_id"].is_unique
    assert 0.33 < (users["revenue"] == 0).mean() < 0.43
    assert users["revenue"].min() == 0
    assert users["revenue"].max() > 100 * users["revenue"].quantile(0.9)
    assert {"iOS", "ios", "Android", "android"} <= set(users["platform"])
    assert (users["event_1"] == 0).mean() > 0.97
    for column in ("country_region", "source", "event_3"):
        assert 0 < users[column].isna().mean() < 0.1
    assert users["device_family"].nunique() > 200


def test_one_seed_gives_one_table() -> None:
    pd.testing.assert_frame_equal(generate_users(300, seed=1), generate_users(300, seed=1))
    assert not generate_users(300, seed=1).equals(generate_users(300, seed=2))
