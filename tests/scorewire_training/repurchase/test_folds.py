from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scorewire_training.errors import TrainingError
from scorewire_training.repurchase import folds as folds_module
from scorewire_training.repurchase.cutoffs import Observations
from scorewire_training.repurchase.folds import GROUPS, draw_groups, fold_over_time

DAYS = np.array(["2020-03-01", "2020-04-01", "2020-05-01", "2020-06-01"], dtype="datetime64[ns]")
HORIZON = 60


def _observe(count: int = 90, cutoffs: int = 4) -> Observations:
    customers = np.array([f"{number:03d}" for number in range(count)], dtype=object)
    return Observations(
        features=pd.DataFrame({"x": np.zeros(count * cutoffs)}),
        labels=np.arange(count * cutoffs) % 2,
        customers=np.tile(customers, cutoffs),
        cutoffs=np.repeat(DAYS[:cutoffs], count),
    )


def test_a_customer_is_of_one_group_at_all_cutoffs() -> None:
    rows = _observe()
    groups = draw_groups(rows.customers, 0)
    by_customer = pd.Series(groups).groupby(rows.customers)
    assert (by_customer.nunique() == 1).all()
    assert by_customer.first().value_counts().to_dict() == {0: 30, 1: 30, 2: 30}
    assert (draw_groups(rows.customers, 1) != groups).any()


def test_each_group_is_validated_at_later_cutoffs_by_others_whose_horizon_was_over() -> None:
    rows = _observe()
    folds = fold_over_time(rows, horizon_days=HORIZON, seed=0)
    assert len(folds) == 2 * GROUPS
    for fitted_on, validated_on in folds:
        assert not set(rows.customers[fitted_on]) & set(rows.customers[validated_on])
        (validated,) = np.unique(rows.cutoffs[validated_on])
        assert rows.cutoffs[fitted_on].max() + np.timedelta64(HORIZON, "D") <= validated
    validated = np.concatenate([validated_on for _, validated_on in folds])
    assert sorted(validated) == np.flatnonzero(rows.cutoffs >= DAYS[2]).tolist()


def test_where_the_history_is_short_any_earlier_cutoff_is_fitted_on_but_no_customer_twice() -> None:
    rows = _observe()
    for fitted_on, validated_on in fold_over_time(rows, horizon_days=120, seed=0):
        assert len(fitted_on)
        assert rows.cutoffs[fitted_on].max() < rows.cutoffs[validated_on].min()
        assert not set(rows.customers[fitted_on]) & set(rows.customers[validated_on])


def test_with_one_cutoff_customers_are_apart() -> None:
    rows = _observe(cutoffs=1)
    folds = fold_over_time(rows, horizon_days=HORIZON, seed=0)
    assert len(folds) == GROUPS
    for fitted_on, validated_on in folds:
        assert len(fitted_on) == 60
        assert not set(rows.customers[fitted_on]) & set(rows.customers[validated_on])


def test_of_very_many_customers_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds_module, "_MAX_CUSTOMERS", 30)
    rows = _observe()
    folds = fold_over_time(rows, horizon_days=HORIZON, seed=0)
    used = {customer for fold in folds for part in fold for customer in rows.customers[part]}
    assert len(used) == 30


def test_a_group_without_a_kind_of_customer_is_refused() -> None:
    rows = _observe()
    alike = replace(rows, labels=np.where(rows.cutoffs == DAYS[0], 0, rows.labels))
    with pytest.raises(TrainingError, match=r"too few of a kind, .* pass more data"):
        fold_over_time(alike, horizon_days=HORIZON, seed=0)
