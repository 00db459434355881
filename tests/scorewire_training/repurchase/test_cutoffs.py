from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from scorewire_training.errors import TrainingError
from scorewire_training.repurchase import cutoffs as cuts_module
from scorewire_training.repurchase.cutoffs import choose_cutoffs, observe_test, observe_training
from scorewire_training.repurchase.data import clean_transactions
from scorewire_training.repurchase.features import build_features, build_labels
from tests.scorewire_training.repurchase.shop import FIRST_DAY, LAST_DAY, make_lines

HORIZON = 60
DAY = pd.Timedelta(days=1)


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    return clean_transactions(make_lines()).lines


def test_the_test_cutoff_has_a_full_horizon_after_it_and_no_label_of_training_reaches_it(
    lines: pd.DataFrame,
) -> None:
    cutoffs = choose_cutoffs(lines, None, HORIZON)
    assert cutoffs.test == LAST_DAY - HORIZON * DAY
    assert list(cutoffs.training) == [cutoffs.test - days * DAY for days in (60, 80, 100, 120, 140, 160)]


def test_cuts_without_a_third_of_a_horizon_of_history_are_left_out(lines: pd.DataFrame) -> None:
    cutoffs = choose_cutoffs(lines, date(2020, 4, 30), HORIZON)
    assert list(cutoffs.training) == [FIRST_DAY + days * DAY for days in (60, 40, 20)]


@pytest.mark.parametrize("cutoff", [date(2020, 6, 28), date(2020, 10, 3)])
def test_a_cutoff_without_a_full_horizon_on_both_sides_is_refused(lines: pd.DataFrame, cutoff: date) -> None:
    with pytest.raises(TrainingError, match=rf"the cutoff {cutoff} is not from 2020-06-29 to 2020-10-02"):
        choose_cutoffs(lines, cutoff, 90)


def test_a_horizon_that_the_data_cannot_hold_is_refused(lines: pd.DataFrame) -> None:
    with pytest.raises(TrainingError, match="pass a shorter horizon or more data"):
        choose_cutoffs(lines, None, 200)


def test_rows_are_the_customers_at_each_cutoff_with_labels_from_after_it(lines: pd.DataFrame) -> None:
    cutoffs = choose_cutoffs(lines, None, HORIZON)
    rows = observe_training(lines, cutoffs, horizon_days=HORIZON, seed=0)
    for cutoff in cutoffs.training:
        own = rows.cutoffs == cutoff.to_datetime64()
        table = build_features(lines, cutoff, horizon_days=HORIZON)
        assert rows.customers[own].tolist() == table.index.tolist()
        assert rows.labels[own].tolist() == build_labels(lines, table.index, cutoff, HORIZON).tolist()
        pd.testing.assert_frame_equal(
            rows.features[own].reset_index(drop=True),
            table[rows.features.columns].reset_index(drop=True),
        )


def test_a_feature_that_tells_the_age_of_the_shop_is_left_out(lines: pd.DataFrame) -> None:
    cutoffs = choose_cutoffs(lines, None, 90)
    table = build_features(lines, cutoffs.test, horizon_days=90)
    rows = observe_training(lines, cutoffs, horizon_days=90, seed=0)
    left_out = set(table.columns) - set(rows.features.columns)
    # The shop is younger than a year.
    assert {"quarter_1_share", "frequency_trend_30_days", "same_season_share"} <= left_out
    # Known at the later cutoffs, but not at the earliest, which has no labels before it.
    assert table["peer_repurchase"].notna().any()
    assert "peer_repurchase" in left_out
    assert {"recency_days", "mean_gap_days", "segment", "country"} <= set(rows.features.columns)

    longer = lines.assign(time=lines["time"].where(lines.index > 0, FIRST_DAY - 365 * DAY))
    rows = observe_training(longer, cutoffs, horizon_days=90, seed=0)
    assert {"quarter_1_share", "frequency_trend_30_days"} <= set(rows.features.columns)


def test_test_rows_are_all_customers_before_the_cutoff(lines: pd.DataFrame) -> None:
    cutoffs = choose_cutoffs(lines, None, HORIZON)
    rows = observe_test(lines, cutoffs, horizon_days=HORIZON, columns=pd.Index(["frequency", "recency_days"]))
    before = lines[lines["time"] < cutoffs.test]
    assert set(rows.customers) == set(before["customer"])
    assert list(rows.features.columns) == ["frequency", "recency_days"]


def test_of_very_many_customers_the_same_are_drawn_at_every_cutoff(
    lines: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuts_module, "_MAX_TRAINING_ROWS", 480)
    cutoffs = choose_cutoffs(lines, None, HORIZON)
    rows = observe_training(lines, cutoffs, horizon_days=HORIZON, seed=0)
    at_latest = set(rows.customers[rows.cutoffs == cutoffs.training[0].to_datetime64()])
    assert len(at_latest) == 80
    assert set(rows.customers) == at_latest
    again = observe_training(lines, cutoffs, horizon_days=HORIZON, seed=0)
    other = observe_training(lines, cutoffs, horizon_days=HORIZON, seed=1)
    np.testing.assert_array_equal(rows.customers, again.customers)
    assert set(other.customers) != at_latest


def test_too_few_customers_are_refused() -> None:
    few = clean_transactions(make_lines(7)).lines
    cutoffs = choose_cutoffs(few, None, HORIZON)
    with pytest.raises(TrainingError, match=r"the training part has .* rows .* pass more data"):
        observe_training(few, cutoffs, horizon_days=HORIZON, seed=0)
