from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from scorewire_training.repurchase.grouping import Groups, divide

_VALUES = st.lists(
    st.tuples(st.integers(0, 4), st.floats(-1e6, 1e6), st.integers(0, 3)), min_size=1, max_size=60
)


@given(_VALUES)
def test_statistics_are_those_of_pandas(rows: list[tuple[int, float, int]]) -> None:
    frame = pd.DataFrame(rows, columns=["code", "value", "kind"]).sort_values("code", ignore_index=True)
    groups = Groups(frame["code"].to_numpy(), 5)
    values, by_code = frame["value"].to_numpy(), frame.groupby("code")["value"]
    assert_array_equal(groups.count(), by_code.size().reindex(range(5), fill_value=0))
    assert_allclose(groups.sum(values), by_code.sum().reindex(range(5), fill_value=0), atol=1e-6)
    assert_allclose(groups.mean(values), by_code.mean().reindex(range(5)), atol=1e-6)
    assert_allclose(groups.spread(values), by_code.std().reindex(range(5)), atol=1e-4)
    kinds, times = groups.tally(frame["kind"].to_numpy())
    most = frame.groupby("code")["kind"].agg(lambda column: column.value_counts().iloc[0])
    assert_array_equal(kinds.count(), frame.groupby("code")["kind"].nunique().reindex(range(5), fill_value=0))
    assert_array_equal(kinds.maximum(times), most.reindex(range(5), fill_value=0))


@given(_VALUES)
def test_a_group_alone_gives_the_same_bits_as_among_others(rows: list[tuple[int, float, int]]) -> None:
    frame = pd.DataFrame(rows, columns=["code", "value", "kind"]).sort_values("code", ignore_index=True)
    codes, values = frame["code"].to_numpy(), frame["value"].to_numpy()
    together = Groups(codes, 5)
    for code in range(5):
        alone = Groups(np.zeros((codes == code).sum(), dtype=int), 1)
        for statistic in (Groups.sum, Groups.mean, Groups.spread):
            assert_array_equal(statistic(alone, values[codes == code])[0], statistic(together, values)[code])


def test_first_and_last_are_those_of_each_group() -> None:
    groups = Groups(np.array([0, 0, 1, 2, 2, 2]), 3)
    values = np.array(list("abcdef"))
    assert groups.first(values).tolist() == ["a", "c", "d"]
    assert groups.last(values).tolist() == ["b", "c", "f"]


def test_no_rows_give_no_statistics() -> None:
    none = Groups(np.empty(0, dtype=int), 2)
    assert none.count().tolist() == [0, 0]
    assert np.isnan(none.mean(np.empty(0))).all()
    assert none.tally(np.empty(0, dtype=int))[0].count().tolist() == [0, 0]


def test_a_ratio_to_nothing_is_missing() -> None:
    assert_array_equal(divide(np.array([1.0, 0, 4]), np.array([0.0, 0, 2])), [np.nan, np.nan, 2])
